// The inspection page: all of its content comes from the public API.
import { call, found, json } from "./api.js";
import { drawDrift, drawRates, drawScores, percent } from "./charts.js";
import { drawMap, readImage, readMap } from "./picture.js";
import { drawing } from "./roi.js";

const $ = (id) => document.getElementById(id);
const state = { model: null, shown: null, entries: [], next: null, requests: 0 };
const POLL = 3000;
const PAGE = 50;

async function attempt(work) {
  try {
    await work();
    $("problem").textContent = "";
    $("problem").hidden = true;
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

const WORDS = { good: "good", defective: "defective", not_inspectable: "not inspectable" };
const TONES = { good: "good", defective: "bad", not_inspectable: "unknown" };
const mean = (verdict) => WORDS[verdict.decision] ?? "not calibrated";
const tone = (verdict) => TONES[verdict.decision] ?? "";

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
  for (const [name, all] of [["group", "all parts"], ["group-wanted", "all"]]) {
    const before = $(name).value;
    $(name).replaceChildren(new Option(all, ""), ...groups.map((group) => new Option(group)));
    $(name).value = groups.includes(before) ? before : "";
    $(`${name}-label`).hidden = !groups.length;
  }
  $("card").textContent = state.model.card;
  resetThreshold();
}

// --- the threshold and the rate it implies

function limits() {
  const calibration = state.model?.calibration; // null before the models are listed
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
  const { caveat, confidence } = state.model.calibration;
  const curve = own.curve.filter((point) => point.threshold <= asked() + 0.0005);
  const point = curve.reduce((best, one) => (best && best.threshold >= one.threshold ? best : one), null);
  const bound = point ? `at most ${percent(point.rate_bound)} of good parts would be called defective, ` +
    `with ${percent(confidence)} confidence` : "any good part may be called defective";
  const ours = state.shown && state.shown.decision !== "not_inspectable" && state.shown.model?.sha256 === state.model.model?.sha256;
  const now = ours ? ` This image would be ${state.shown.score > asked() ? "defective" : "good"}.` : "";
  const basis = caveat ?? `${bound} (${own.thresholds.images} images)`;
  $("implied").textContent = `Above ${asked().toFixed(3)} defective: ${basis}.${now}`;
}

// --- inspecting

// Inspect files one after the other. An unreadable one is reported by name, and the next ones are still inspected.
async function inspect(files) {
  const request = ++state.requests;
  const failures = [];
  for (const file of files) {
    if (request === state.requests) clear();
    $("state").textContent = `inspecting ${file.name}`;
    try {
      const parts = await inspectOne(file);
      if (request === state.requests) show(parts);
    } catch (error) {
      failures.push(`${file.name}: ${error.message}`);
    }
  }
  await refresh();
  if (failures.length) throw new Error(failures.join("\n\n"));
}

async function inspectOne(file) {
  const form = new FormData();
  form.append("file", file);
  const query = new URLSearchParams({ map: "channels" });
  for (const name of ["model", "group"]) if ($(name).value) query.set(name, $(name).value);
  const record = await json(`v1/inspect?${query}`, { method: "POST", body: form });
  const map = await readMap(await (await fetch(`data:image/png;base64,${record.map_png}`)).blob());
  const image = await readImage(file);
  if (image) return { record, image, map };
  const kept = await found(`v1/verdicts/${record.id}/image`); // browsers display no TIFF: the server converts a kept one
  return { record, image: await readImage(kept.file), map, missing: "This browser cannot display the file." };
}

// Hide the part that was shown, so that no other part's verdict, picture or form is left beside an error.
function clear() {
  state.shown = null;
  $("shown").hidden = true;
  const picture = $("image");
  URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");
  for (const layer of ["heat", "contours"]) Object.assign($(layer), { width: 0, height: 0, hidden: true });
  $("regions").replaceChildren();
  $("reason").value = "";
  $("said").textContent = "";
  resetThreshold();
}

// Show a part at once, from parts that are all loaded: nothing of the part before may stay visible meanwhile.
function show({ record, image, map, missing }) {
  clear();
  state.shown = record;
  $("verdict").textContent = `${mean(record)}: ${record.path ?? `verdict ${record.id}`}`;
  $("verdict").className = tone(record);
  const against = record.score_threshold === null ? "" : `, threshold ${record.score_threshold.toFixed(3)}`;
  const likes = record.p_value === null ? "" : ` Of good parts, about ${percent(record.p_value)} look at least as anomalous.`;
  const score = `Score ${record.score.toFixed(3)}${against}.${likes}${place(record.placement)}`;
  const refused = `This image says nothing on a part: ${record.input_reason}. Check camera, lens, light and product.`;
  $("words").textContent = record.decision === "not_inspectable" ? refused : score;
  $("regions").replaceChildren(...record.regions.map(region));
  $("image").alt = record.path ? `inspected image ${record.path}` : "inspected image";
  $("image").hidden = !image;
  if (image) $("image").src = image.src;
  $("picture").hidden = !image && !map;
  $("picture").classList.toggle("bare", !image);
  if (map) {
    for (const layer of ["heat", "contours"]) $(layer).hidden = false;
    drawMap($("heat"), $("contours"), map, record.threshold);
  }
  $("missing").textContent = image && map ? "" : missing;
  drawOn([record.width, record.height]);
  $("shown").hidden = false;
  resetThreshold();
}

// Say where the part is, relative to its reference, if the run aligns images.
function place(placement) {
  if (!placement) return "";
  const { right, down, degrees, scale } = placement;
  const turned = degrees || scale !== 1 ? `, turned ${degrees.toFixed(1)}\u00b0, scale ${scale.toFixed(3)}` : "";
  const across = `${Math.abs(right).toFixed(1)} pixels ${right < 0 ? "left" : "right"}`;
  return ` The part is ${across}, ${Math.abs(down).toFixed(1)} ${down < 0 ? "up" : "down"}${turned}, relative to the reference.`;
}

function region({ box: [left, top, right, bottom], area, peak }) {
  const item = document.createElement("li");
  item.textContent = `${right - left} x ${bottom - top} pixels at ${left}, ${top}; area ${area}, peak ${peak.toFixed(2)}`;
  return item;
}

const fade = () => { $("heat").style.opacity = Number($("opacity").value) / 100; };

// --- region of interest

const drawOn = drawing($("roi-layer"), $("roi-form"), () => state.shown?.group ?? "roi");

// --- history

const FILTERS = ["decision", "word", "group-wanted", "since", "until"];

// One page of the verdicts that match the filters.
function page(asked) {
  const query = new URLSearchParams({ limit: PAGE, ...asked });
  for (const name of FILTERS) {
    const { type, value } = $(name);
    if (value) query.set(name.split("-")[0], type === "datetime-local" ? new Date(value).toISOString() : value);
  }
  return json(`v1/verdicts?${query}`);
}

async function refresh() {
  const { verdicts, next_before: next } = await page({});
  state.entries = verdicts;
  state.next = next;
  listEntries();
  await showRates();
  await showStatus();
}

async function older() {
  const { verdicts, next_before: next } = await page({ before: state.next });
  state.entries.push(...verdicts);
  state.next = next;
  listEntries();
}

function listEntries() {
  const focused = document.activeElement?.dataset?.id;
  $("history").replaceChildren(...state.entries.map(row));
  if (focused) document.querySelector(`#history [data-id="${focused}"]`)?.focus();
  $("more").hidden = !state.next || state.entries.length < PAGE;
  $("scores").setAttribute("aria-label", drawScores($("scores"), state.entries));
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
  button.title = [new Date(entry.time).toLocaleString(), entry.input_reason].filter(Boolean).join(": ");
  button.addEventListener("click", () => attempt(() => recall(entry)));
  item.append(button);
  return item;
}

const FILES = ["image", "map?kind=channels"];
const NOT_KEPT = [{ file: null, problem: "The image was not kept: the server keeps images with --keep-images all or defective." }, {}];

async function recall(entry) {
  const request = ++state.requests;
  clear();
  const { record } = await json(`v1/verdicts/${entry.id}`);
  const [kept, computed] = entry.kept ? await Promise.all(FILES.map((name) => found(`v1/verdicts/${entry.id}/${name}`))) : NOT_KEPT;
  const [image, map] = [await readImage(kept.file), computed.file && (await readMap(computed.file))];
  if (request !== state.requests) return; // another part was chosen meanwhile
  show({ record: { ...record, id: entry.id }, image, map, missing: kept.problem ?? computed.problem });
  listEntries();
}

async function sendFeedback(confirmed) {
  const { id } = state.shown;
  const body = JSON.stringify({ confirmed, reason: $("reason").value });
  const headers = { "Content-Type": "application/json" };
  await call(`v1/verdicts/${id}/feedback`, { method: "POST", body, headers });
  if (state.shown?.id === id) $("said").textContent = confirmed ? "confirmed" : "rejected";
  await refresh();
}

async function showRates() {
  const query = new URLSearchParams({ model: $("model").value, by: $("by").value });
  $("rate").textContent = drawRates($("rates"), await json(`v1/rates?${query}`));
}

async function showStatus() {
  const { models } = await json("v1/status");
  const own = models.find((one) => one.name === $("model").value);
  $("state").textContent = own ? `${own.ready ? "ready" : "not ready"}, ${own.waiting} waiting` : "";
  const drift = own?.drift ?? [];
  const inputs = own?.inputs?.not_inspectable ? [own.inputs] : [];
  const findings = [...inputs, ...drift].map((one) => `${one.description}.`);
  $("drift").textContent = findings.length ? findings.join("\n") : "No part seen yet.";
  $("drift").className = drift.some((one) => one.drifting) || inputs.some((one) => one.alarming) ? "bad" : "";
  drawDrift($("bands"), drift);
  if (own && state.model.calibration?.id !== (own.calibration ?? undefined)) await chooseModel();
}

// --- events

$("files").addEventListener("change", () => {
  const files = [...$("files").files];
  $("files").value = ""; // so that the same file can be chosen again
  attempt(() => inspect(files));
});
$("drop").addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  attempt(() => inspect([...event.dataTransfer.files]));
});
$("model").addEventListener("change", () => attempt(async () => { await chooseModel(); await refresh(); }));
$("by").addEventListener("change", () => attempt(showRates));
$("group").addEventListener("change", resetThreshold);
$("threshold").addEventListener("input", showThreshold);
$("reset").addEventListener("click", resetThreshold);
$("opacity").addEventListener("input", fade);
$("roi").addEventListener("toggle", () => { $("roi-layer").toggleAttribute("hidden", !$("roi").open); });
$("more").addEventListener("click", () => attempt(older));
for (const name of FILTERS) $(name).addEventListener("change", () => attempt(refresh));
$("feedback").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => sendFeedback(event.submitter.value === "true"));
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  attempt(start);
});
setInterval(() => document.hidden || !state.model || state.entries.length > PAGE || refresh().catch(() => {
  $("state").textContent = "the server does not answer";
}), POLL);
fade();
attempt(start);
