"use strict";
// The page's controls: the data is unpacked from #data, and each change of `state` draws the parts again. Nothing is ever fetched.

const $ = (id) => document.getElementById(id);
const LEVEL = 0.05; // as benchmark/analysis/significance.py
const TIE = 1e-9; // values are rounded to more than this, so differences below it are none
const LINES = { best: 8, all: 40 }; // curves in one picture
const COLLATOR = new Intl.Collator("en", { numeric: true });
let D; // the data, by benchmark/page/data.py
let cells = []; // {id, method, setting, seeds, diverged: count}
let rows = []; // for each cell, by the metric and selection of the state: {values: Map(seed -> value), mean, half, n}
let marks = new Map(), differences = new Map(); // by setting, made when first asked for
let digits = 2;
const state = { metric: "", selection: "", reference: "", find: "", sees: "", facets: [], setting: 0, lines: "best", step: 0,
  wide: { by: "", down: true, page: 0, columns: 0 }, long: { by: "", down: true, page: 0, hidden: new Set() } };

// ---- the document

function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "polyline", "polygon", "line", "text", "g"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

async function unpack() {
  if (typeof DecompressionStream === "undefined") {
    trouble("This browser cannot unpack the data of this page, as it lacks DecompressionStream (Chrome 80, Safari 16.4 and Firefox 113 " +
      "have it). It shows the first table and what is missing, and no more.");
    return null;
  }
  try {
    const bytes = Uint8Array.from(atob($("data").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await new Response(stream).json();
  } catch (error) {
    trouble(`The data of this page is damaged (${error.message}): make the page again.`);
    return null;
  }
}

function select(label, options, value, change) {
  const choices = options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text));
  return el("label", {}, label, el("select", { onchange: (event) => change(event.target.value), "data-key": label }, ...choices));
}

function button(text, click, attributes = {}) {
  return el("button", { type: "button", onclick: click, ...attributes }, text);
}

function copyButton(text) {
  const said = el("span", { role: "status", class: "muted" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = " copied";
    } catch {
      said.textContent = " this browser does not allow copying: select the text above";
    }
  };
  return el("p", {}, button("Copy", copy, { class: "copy" }), said);
}

function scroll(label, child) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, child);
}

function download(name, text) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function csv(headers, lines) {
  const field = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [headers, ...lines].map((line) => line.map(field).join(",")).join("\r\n") + "\r\n";
}

function latex(headers, lines) {
  const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "*": "$^{*}$",
    "−": "$-$", "<": "$<$", ">": "$>$" };
  const escaped = (text) => text.replace(/[\\~^±*−<>&%$#_{}]/g, (letter) => special[letter] ?? `\\${letter}`);
  const line = (texts) => `${texts.map(escaped).join(" & ")} \\\\`;
  const body = [line(headers), "\\midrule", ...lines.map(line)];
  return ["% needs \\usepackage{booktabs}", `\\begin{tabular}{${"l".repeat(headers.length)}}`, "\\toprule", ...body, "\\bottomrule",
    "\\end{tabular}", ""].join("\n");
}

// ---- statistics: those of benchmark/analysis/statistics.py and significance.py

/** The probability that |T| exceeds t >= 0, for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4). */
function twoSided(t, degrees) {
  const angle = Math.atan(t / Math.sqrt(degrees)), cosine = Math.cos(angle), odd = degrees % 2 === 1;
  let term = odd ? cosine : 1, sum = degrees === 1 ? 0 : term;
  for (let k = odd ? 3 : 2; k < degrees; k += 2) {
    term *= cosine * cosine * (odd ? (k - 1) / k : (k - 1) / k);
    sum += term;
  }
  return 1 - (odd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum);
}

function spread(values, mean) {
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1) / values.length);
}

function estimate(values) {
  const n = values.length, mean = n ? values.reduce((sum, value) => sum + value, 0) / n : NaN;
  return { mean, n, half: n < D.fewest ? NaN : D.t[n] * spread(values, mean) };
}

const constant = (values) => Math.max(...values) - Math.min(...values) < TIE;

function paired(ours, theirs) {
  const each = ours.map((value, place) => value - theirs[place]), found = estimate(each);
  const wins = each.filter((value) => value > TIE).length;
  if (found.n < D.fewest || constant(each)) return { ...found, half: NaN, p: NaN, wins };
  return { ...found, wins, p: twoSided(Math.abs(found.mean) / spread(each, found.mean), found.n - 1) };
}

function holm(p) {
  const order = [...p.keys()].filter((place) => !Number.isNaN(p[place])).sort((a, b) => p[a] - p[b]);
  const adjusted = p.map(() => NaN);
  let so_far = 0;
  order.forEach((place, rank) => (adjusted[place] = so_far = Math.min(1, Math.max(so_far, (order.length - rank) * p[place]))));
  return adjusted;
}

const metric = () => D.metrics.find((each) => each.name === state.metric);
const merit = (value) => (metric().larger ? value : -value);
const shown = (cell) => rows[cell].n > 0 || cells[cell].diverged > 0;
const inSetting = (setting) => cells.filter((cell) => cell.setting === setting && shown(cell.id)).map((cell) => cell.id);

/** The cells of a setting that may be the best one; none where that tells nothing apart. */
function mayBeBest(setting) {
  if (!marks.has(setting)) marks.set(setting, findBest(inSetting(setting)));
  return marks.get(setting);
}

function findBest(column) {
  const compared = column.filter((cell) => !cells[cell].diverged && rows[cell].n >= D.fewest);
  if (!compared.length) return new Set();
  const seeds = [...rows[compared[0]].values.keys()].filter((seed) => compared.every((cell) => rows[cell].values.has(seed)));
  if (seeds.length < D.fewest) return new Set();
  const found = compared.map((cell) => {
    const values = seeds.map((seed) => merit(rows[cell].values.get(seed)));
    return { cell, values, mean: estimate(values).mean };
  });
  found.sort((one, other) => other.mean - one.mean); // only a better mean can beat, and the best ones beat most
  const out = (own) => {
    for (const other of found) {
      if (other.mean <= own.mean) return false;
      const each = other.values.map((value, place) => value - own.values[place]), mean = other.mean - own.mean;
      if (!constant(each) && twoSided(mean / spread(each, mean), seeds.length - 1) / 2 < LEVEL / (found.length - 1)) return true;
    }
    return false;
  };
  const kept = found.filter((own) => !out(own));
  return new Set(kept.length < found.length ? kept.map((own) => own.cell) : []);
}

/** Of each cell of a setting to the reference there: {mean, half, p, wins, n}; none where the reference has no cell, or several. */
function toReference(setting) {
  const known = differences.get(setting);
  if (known) return known;
  const column = inSetting(setting), named = (cell) => nameOf(cell) === state.reference;
  const [reference, second] = column.filter(named), others = column.filter((cell) => !named(cell)), found = new Map();
  differences.set(setting, found);
  if (reference === undefined || second !== undefined) return found;
  const tested = others.map((cell) => {
    const theirs = rows[reference].values, seeds = [...rows[cell].values.keys()].filter((seed) => theirs.has(seed));
    const result = paired(...[rows[cell].values, theirs].map((values) => seeds.map((seed) => merit(values.get(seed)))));
    const lost = cells[cell].diverged || cells[reference].diverged ? { half: NaN, p: NaN } : {};
    return { ...result, mean: merit(result.mean), ...lost };
  });
  const adjusted = holm(tested.map((each) => each.p));
  others.forEach((cell, place) => found.set(cell, { ...tested[place], p: adjusted[place] }));
  return found;
}

/** The rows of all cells, by the metric and the selection. */
function compute() {
  const values = D.values[state.metric][state.selection];
  let start = 0;
  rows = cells.map((cell) => {
    const own = new Map();
    cell.seeds.forEach((seed, place) => values[start + place] !== null && own.set(seed, values[start + place]));
    start += cell.seeds.length;
    return { values: own, ...estimate([...own.values()]) };
  });
  const largest = rows.reduce((most, row) => (row.mean > most ? row.mean : most), 0) || 1;
  digits = metric().unit === "%" ? 2 : Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(largest))));
  marks = new Map();
  differences = new Map();
}

// ---- words

const methodOf = (cell) => D.methods[cells[cell].method];
const nameOf = (cell) => methodOf(cell).name;
const settingOf = (cell) => D.settings[cells[cell].setting].words;
const selection = () => D.selections.find((each) => each.name === state.selection);
const seesOf = (cell) => methodOf(cell).sees + (selection().sees ? ` + ${selection().sees}` : "");
const number = (value, sign = "") => (sign && value > 0 ? sign : "") + value.toFixed(digits);
const plusMinus = (mean, half, sign) => number(mean, sign) + (Number.isNaN(half) ? "" : ` ± ${number(half)}`);
const diverged = (cell) => (cells[cell].diverged ? ` (${cells[cell].diverged} diverged)` : "");
const count = (total, noun) => `${total.toLocaleString("en")} ${noun}${total === 1 ? "" : "s"}`;

function valueText(cell) {
  const row = rows[cell];
  if (!row.n) return "–";
  return row.n < D.fewest ? [...row.values.values()].map((value) => number(value)).join(", ") : plusMinus(row.mean, row.half);
}

function text(cell) {
  if (!shown(cell)) return "";
  const setting = cells[cell].setting, compared = state.reference && toReference(setting).get(cell);
  if (compared && compared.n) {
    const star = compared.p < LEVEL ? " *" : "";
    return `${plusMinus(compared.mean, compared.half, "+")} (${compared.wins} of ${compared.n})${star}${diverged(cell)}`;
  }
  return `${valueText(cell)}${!state.reference && mayBeBest(setting).has(cell) ? " *" : ""}${diverged(cell)}`;
}

/** What orders a cell: its difference where differences are shown, else its mean. */
function size(cell) {
  const compared = state.reference && toReference(cells[cell].setting).get(cell);
  return compared ? compared.mean : rows[cell].mean;
}

// ---- what is shown

function filtered() {
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = D.settings.map((_, setting) => D.facets.every((facet, place) => state.facets[place] === "" || facet.of[setting] === +state.facets[place]));
  return cells.filter((cell) => fits[cell.setting] && shown(cell.id) && (!state.sees || seesOf(cell.id) === state.sees) &&
    words.every((word) => nameOf(cell.id).toLowerCase().includes(word))).map((cell) => cell.id);
}

function controls() {
  const set = (name) => (value) => { state[name] = value; changed(); };
  const names = [...new Set(D.methods.map((method) => method.name))].sort(COLLATOR.compare);
  const find = el("input", { type: "search", value: state.find, "data-key": "find", autocomplete: "off", spellcheck: "false",
    oninput: (event) => set("find")(event.target.value) });
  const facets = D.facets.map((facet, place) => select(facet.words, [["", "all"], ...facet.values.map((value, at) => [at, value]),
    ...(facet.of.includes(-1) ? [[-1, "without"]] : [])], "", (value) => { state.facets[place] = value; changed(); }));
  const sees = [...new Set(D.methods.map((method) => method.sees))].sort((a, b) => a.split("+").length - b.split("+").length);
  const clear = () => {
    Object.assign(state, { find: "", sees: "", facets: D.facets.map(() => "") });
    controls();
    changed();
    $("controls").querySelector("details").open = true;
  };
  $("controls").replaceChildren(
    el("div", { class: "fields" },
      select("Metric", D.metrics.map((each) => [each.name, each.label]), state.metric, set("metric")),
      select("Evaluation that counts", D.selections.map((each) => [each.name, each.name]), state.selection, set("selection")),
      select("Difference to", [["", "none: show values"], ...names.map((name) => [name, name])], state.reference, set("reference"))),
    el("details", {}, el("summary", { id: "filters" }, "Filters"), el("div", { class: "fields" }, el("label", {}, "Method contains", find),
      select("Sees", [["", "all"], ...sees.map((each) => [each, each])], state.sees, set("sees")), ...facets, button("Show all", clear))));
  $("controls").hidden = false;
}

/** Everything again, after a change of what is shown. */
function changed() {
  state.wide.page = state.wide.columns = state.long.page = 0;
  draw();
}

function draw() {
  compute();
  const found = filtered(), filters = [state.find, state.sees, ...state.facets].filter(Boolean).length;
  $("filters").textContent = `Filters${filters ? ` (${filters} in use: ${count(found.length, "cell")} of ${cells.length.toLocaleString("en")})` : ""}`;
  kept(() => { wide(found); long(found); curves(found); });
}

/** Draw, and give the focus back to what had it. */
function kept(work) {
  const key = document.activeElement?.dataset?.key;
  work();
  if (key && document.activeElement?.dataset?.key !== key) {
    const again = [...document.querySelectorAll("[data-key]")].find((node) => node.dataset.key === key);
    if (again && !again.disabled) again.focus();
    else again?.closest("section")?.querySelector(".scroll")?.focus();
  }
}

function sorter(table, name, label) {
  const own = table.by === name;
  const sort = () => {
    Object.assign(table, { by: name, down: own ? !table.down : true, page: 0 });
    kept(() => (table === state.wide ? wide(filtered()) : long(filtered())));
  };
  const key = `${table === state.wide ? "wide" : "long"} ${name}`;
  const arrow = el("span", { "aria-hidden": "true" }, own ? (table.down ? " ▾" : " ▴") : "");
  return el("th", { scope: "col", "aria-sort": own ? (table.down ? "descending" : "ascending") : null },
    el("button", { type: "button", onclick: sort, "data-key": key }, label, arrow));
}

function pager(label, total, size, page, go) {
  if (total <= size) return "";
  const first = page * size, last = Math.min(total, first + size), key = label.toLowerCase();
  return el("div", { class: "pager" }, button("‹ Previous", () => go(page - 1), { disabled: page === 0, "data-key": `${key} back`, "aria-label": `Previous ${key}` }),
    el("span", { role: "status" }, `${label} ${first + 1} to ${last} of ${total.toLocaleString("en")}`),
    button("Next ›", () => go(page + 1), { disabled: last === total, "data-key": `${key} on`, "aria-label": `Next ${key}` }));
}

function downloads(name, table) {
  const save = (kind, made) => button(`Download ${kind}`, () => { const { headers, lines } = table(); download(`${name}.${kind === "CSV" ? "csv" : "tex"}`, made(headers, lines)); });
  return el("div", { class: "pager" }, save("CSV", csv), save("LaTeX", latex));
}

function numberCell(list) {
  const each = (cell) => button(text(cell), () => dialog(cell), { "aria-haspopup": "dialog", "data-key": `cell ${cell}`, title: "Trials, configuration and command" });
  return el("td", { class: "number" }, ...list.map(each));
}

// ---- methods by setting

function wide(found) {
  const table = state.wide, settings = [...new Set(found.map((cell) => cells[cell].setting))].sort((a, b) => a - b);
  const lines = ordered(byMethod(found), table.by);
  const now = settings.slice(table.columns * D.columns, (table.columns + 1) * D.columns);
  const go = (what) => (page) => { table[what] = page; kept(() => wide(filtered())); };
  const body = lines.slice(table.page * D.rows, (table.page + 1) * D.rows).map((line, place, all) => el("tr", {},
    el("td", {}, table.by || line.sees !== all[place - 1]?.sees ? line.sees : ""), el("th", { scope: "row" }, line.name),
    ...now.map((setting) => numberCell(line.cells.get(setting) ?? []))));
  const heads = now.map((setting) => sorter(table, String(setting), D.settings[setting].words));
  const all = () => ({ headers: ["Sees", "Method", ...settings.map((setting) => D.settings[setting].words)],
    lines: lines.map((line) => [line.sees, line.name, ...settings.map((setting) => (line.cells.get(setting) ?? []).map(text).join(" / "))]) });
  $("wide").replaceChildren(caption(found), pager("Settings", settings.length, D.columns, table.columns, go("columns")),
    found.length ? scroll("Methods by setting", el("table", {}, el("thead", {}, el("tr", {}, sorter(table, "", "Sees"), el("th", { scope: "col" }, "Method"), ...heads)),
      el("tbody", {}, ...body))) : el("p", { role: "status" }, "No cell fits the filters."),
    pager("Methods", lines.length, D.rows, table.page, go("page")), downloads("methods-by-setting", all));
}

function byMethod(found) {
  const lines = new Map();
  for (const cell of found) {
    const sees = seesOf(cell), name = nameOf(cell), key = `${sees}\n${name}`;
    if (!lines.has(key)) lines.set(key, { sees, name, cells: new Map() });
    const own = lines.get(key).cells, setting = cells[cell].setting;
    own.set(setting, [...(own.get(setting) ?? []), cell]);
  }
  return [...lines.values()];
}

/** By one setting; or grouped by what methods see, fewest first, and within by the mean over all settings, the best last. */
function ordered(lines, by) {
  const merits = lines.map((line) => {
    const means = (by ? line.cells.get(+by) ?? [] : [...line.cells.values()].flat()).map((cell) => (by ? size(cell) : merit(rows[cell].mean))).filter((mean) => !Number.isNaN(mean));
    return { line, merit: means.length ? means.reduce((sum, mean) => sum + mean, 0) / means.length : -Infinity };
  });
  const down = state.wide.down ? -1 : 1, parts = (line) => line.sees.split("+").length;
  merits.sort((a, b) => by
    ? (a.merit === -Infinity) - (b.merit === -Infinity) || down * (a.merit - b.merit) || COLLATOR.compare(a.line.name, b.line.name)
    : parts(a.line) - parts(b.line) || COLLATOR.compare(a.line.sees, b.line.sees) || a.merit - b.merit || COLLATOR.compare(a.line.name, b.line.name));
  return merits.map((each) => each.line);
}

function caption(found) {
  const lacking = cells.reduce((sum, cell) => sum + cell.seeds.length - cell.diverged - rows[cell.id].n, 0);
  const what = state.reference ? `Paired differences to ${state.reference}, with the trials won; others show values. * is p < 0.05 after Holm.`
    : "Mean ± 95 % interval over trials. * may be the best of its setting.";
  const missing = lacking ? ` ${count(lacking, "trial")} without this number ${lacking === 1 ? "is" : "are"} left out${metric().absent ? ` (absent ${metric().absent})` : ""}.` : "";
  return el("p", {}, `${metric().label}, ${selection().words}. ${what} ${metric().larger ? "Larger" : "Smaller"} is better.${missing} A number opens its trials, configuration and command.`);
}

// ---- all cells

function columnsOf() {
  const p = (cell) => (state.reference && toReference(cells[cell].setting).get(cell)?.p) ?? NaN;
  const option = (facet) => ({ name: facet.words, text: (cell) => facet.values[facet.of[cells[cell].setting]] ?? "", rank: (cell) => facet.of[cells[cell].setting] });
  return [{ name: "Method", text: nameOf }, { name: "Sees", text: seesOf }, ...D.facets.map(option),
    { name: metric().label, text, rank: size, number: true },
    ...(state.reference ? [{ name: "p (Holm)", text: (cell) => (Number.isNaN(p(cell)) ? "" : p(cell) < 0.001 ? "< 0.001" : p(cell).toFixed(3)), rank: p }] : []),
    { name: "Trials", text: (cell) => String(rows[cell].n), rank: (cell) => rows[cell].n }];
}

function long(found) {
  const table = state.long, all = columnsOf(), columns = all.filter((column) => !table.hidden.has(column.name));
  const by = all.find((column) => column.name === table.by), down = table.down ? -1 : 1, nan = (value) => Number.isNaN(value);
  const sorted = by ? [...found].sort((a, b) => by.rank ? nan(by.rank(a)) - nan(by.rank(b)) || down * (by.rank(a) - by.rank(b)) || a - b
    : down * COLLATOR.compare(by.text(a), by.text(b)) || a - b) : found;
  const body = sorted.slice(table.page * D.rows, (table.page + 1) * D.rows).map((cell) => el("tr", {}, ...columns.map((column) =>
    column.number ? numberCell([cell]) : el(column.name === "Method" ? "th" : "td", column.name === "Method" ? { scope: "row" } : {}, column.text(cell)))));
  const hide = (column) => (event) => { table.hidden[event.target.checked ? "delete" : "add"](column.name); kept(() => long(filtered())); };
  const ticks = all.filter((column) => column.name !== "Method").map((column) => el("label", { class: "tick" },
    el("input", { type: "checkbox", checked: !table.hidden.has(column.name), onchange: hide(column), "data-key": `show ${column.name}` }), column.name));
  const open = $("long").querySelector("details")?.open ?? false;
  const chooser = el("details", { class: "columns", open }, el("summary", {}, "Columns"), el("div", { class: "fields" }, ...ticks));
  const go = (page) => { table.page = page; kept(() => long(filtered())); };
  $("long").replaceChildren($("long").firstElementChild, chooser, scroll("All cells", el("table", {}, el("thead", {}, el("tr", {},
    ...columns.map((column) => sorter(table, column.name, column.name)))), el("tbody", {}, ...body))),
    pager("Cells", sorted.length, D.rows, table.page, go),
    downloads("cells", () => ({ headers: columns.map((column) => column.name), lines: sorted.map((cell) => columns.map((column) => column.text(cell))) })));
  $("long").hidden = false;
}

// ---- curves

const SHAPES = { // of markers, about (0, 0), by matplotlib's names
  o: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", s: "M-3.6-3.6h7.2v7.2h-7.2z", "^": "M0-4.6l4.4 8h-8.8z", D: "M0-5l5 5l-5 5l-5-5z", v: "M0 4.6l4.4-8h-8.8z",
  P: "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z", X: "M-2.2-4.4L0-2.2L2.2-4.4L4.4-2.2L2.2 0L4.4 2.2L2.2 4.4L0 2.2L-2.2 4.4L-4.4 2.2L-2.2 0L-4.4-2.2z",
  p: "M0-4.8l4.6 3.3l-1.8 5.4h-5.6l-1.8-5.4z",
};
const BOX = { width: 640, height: 360, left: 52, right: 12, top: 10, bottom: 40 };

function line([colour, , dash], points) {
  return el("polyline", { points, fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash.length ? dash.map((each) => 2 * each).join(" ") : null });
}

const marker = ([colour, shape], x, y) => el("path", { d: SHAPES[shape] ?? SHAPES.o, fill: colour, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });

function ticks(low, high) {
  const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  return Array.from({ length: Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1 }, (_, place) => +((Math.ceil(low / step - 1e-9) + place) * step).toPrecision(12));
}

function curves(found) {
  const section = $("curves"), data = D.curves[state.metric];
  const has = (cell) => data && data[cell] !== null;
  const settings = [...new Set(found.filter(has).map((cell) => cells[cell].setting))].sort((a, b) => a - b);
  section.hidden = settings.length === 0;
  if (section.hidden) return;
  if (!settings.includes(state.setting)) state.setting = settings[0];
  const best = found.filter((cell) => has(cell) && cells[cell].setting === state.setting).sort((a, b) => merit(rows[b].mean || 0) - merit(rows[a].mean || 0) || a - b);
  const lines = best.slice(0, LINES[state.lines]).map((cell) => ({ name: nameOf(cell), look: methodOf(cell).look, steps: data[cell][0], means: data[cell][1], halves: data[cell][2] }));
  const again = (name, number) => (value) => { state[name] = number ? +value : value; kept(() => curves(filtered())); };
  const fields = el("div", { class: "fields" }, select("Setting", settings.map((setting) => [setting, D.settings[setting].words]), state.setting, again("setting", true)),
    select("Methods", [["best", `the ${Math.min(best.length, LINES.best)} best`], ["all", `all, at most ${LINES.all}`]], state.lines, again("lines")));
  section.replaceChildren(section.firstElementChild, fields, el("p", {}, `${metric().label}, mean over trials; bands are 95 % intervals, where there are at least ${D.fewest} trials. ` +
    `${lines.length} of ${count(best.length, "method")}. Point at the picture or move the slider to read values.`), chart(lines));
}

/** The picture, the slider that reads it, and the legend with the values at the slider's step. */
function chart(lines) {
  const steps = [...new Set(lines.flatMap((each) => each.steps))].sort((a, b) => a - b), percent = metric().unit === "%";
  const edges = lines.flatMap((each) => each.means.flatMap((mean, place) => [mean - (each.halves[place] ?? 0), mean + (each.halves[place] ?? 0)]));
  const bound = (value) => (percent ? Math.min(100, Math.max(0, value)) : value);
  let [low, high] = [edges.reduce((a, b) => Math.min(a, b)), edges.reduce((a, b) => Math.max(a, b))].map(bound);
  if (low === high) [low, high] = [low - 1, high + 1];
  const x = (step) => BOX.left + ((BOX.width - BOX.left - BOX.right) * step) / steps.at(-1);
  const y = (value) => BOX.height - BOX.bottom - ((BOX.height - BOX.top - BOX.bottom) * (bound(value) - low)) / (high - low);
  const label = { "font-size": 12, fill: "#1a1a1a", "font-family": "system-ui, sans-serif" };
  const svg = el("svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img", "aria-label": `${metric().label} along training: ${lines.map((each) => each.name).join(", ")}` });
  for (const at of ticks(low, high)) svg.append(el("line", { x1: BOX.left, x2: BOX.width - BOX.right, y1: y(at), y2: y(at), stroke: "#d9d9d9" }),
    el("text", { ...label, x: BOX.left - 6, y: y(at) + 4, "text-anchor": "end" }, String(at)));
  for (const at of ticks(0, steps.at(-1))) svg.append(el("text", { ...label, x: x(at), y: BOX.height - BOX.bottom + 16, "text-anchor": at === steps.at(-1) ? "end" : "middle" }, at.toLocaleString("en")));
  svg.append(el("text", { ...label, x: BOX.left, y: BOX.height - 6 }, "Step"));
  for (const each of lines) if (each.halves.every((half) => half !== null)) svg.append(el("polygon", { fill: each.look[0], opacity: 0.12,
    points: [...each.steps.map((step, place) => [step, each.means[place] + each.halves[place]]), ...each.steps.map((step, place) => [step, each.means[place] - each.halves[place]]).reverse()]
      .map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }));
  lines.forEach((each, order) => {
    svg.append(line(each.look, each.steps.map((step, place) => `${x(step).toFixed(1)},${y(each.means[place]).toFixed(1)}`).join(" ")));
    each.steps.forEach((step, place) => (place + order) % 4 === 0 && svg.append(marker(each.look, x(step), y(each.means[place]))));
  });
  const cursor = el("line", { y1: BOX.top, y2: BOX.height - BOX.bottom, stroke: "#595959", "stroke-dasharray": "3 3" }), said = el("p", { class: "hidden", "aria-live": "polite" });
  svg.append(cursor);
  const values = lines.map(() => el("td", { class: "number" })), at = el("span");
  const slider = el("input", { type: "range", min: 0, max: steps.length - 1, "aria-label": "Step at which values are read", "data-key": "step" });
  const read = (quiet) => {
    const step = steps[slider.value], place = (each) => each.steps.indexOf(step);
    const texts = lines.map((each) => (place(each) < 0 ? "–" : plusMinus(each.means[place(each)], each.halves[place(each)] ?? NaN)));
    texts.forEach((value, row) => (values[row].textContent = value));
    at.textContent = `Values at step ${step.toLocaleString("en")}`;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(step));
    if (!quiet) said.textContent = `Step ${step}: ${lines.map((each, row) => `${each.name} ${texts[row]}`).join("; ")}`;
  };
  slider.value = steps.length - 1;
  slider.addEventListener("input", () => read(false));
  const point = (event) => {
    const box = svg.getBoundingClientRect(), wanted = ((event.clientX - box.left) * BOX.width) / box.width;
    slider.value = steps.reduce((nearest, step, place) => (Math.abs(x(step) - wanted) < Math.abs(x(steps[nearest]) - wanted) ? place : nearest), 0);
    read(true);
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  read(true);
  const swatch = (look) => el("svg", { viewBox: "0 0 44 14", "aria-hidden": "true" }, line(look, "1,7 43,7"), marker(look, 22, 7));
  const legend = el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Method"), el("th", { scope: "col" }, at))),
    el("tbody", {}, ...lines.map((each, row) => el("tr", {}, el("th", { scope: "row" }, swatch(each.look), ` ${each.name}`), values[row]))));
  return el("div", { class: "chart" }, el("div", {}, svg, slider, said), scroll("Values along training", legend));
}

// ---- one cell

function commandOf(cell) {
  const parts = [methodOf(cell), D.settings[cells[cell].setting]], refused = parts.find((part) => part.refused);
  if (refused) return { refused: refused.refused };
  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);
  const seeds = cells[cell].seeds, first = Math.min(...seeds), trials = Math.max(...seeds) - first + 1;
  return { command: [D.run, ...parts.flatMap((part) => part.command).map(quoted), `seed=${first}`, `trials=${trials}`].join(" ") };
}

function dialog(cell) {
  const { seeds, setting } = cells[cell], row = rows[cell], method = methodOf(cell), { command, refused } = commandOf(cell), box = $("dialog");
  const lost = new Set(cells[cell].lost), value = (seed) => (lost.has(seed) ? "diverged" : row.values.has(seed) ? number(row.values.get(seed)) : "–");
  const trials = el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Seed"), el("th", { scope: "col" }, metric().label))),
    el("tbody", {}, ...seeds.map((seed) => el("tr", {}, el("th", { scope: "row" }, String(seed)), el("td", { class: "number" }, value(seed))))));
  const options = [...Object.entries(method.options).map(([name, text]) => [name, text, true]),
    ...Object.entries(D.options).map(([name, values]) => [name, values.length === 1 ? values[0] : values[setting], values.length > 1])].filter(([, text]) => text !== null);
  const again = refused ? [el("p", { class: "remark" }, `This installation cannot compose the configuration: ${refused}.`)]
    : [el("pre", { tabindex: "0", role: "region", "aria-label": "Command" }, el("code", {}, command)), copyButton(command)];
  box.replaceChildren(button("Close", () => box.close(), { class: "close" }), el("h2", { id: "dialog-title" }, `${nameOf(cell)}: ${valueText(cell)}`),
    el("p", {}, `${settingOf(cell)}. ${metric().label}, ${selection().words}. Sees ${seesOf(cell)}.`), el("h3", {}, "Trials"), scroll("Trials", trials),
    el("h3", {}, "The command that makes it again"), ...again,
    el("h3", {}, "Where it comes from"), el("p", {}, `${D.codes[D.code[cell]]} ${D.origins[D.origin[cell]]} Key ${D.keys[cell]}.`),
    el("h3", {}, "Configuration"), el("p", { class: "muted" }, "In bold: the method's options, and what differs between the settings of this page."),
    el("ul", { class: "options" }, ...options.map(([name, text, bold]) => el("li", {}, bold ? el("b", {}, `${name}=${text}`) : `${name}=${text}`))));
  box.showModal();
}

// ---- start

(async () => {
  for (const pre of document.querySelectorAll(".code pre")) pre.parentElement.append(copyButton(pre.textContent));
  D = await unpack();
  if (!D) return;
  const lost = new Set(D.diverged);
  let start = 0;
  cells = D.counts.map((trials, id) => {
    const places = Array.from({ length: trials }, (_, place) => start + place);
    start += trials;
    const gone = places.filter((place) => lost.has(place)).map((place) => D.seeds[place]);
    return { id, method: D.method[id], setting: D.setting[id], seeds: places.map((place) => D.seeds[place]), diverged: gone.length, lost: gone };
  });
  Object.assign(state, { metric: D.metrics[0].name, selection: D.selections[0].name, reference: D.reference, facets: D.facets.map(() => "") });
  controls();
  draw();
  document.documentElement.dataset.ready = "true";
})();
