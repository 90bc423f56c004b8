// Charts of data from the API: scores, the share of defective parts over time, and drift.

const SPANS = { minute: 60, hour: 48, day: 60 };
const COLORS = { good: "var(--good)", defective: "var(--bad)", not_inspectable: "var(--unknown)" };
const SECONDS = { minute: 60, hour: 3600, day: 86400 };

function mark(name, attributes, title) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (title) element.append(Object.assign(document.createElementNS("http://www.w3.org/2000/svg", "title"), { textContent: title }));
  return element;
}

// Return a share, 0..1, as a percentage of two digits; of more where two would round it to 100 %.
export function percent(share) {
  const value = 100 * share;
  const rounded = [2, 3, 4, 5, 6].map((digits) => Number(value.toPrecision(digits)));
  return `${rounded.find((one) => one !== 100) ?? 100} %`;
}

// Draw each listed part's score and threshold, oldest left; return a description.
export function drawScores(svg, listed) {
  const entries = [...listed].reverse();
  const top = Math.max(0.05, ...entries.map((entry) => Math.max(entry.score, entry.score_threshold ?? 0)));
  const width = 600 / Math.max(1, entries.length);
  const level = (score) => 95 - (90 * score) / top;
  const marks = entries.flatMap((entry, index) => {
    const fill = COLORS[entry.decision] ?? "var(--faint)";
    const name = `${entry.path ?? `verdict ${entry.id}`}: ${entry.score.toFixed(3)}`;
    const place = { x: width * (index + 0.5) - 3, y: level(entry.score) - 3, width: 6, height: 6, fill };
    const limit = { x: width * index, y: level(entry.score_threshold ?? -1), height: 1, width, fill: "var(--faint)" };
    return [mark("rect", limit), mark("rect", place, name)];
  });
  svg.replaceChildren(...marks);
  const judged = entries.filter((entry) => entry.defective !== null);
  const defective = judged.filter((entry) => entry.defective).length;
  return judged.length ? `scores; ${defective} of the ${judged.length} listed are defective` : "scores; no decision yet";
}

// Draw the share of defective parts in each minute, hour or day, and the guaranteed rate for good parts; return a
// description.
export function drawRates(svg, { by, rates, promised }) {
  const seconds = SECONDS[by];
  const last = Math.floor(Date.now() / 1000 / seconds);
  const width = 600 / SPANS[by];
  const judged = rates.filter((one) => one.judged);
  const top = Math.min(1, Math.max(0.02, 2 * (promised ?? 0), 1.1 * Math.max(0, ...judged.map((one) => one.defective / one.judged))));
  const bars = judged.map((one) => {
    const place = SPANS[by] - 1 - (last - Math.floor(Date.parse(one.time) / 1000 / seconds));
    const height = Math.max(2, (95 * one.defective) / one.judged / top);
    const fill = one.defective ? "var(--bad)" : "var(--good)";
    const title = `${new Date(one.time).toLocaleString()}: ${one.defective} of ${one.judged} defective`;
    return mark("rect", { x: place * width + 0.5, y: 100 - height, width: Math.max(1, width - 1), height, fill }, title);
  });
  const line = promised === null ? [] : [mark("rect", { x: 0, y: 100 - (95 * promised) / top, width: 600, height: 1, fill: "var(--accent)" })];
  svg.replaceChildren(...bars, ...line);
  const [all, bad] = ["judged", "defective"].map((name) => judged.reduce((sum, one) => sum + one[name], 0));
  const span = { minute: "the last hour", hour: "the last two days", day: "the last 60 days" }[by];
  const refused = rates.reduce((sum, one) => sum + one.not_inspectable, 0);
  const text = (all ? `${bad} of ${all} parts defective in ${span} (${percent(bad / all)})` : `No decision in ${span}`) +
    (refused ? `; ${refused} more images not inspectable` : "");
  svg.setAttribute("aria-label", text);
  const rate = promised === null ? "" : ` The line: the rate guaranteed for good parts, ${percent(promised)}.`;
  return `${text}; top of the chart ${percent(top)}.${rate}`;
}

// Draw, for each group, the range of the scores at calibration and the range of the scores since then.
export function drawDrift(list, drift) {
  const shown = drift.filter((one) => one.quantiles.length);
  const top = Math.max(...shown.flatMap((one) => one.quantiles.flatMap((level) => [level.calibrated, level.seen])));
  list.replaceChildren(...shown.map((one) => {
    const item = document.createElement("li");
    const svg = mark("svg", { viewBox: "0 0 600 40", preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const [name, y, fill] of [["calibrated", 3, "var(--faint)"], ["seen", 22, one.drifting ? "var(--bad)" : "var(--good)"]]) {
      const [low, middle, high] = one.quantiles.map((level) => (590 * level[name]) / top);
      svg.append(mark("rect", { x: low, y, width: Math.max(1, high - low), height: 14, fill, opacity: 0.45 }));
      svg.append(mark("rect", { x: middle - 1.5, y, width: 3, height: 14, fill }));
    }
    const words = document.createElement("span");
    const evidence = Math.max(0, Math.log(one.evidence) / Math.log(one.limit));
    words.textContent = `${one.group ?? "All parts"}: scores at calibration (above) and of ${one.parts - one.defective} parts that pass ` +
      `(below), from 10 to 90 %, marks at half. Evidence of drift: `;
    const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: Math.min(1, evidence) });
    meter.setAttribute("aria-label", "evidence of drift, full where there is drift");
    words.append(meter);
    item.append(svg, words);
    return item;
  }));
}
