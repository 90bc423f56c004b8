// The inspection page: every figure on it comes from the API that programs use.
const $ = (id) => document.getElementById(id);
const state = { model: null, shown: null, values: null, entries: [], next: null };
const POLL = 3000;
const PAGE = 50;

async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401) $("login").hidden = false;
  const told = await response.json().catch(() => ({ error: response.statusText }));
  const parts = ["expected", "got", "remedy"].filter((name) => told[name]).map((name) => `${name}: ${told[name]}`);
  throw new Error([told.error, ...parts].join("\n"));
}
const json = async (path, options) => (await call(path, options)).json();

async function attempt(work) {
  try {
    await work();
    $("problem").hidden = true;
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

const percent = (share) => `${(100 * share).toPrecision(2).replace(/\.0+$/, "")} %`;
const mean = (verdict) => (verdict.defective === null ? "not calibrated" : verdict.defective ? "defective" : "good");
const tone = (verdict) => (verdict.defective === null ? "" : verdict.defective ? "bad" : "good");

// --- models

async function start() {
  const names = await json("v1/models");
  $("login").hidden = true;
  $("model").replaceChildren(...names.map((name) => new Option(name)));
  await chooseModel();
  await refresh();
}

async function chooseModel() {
  state.model = await json(`v1/models/${encodeURIComponent($("model").value)}`);
  const groups = Object.keys(state.model.calibration?.groups ?? {});
  const before = $("group").value;
  $("group").replaceChildren(new Option("all parts", ""), ...groups.map((name) => new Option(name)));
  $("group").value = groups.includes(before) ? before : "";
  $("group-label").hidden = !groups.length;
  $("card").textContent = state.model.card;
  resetThreshold();
}

// --- the threshold and the rate it implies

function limits() {
  const calibration = state.model.calibration;
  const group = state.shown ? state.shown.group : $("group").value;
  return calibration && (calibration.groups[group] ?? calibration.pooled);
}

const asked = () => Number($("threshold").value) / 1000;

function resetThreshold() {
  const own = limits();
  $("no-calibration").hidden = Boolean(own);
  $("calibrated").hidden = !own;
  if (own) $("threshold").value = Math.round(1000 * own.thresholds.score);
  showThreshold();
}

function showThreshold() {
  const own = limits();
  if (!own) return;
  const curve = own.curve.filter((point) => point.threshold <= asked() + 0.0005);
  const point = curve.reduce((best, one) => (best && best.threshold >= one.threshold ? best : one), null);
  const bound = point ? `at most ${percent(point.rate_bound)} of good parts would be called defective, ` +
    `with ${percent(state.model.calibration.confidence)} confidence` : "any good part may be called defective";
  const now = state.shown ? ` This image would be ${state.shown.score > asked() ? "defective" : "good"}.` : "";
  $("implied").textContent = `Above ${asked().toFixed(3)} defective: ${bound} (${own.thresholds.images} images).${now}`;
}

// --- inspecting

async function inspect(files) {
  for (const file of files) {
    const form = new FormData();
    form.append("file", file);
    const query = new URLSearchParams({ model: $("model").value, map: "values" });
    if ($("group").value) query.set("group", $("group").value);
    $("state").textContent = `inspecting ${file.name}`;
    const record = await json(`v1/inspect?${query}`, { method: "POST", body: form });
    const map = await (await fetch(`data:image/png;base64,${record.map_png}`)).blob();
    await show(record, file, map);
  }
  await refresh();
}

async function show(record, image, map) {
  state.shown = record;
  URL.revokeObjectURL($("image").src);
  $("image").src = image ? URL.createObjectURL(image) : "";
  $("image").alt = record.path ? `inspected image ${record.path}` : "inspected image";
  $("picture").hidden = !image;
  state.values = map ? await readValues(map) : null;
  $("shown").hidden = false;
  $("verdict").textContent = `${mean(record)}: ${record.path ?? `verdict ${record.id}`}`;
  $("verdict").className = tone(record);
  const against = record.score_threshold === null ? "" : `, threshold ${record.score_threshold.toFixed(3)}`;
  const likes = record.p_value === null ? "" : ` Of good parts, about ${percent(record.p_value)} look at least as anomalous.`;
  $("words").textContent = `Score ${record.score.toFixed(3)}${against}.${likes}`;
  $("regions").replaceChildren(...record.regions.map(region));
  $("said").textContent = "";
  $("reason").value = "";
  resetThreshold();
  draw();
}

function region({ box: [left, top, right, bottom], area, peak }) {
  const item = document.createElement("li");
  item.textContent = `${right - left} x ${bottom - top} pixels at ${left}, ${top}; area ${area}, peak ${peak.toFixed(2)}`;
  return item;
}

async function readValues(blob) {
  const picture = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  const values = new Uint8Array(picture.width * picture.height);
  for (let index = 0; index < values.length; index++) values[index] = data[4 * index];
  return { values, width: picture.width, height: picture.height };
}

const STOPS = [[40, 10, 90], [190, 50, 90], [250, 140, 20], [255, 250, 160]];

function colour(value) {
  const place = (value / 255) * (STOPS.length - 1);
  const first = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[first].map((start, channel) => start + (place - first) * (STOPS[first + 1][channel] - start));
}

function draw() {
  const canvas = $("heat");
  if (!state.values) {
    canvas.hidden = true;
    return;
  }
  const { values, width, height } = state.values;
  const edge = 255 * state.shown.threshold;
  Object.assign(canvas, { width, height, hidden: false });
  const context = canvas.getContext("2d");
  const heat = context.createImageData(width, height);
  const opacity = Number($("opacity").value) / 100;
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && values[y * width + x] > edge;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      const rim = inside(x, y) && !(inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1));
      const [red, green, blue] = rim ? [0, 230, 255] : colour(values[at]);
      heat.data.set([red, green, blue, rim ? 255 : 255 * opacity * Math.min(1, values[at] / 128)], 4 * at);
    }
  context.putImageData(heat, 0, 0);
}

// --- history

async function refresh() {
  const query = new URLSearchParams({ limit: PAGE });
  for (const name of ["defective", "confirmed"]) if ($(name).value) query.set(name, $(name).value);
  const { verdicts, next_before: next } = await json(`v1/verdicts?${query}`);
  state.entries = verdicts;
  state.next = next;
  listEntries();
  await showStatus();
}

async function older() {
  const query = new URLSearchParams({ limit: PAGE, before: state.next });
  for (const name of ["defective", "confirmed"]) if ($(name).value) query.set(name, $(name).value);
  const { verdicts, next_before: next } = await json(`v1/verdicts?${query}`);
  state.entries.push(...verdicts);
  state.next = next;
  listEntries();
}

function listEntries() {
  const focused = document.activeElement?.dataset?.id;
  $("history").replaceChildren(...state.entries.map(row));
  if (focused) document.querySelector(`#history [data-id="${focused}"]`)?.focus();
  $("more").hidden = !state.next || state.entries.length < PAGE;
  chart();
}

function row(entry) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.id = entry.id;
  button.setAttribute("aria-current", String(state.shown?.id === entry.id));
  const word = { true: "confirmed", false: "rejected" }[entry.confirmed] ?? "";
  for (const text of [mean(entry), entry.score.toFixed(3), entry.path ?? `verdict ${entry.id}`, word]) {
    const cell = document.createElement("span");
    cell.textContent = text;
    button.append(cell);
  }
  button.firstChild.className = tone(entry);
  button.title = new Date(entry.time).toLocaleString();
  button.addEventListener("click", () => attempt(() => recall(entry)));
  item.append(button);
  return item;
}

async function recall(entry) {
  const record = await json(`v1/verdicts/${entry.id}`);
  const found = (part) => call(`v1/verdicts/${entry.id}/${part}`).then((answer) => answer.blob(), () => null);
  const [image, map] = entry.kept ? await Promise.all([found("image"), found("map?kind=values")]) : [null, null];
  await show({ ...record, id: entry.id }, image, map);
  listEntries();
}

async function judge(confirmed) {
  const body = JSON.stringify({ confirmed, reason: $("reason").value });
  const headers = { "Content-Type": "application/json" };
  await call(`v1/verdicts/${state.shown.id}/feedback`, { method: "POST", body, headers });
  $("said").textContent = confirmed ? "confirmed" : "rejected";
  await refresh();
}

function mark(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function chart() {
  const entries = [...state.entries].reverse();
  const top = Math.max(0.05, ...entries.map((entry) => Math.max(entry.score, entry.score_threshold ?? 0)));
  const place = (index) => (600 * (index + 0.5)) / entries.length;
  const level = (score) => 115 - (110 * score) / top;
  const dots = entries.map((entry, index) => {
    const fill = { bad: "var(--bad)", good: "var(--good)" }[tone(entry)] ?? "var(--faint)";
    return mark("rect", { x: place(index) - 3, y: level(entry.score) - 3, width: 6, height: 6, fill });
  });
  const limit = entries.map((entry, index) =>
    mark("rect", { x: place(index) - 300 / entries.length, y: level(entry.score_threshold ?? -1), height: 1,
      width: 600 / entries.length, fill: "var(--faint)" }));
  $("chart").replaceChildren(...limit, ...dots);
  const judged = entries.filter((entry) => entry.defective !== null);
  const defective = judged.filter((entry) => entry.defective).length;
  const text = judged.length ? `${defective} of the ${judged.length} listed are defective` : "nothing judged yet";
  $("rate").textContent = `${text}; each mark is a part's score, oldest left, the line its threshold.`;
  $("chart").setAttribute("aria-label", text);
}

async function showStatus() {
  const { models } = await json("v1/status");
  const own = models.find((one) => one.name === $("model").value);
  $("state").textContent = own ? `${own.ready ? "ready" : "not ready"}, ${own.waiting} waiting` : "";
  const told = (own?.drift ?? []).map((one) => one.description);
  $("drift").textContent = told.length ? `Drift: ${told.join("; ")}.` : "Drift: no part judged since the start.";
  if (own && state.model.calibration?.id !== (own.calibration ?? undefined)) await chooseModel();
}

// --- what people do

$("files").addEventListener("change", () => attempt(() => inspect([...$("files").files])));
$("drop").addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  attempt(() => inspect([...event.dataTransfer.files]));
});
$("model").addEventListener("change", () => attempt(chooseModel));
$("group").addEventListener("change", () => { state.shown ??= null; resetThreshold(); });
$("threshold").addEventListener("input", showThreshold);
$("reset").addEventListener("click", resetThreshold);
$("opacity").addEventListener("input", draw);
$("more").addEventListener("click", () => attempt(older));
for (const name of ["defective", "confirmed"]) $(name).addEventListener("change", () => attempt(refresh));
$("feedback").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => judge(event.submitter.value === "true"));
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  attempt(start);
});
setInterval(() => document.hidden || !state.model || state.entries.length > PAGE || refresh().catch(() => {
  $("state").textContent = "the server does not answer";
}), POLL);
attempt(start);
