// The chart of curves along training, with a slider that shows values.

const SHAPES = { // of markers centred at (0, 0), by the names in benchmark/analysis/style.py
  o: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
  s: "M-3.6-3.6h7.2v7.2h-7.2z",
  "^": "M0-4.6l4.4 8h-8.8z",
  D: "M0-5l5 5l-5 5l-5-5z",
  v: "M0 4.6l4.4-8h-8.8z",
  P: "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
  X: "M-2.2-4.4L0-2.2L2.2-4.4L4.4-2.2L2.2 0L4.4 2.2L2.2 4.4L0 2.2L-2.2 4.4L-4.4 2.2L-2.2 0L-4.4-2.2z",
  p: "M0-4.8l4.6 3.3l-1.8 5.4h-5.6l-1.8-5.4z",
};
const BOX = { width: 640, height: 360, left: 52, right: 12, top: 10, bottom: 40 };
const LABEL = { "font-size": 12, fill: "#1a1a1a", "font-family": "system-ui, sans-serif" };

const at = (number) => number.toFixed(1);

function line([colour, , dash], points) {
  const dashes = dash.length ? dash.map((length) => 2 * length).join(" ") : null;
  return el("polyline", { points, fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dashes });
}

function marker([colour, shape], x, y) {
  return el("path", { d: SHAPES[shape] ?? SHAPES.o, fill: colour, transform: `translate(${at(x)} ${at(y)})` });
}

/** Three to seven round numbers from low to high. */
function ticks(low, high) {
  const rough = (high - low) / 7 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, place) => +((first + place) * step).toPrecision(12));
}

/** Positions of steps and values. lines: {name, look, steps, means, halves}; percent: whether to clip values to 0 to 100 */
function scales(lines, percent) {
  const bound = (value) => (percent ? Math.min(100, Math.max(0, value)) : value);
  const steps = [...new Set(lines.flatMap((each) => each.steps))].sort((a, b) => a - b);
  const around = (mean, half) => [mean - (half ?? 0), mean + (half ?? 0)];
  const edges = lines.flatMap((each) => each.means.flatMap((mean, place) => around(mean, each.halves[place])));
  let [low, high] = [Math.min, Math.max].map((most) => bound(edges.reduce((one, other) => most(one, other))));
  if (low === high) [low, high] = [low - 1, high + 1];
  const width = BOX.width - BOX.left - BOX.right, height = BOX.height - BOX.top - BOX.bottom;
  return { steps, low, high, x: (step) => BOX.left + (width * step) / steps.at(-1),
    y: (value) => BOX.top + height * (1 - (bound(value) - low) / (high - low)) };
}

function axes({ steps, low, high, x, y }) {
  const across = ticks(low, high).flatMap((value) => [
    el("line", { x1: BOX.left, x2: BOX.width - BOX.right, y1: y(value), y2: y(value), stroke: "#d9d9d9" }),
    el("text", { ...LABEL, x: BOX.left - 6, y: y(value) + 4, "text-anchor": "end" }, String(value)),
  ]);
  const below = ticks(0, steps.at(-1)).map((step) => {
    const anchor = step === steps.at(-1) ? "end" : "middle";
    return el("text", { ...LABEL, x: x(step), y: BOX.height - BOX.bottom + 16, "text-anchor": anchor }, step.toLocaleString("en"));
  });
  const middle = (BOX.left + BOX.width - BOX.right) / 2;
  return [...across, ...below, el("text", { ...LABEL, x: middle, y: BOX.height - 6, "text-anchor": "middle" }, "Step")];
}

function band(each, { x, y }) {
  if (each.halves.some((half) => half === null)) return [];
  const edge = (side) => each.steps.map((step, place) => `${at(x(step))},${at(y(each.means[place] + side * each.halves[place]))}`);
  return [el("polygon", { fill: each.look[0], opacity: 0.12, points: [...edge(1), ...edge(-1).reverse()].join(" ") })];
}

/** A line with markers at every fourth step. Each line has its markers at other steps. */
function curve(each, order, { x, y }) {
  const points = each.steps.map((step, place) => [x(step), y(each.means[place])]);
  const marked = points.filter((_, place) => (place + order) % 4 === 0);
  return [line(each.look, points.map((point) => point.map(at).join(",")).join(" ")), ...marked.map((point) => marker(each.look, ...point))];
}

/** The chart, the slider, and a legend with the values at the slider's step. words: formats a mean and its half-width */
function chart(title, lines, percent, words) {
  const scale = scales(lines, percent), { steps, x } = scale;
  const cursor = el("line", { y1: BOX.top, y2: BOX.height - BOX.bottom, stroke: "#595959", "stroke-dasharray": "3 3" });
  const names = `${title}: ${lines.map((each) => each.name).join(", ")}`;
  const svg = el("svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img", "aria-label": names },
    ...axes(scale), ...lines.flatMap((each) => band(each, scale)), ...lines.flatMap((each, order) => curve(each, order, scale)), cursor);
  const values = lines.map(() => el("td", { class: "number" })), heading = el("span");
  const said = el("p", { class: "hidden", "aria-live": "polite" });
  const named = { "aria-label": "Step of the values", "data-key": "step" };
  const slider = el("input", { type: "range", min: 0, max: steps.length - 1, ...named });
  const read = (aloud) => {
    const step = steps[slider.value], texts = lines.map((each) => valueAt(each, step, words));
    texts.forEach((text, row) => (values[row].textContent = text));
    heading.textContent = `Values at step ${step.toLocaleString("en")}`;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(step));
    if (aloud) said.textContent = `Step ${step}: ${lines.map((each, row) => `${each.name} ${texts[row]}`).join("; ")}`;
  };
  slider.value = steps.length - 1;
  slider.addEventListener("input", () => read(true));
  for (const move of ["pointermove", "pointerdown"]) svg.addEventListener(move, (event) => {
    slider.value = nearest(event, svg, steps.map(x));
    read(false);
  });
  read(false);
  return el("div", { class: "chart" }, el("div", {}, svg, slider, said), framed("Values along training", [head("Method"), head(heading)],
    lines.map((each, row) => [rowHead(swatch(each.look), ` ${each.name}`), values[row]])));
}

function swatch(look) {
  return el("svg", { viewBox: "0 0 44 14", "aria-hidden": "true" }, line(look, "1,7 43,7"), marker(look, 22, 7));
}

/** The latest value of a line at a step, with its own step if that is earlier: methods train for different numbers of steps. */
function valueAt({ steps, means, halves }, step, words) {
  const place = steps.filter((each) => each <= step).length - 1;
  if (place < 0) return "–";
  const text = words(means[place], halves[place] ?? NaN);
  return steps[place] === step ? text : `${text} (step ${steps[place].toLocaleString("en")})`;
}

/** The index of the step under the pointer. */
function nearest(event, svg, places) {
  const box = svg.getBoundingClientRect(), wanted = ((event.clientX - box.left) * BOX.width) / box.width;
  return places.reduce((best, x, place) => (Math.abs(x - wanted) < Math.abs(places[best] - wanted) ? place : best), 0);
}
