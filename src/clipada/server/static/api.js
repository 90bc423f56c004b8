// Calls of the public API, with the token of this tab.

export async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401) document.getElementById("login").hidden = false;
  const problem = await response.json().catch(() => ({ error: response.statusText }));
  const parts = ["expected", "got", "remedy"].filter((name) => problem[name]).map((name) => `${name}: ${problem[name]}`);
  throw Object.assign(new Error([problem.error, ...parts].join("\n")), { status: response.status });
}
export const json = async (path, options) => (await call(path, options)).json();

// Return a file of the server, or the reason why there is none.
export async function found(path) {
  try {
    return { file: await (await call(path)).blob() };
  } catch (error) {
    if (!error.status) throw error; // no answer at all
    return { file: null, problem: error.message };
  }
}
