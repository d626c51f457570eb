// The page. It unpacks its data from #data, and redraws its parts after each change of `state`. It fetches nothing.

const LINES = { best: 8, all: 40 }; // the largest number of curves in a chart
const ORDER = new Intl.Collator("en", { numeric: true }).compare;
let D; // the data of benchmark/page/data.py
let cells = []; // {id, method, setting, seeds, lost: seeds of diverged trials}
let rows = []; // for each cell, by the metric and selection: {values: Map(seed -> value), mean, half, n}
let marks = new Map(), differences = new Map(); // by setting, computed on first use
let digits = 2;
const state = { metric: "", selection: "", reference: "", find: "", sees: "", facets: [], setting: -1, lines: "best",
  wide: { by: "", down: true, page: 0, settings: 0 }, long: { by: "", down: true, page: 0, hidden: new Set() } };

// ---- numbers of cells by metric, selection and reference

const metric = () => D.metrics.find((each) => each.name === state.metric);
const selection = () => D.selections.find((each) => each.name === state.selection);
const merit = (value) => (metric().larger ? value : -value);
const isShown = (cell) => rows[cell].n > 0 || cells[cell].lost.length > 0;
const inSetting = (setting) => cells.filter((cell) => cell.setting === setting && isShown(cell.id)).map((cell) => cell.id);

function compute() {
  const values = D.values[state.metric][state.selection];
  let start = 0;
  rows = cells.map((cell) => {
    const measured = metric().cost ? [[0, values[cell.id]]] : cell.seeds.map((seed, place) => [seed, values[start + place]]);
    const own = new Map(measured.filter(([, value]) => value !== null));
    start += cell.seeds.length;
    return { values: own, ...estimate([...own.values()], D) };
  });
  const largest = rows.reduce((most, row) => (row.mean > most ? row.mean : most), 0) || 1;
  digits = metric().unit === "%" ? 2 : Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(largest)))); // benchmark/analysis/tables.py
  [marks, differences] = [new Map(), new Map()];
}

function once(known, setting, make) {
  if (!known.has(setting)) known.set(setting, make(inSetting(setting)));
  return known.get(setting);
}

/** The cells of a setting that may be the best one; empty if all of them may be. */
const bestOf = (setting) => once(marks, setting, (column) => {
  const compared = column.filter((cell) => !cells[cell].lost.length && rows[cell].n >= D.fewest);
  const seeds = compared.length ? [...rows[compared[0]].values.keys()] : [];
  const common = seeds.filter((seed) => compared.every((cell) => rows[cell].values.has(seed)));
  if (common.length < D.fewest) return new Set();
  const kept = mayBeBest(compared.map((cell) => common.map((seed) => merit(rows[cell].values.get(seed)))));
  return new Set(kept.every(Boolean) ? [] : compared.filter((_, place) => kept[place]));
});

/** The difference of each cell of a setting to the reference; empty if the reference has no cell or several cells there. */
const toReference = (setting) => once(differences, setting, (column) => {
  const references = column.filter((cell) => nameOf(cell) === state.reference);
  if (references.length !== 1) return new Map();
  const others = column.filter((cell) => nameOf(cell) !== state.reference);
  const found = others.map((cell) => difference(cell, references[0])), adjusted = holm(found.map((each) => each.p));
  return new Map(others.map((cell, place) => [cell, { ...found[place], p: adjusted[place] }]));
});

function difference(cell, reference) {
  const [ours, theirs] = [cell, reference].map((each) => rows[each].values);
  const seeds = [...ours.keys()].filter((seed) => theirs.has(seed));
  const found = paired(...[ours, theirs].map((values) => seeds.map((seed) => merit(values.get(seed)))), D);
  const untested = cells[cell].lost.length || cells[reference].lost.length ? { half: NaN, p: NaN } : {};
  return { ...found, mean: merit(found.mean), ...untested };
}

const compared = (cell) => (state.reference ? toReference(cells[cell].setting).get(cell) : undefined);

// ---- words

const methodOf = (cell) => D.methods[cells[cell].method];
const nameOf = (cell) => methodOf(cell).name;
const wordsOf = (setting) => D.settings[setting].words;
const seesOf = (cell) => methodOf(cell).sees + (selection().sees ? ` + ${selection().sees}` : "");
const number = (value, sign = "") => (value > 0 ? sign : "") + value.toFixed(digits);
const plusMinus = (mean, half, sign) => number(mean, sign) + (Number.isNaN(half) ? "" : ` ± ${number(half)}`);
const many = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

function valueText(cell) {
  const row = rows[cell];
  if (!row.n) return "–";
  return row.n < D.fewest ? [...row.values.values()].map((value) => number(value)).join(", ") : plusMinus(row.mean, row.half);
}

function text(cell) {
  if (!isShown(cell)) return "";
  const found = compared(cell), diverged = cells[cell].lost.length ? ` (${cells[cell].lost.length} diverged)` : "";
  const won = metric().cost ? "" : ` (${found?.wins} of ${found?.n})`;
  if (found?.n) return `${plusMinus(found.mean, found.half, "+")}${won}${found.p < LEVEL ? " *" : ""}${diverged}`;
  return `${valueText(cell)}${!state.reference && bestOf(cells[cell].setting).has(cell) ? " *" : ""}${diverged}`;
}

/** The number that orders a cell: its mean, or its difference to the reference, which is 0 for the reference and NaN if there is none. */
function size(cell) {
  if (!state.reference) return rows[cell].mean;
  return nameOf(cell) === state.reference ? 0 : compared(cell)?.mean ?? NaN;
}

const phrases = (setting) => wordsOf(setting).split(", ");

/** The phrases that several settings share. */
function shared([first, ...others]) {
  return others.length ? phrases(first).filter((phrase) => others.every((other) => phrases(other).includes(phrase))) : [];
}

/** The sentence on the numbers of the tables. */
function meaning() {
  if (metric().cost) return state.reference ? `Differences to ${state.reference}; other cells show values.` : "One measurement for each method.";
  if (state.reference) {
    return `Paired differences to ${state.reference}, with the number of trials won; other cells show values. * means p < 0.05 after Holm.`;
  }
  return rows.some((row) => row.n >= D.fewest)
    ? "Mean ± 95 % interval over trials. * marks methods that may be the best of their setting."
    : `Values of the trials; an interval needs ${D.fewest} trials.`;
}

/** The sentence on what the tables omit, or "". A cost belongs to a cell, and other metrics to its trials. */
function omitted() {
  const finished = (cell) => cell.seeds.length - cell.lost.length, expected = (cell) => Math.min(finished(cell), metric().cost ? 1 : Infinity);
  const lacking = cells.reduce((sum, cell) => sum + expected(cell) - rows[cell.id].n, 0), noun = metric().cost ? "cell" : "trial";
  const absent = metric().absent ? ` (absent ${metric().absent})` : "";
  return lacking ? ` The table omits ${many(lacking, noun)} without this number${absent}.` : "";
}

function caption() {
  const better = `${metric().larger ? "Larger" : "Smaller"} is better.`;
  return `${metric().label}, ${selection().words}. ${meaning()} ${better}${omitted()} Click a number for its trials, configuration and command, or a head to sort.`;
}

// ---- controls

function controls() {
  const set = (name) => (value) => {
    state[name] = value;
    changed();
  };
  const names = [...new Set(D.methods.map((method) => method.name))].sort(ORDER);
  const fields = el("div", { class: "fields" },
    select("Metric", D.metrics.map((each) => [each.name, each.label]), state.metric, set("metric")),
    select("Evaluation that counts", D.selections.map((each) => [each.name, each.name]), state.selection, set("selection")),
    select("Difference to", [["", "none: show values"], ...names.map((name) => [name, name])], state.reference, set("reference")));
  $("controls").replaceChildren(fields, el("details", {}, el("summary", { id: "filters" }, "Filters"), filters(set)));
  $("controls").hidden = false;
}

function filters(set) {
  const find = el("input", { type: "search", autocomplete: "off", spellcheck: "false", "data-key": "find" });
  find.addEventListener("input", () => set("find")(find.value));
  const all = D.methods.map((method) => method.sees).sort((a, b) => a.split("+").length - b.split("+").length || ORDER(a, b));
  const facets = D.facets.map((facet, place) => {
    const values = [...facet.values.map((value, key) => [key, value]), ...(facet.of.includes(-1) ? [[-1, "none"]] : [])];
    return select(facet.words, [["", "all"], ...values], "", (value) => {
      state.facets[place] = value;
      changed();
    });
  });
  const clear = () => {
    Object.assign(state, { find: "", sees: "", facets: D.facets.map(() => "") });
    controls();
    $("controls").querySelector("details").open = true;
    $("filters").focus();
    changed();
  };
  return el("div", { class: "fields" }, el("label", {}, "Method contains", find),
    select("Sees", [["", "all"], ...[...new Set(all)].map((each) => [each, each])], "", set("sees")), ...facets, button("Show all", clear));
}

/** The cells that match the filters. */
function filtered() {
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = (facet, place, setting) => ["", String(facet.of[setting])].includes(state.facets[place]);
  const fits = D.settings.map((_, setting) => D.facets.every((facet, place) => chosen(facet, place, setting)));
  const named = D.methods.map((method) => (!state.sees || method.sees === state.sees) &&
    words.every((word) => method.name.toLowerCase().includes(word)));
  return cells.filter((cell) => fits[cell.setting] && named[cell.method] && isShown(cell.id)).map((cell) => cell.id);
}

/** Compute and draw again after a change of `state`. */
function changed() {
  state.wide.page = state.wide.settings = state.long.page = 0;
  state.wide.by = "";
  compute();
  const found = filtered(), used = [state.find, state.sees, ...state.facets].filter((each) => each !== "").length;
  $("filters").textContent = used ? `Filters (${used} in use: ${found.length} of ${many(cells.length, "cell")})` : "Filters";
  kept(() => [wide, curves, long].forEach((draw) => draw(found)));
}

/** Draw, and restore the focus. */
function kept(work) {
  const key = document.activeElement?.dataset?.key, section = document.activeElement?.closest("section");
  work();
  if (key && document.activeElement?.dataset?.key !== key) {
    const again = [...document.querySelectorAll("[data-key]")].find((node) => node.dataset.key === key && !node.disabled);
    (again ?? section?.querySelector(".scroll"))?.focus();
  }
}

// ---- parts of both tables

/** A column head that sorts. The name "" is the initial order. */
function sorter(table, draw, name, label) {
  const own = name !== "" && table.by === name;
  const sort = () => {
    Object.assign(table, { by: name, down: own ? !table.down : name !== "Method", page: 0 });
    kept(() => draw(filtered()));
  };
  const arrow = el("span", { "aria-hidden": "true" }, own ? (table.down ? " ▾" : " ▴") : "");
  return el("th", { scope: "col", "aria-sort": own ? (table.down ? "descending" : "ascending") : null },
    el("button", { type: "button", onclick: sort, title: "Sort", "data-key": `sort ${draw.name} ${name}` }, label, arrow));
}

function pager(label, total, table, draw) {
  if (total <= D.rows) return "";
  const first = table.page * D.rows, last = Math.min(total, first + D.rows);
  const turn = (text, step, disabled) => button(text, () => {
    table.page += step;
    kept(() => draw(filtered()));
  }, { disabled, "data-key": `${text} ${label}`, "aria-label": `${text} ${label.toLowerCase()}` });
  return el("div", { class: "pager" }, turn("Previous", -1, first === 0),
    el("span", { role: "status" }, `${label} ${first + 1} to ${last} of ${total.toLocaleString("en")}`), turn("Next", 1, last === total));
}

/** table: returns headers and lines of text of all pages */
function downloads(name, table) {
  const save = (kind, ending, made) => button(`Download ${kind}`, () => download(`${name}.${ending}`, made(...table())));
  return el("div", { class: "pager" }, save("CSV", "csv", csv), save("LaTeX", "tex", latex));
}

function numberCell(list) {
  const attributes = (cell) => ({ "aria-haspopup": "dialog", "data-key": `cell ${cell}`, title: "Trials, configuration and command" });
  return el("td", { class: "number" }, ...list.map((cell) => button(text(cell), () => dialog(cell), attributes(cell))));
}

// ---- methods by setting

function wide(found) {
  const table = state.wide, pages = pagesOf(found), now = pages[table.settings] ?? [], common = shared(now);
  const lines = ordered(byMethod(found).filter((line) => now.some((setting) => line.cells.has(setting))), table);
  const own = (line, setting) => line.cells.get(setting) ?? [];
  const body = lines.slice(table.page * D.rows, (table.page + 1) * D.rows).map((line, place, page) => [
    el("td", {}, table.by || line.sees !== page[place - 1]?.sees ? line.sees : ""), rowHead(line.name),
    ...now.map((setting) => numberCell(own(line, setting)))]);
  const label = (setting) => phrases(setting).filter((phrase) => !common.includes(phrase)).join(", ") || wordsOf(setting);
  const heads = [sorter(table, wide, "", "Sees"), sorter(table, wide, "Method", "Method"),
    ...now.map((setting) => sorter(table, wide, String(setting), label(setting)))];
  const texts = (line) => now.map((setting) => own(line, setting).map(text).join(" / "));
  const saved = () => [["Sees", "Method", ...now.map(wordsOf)], lines.map((line) => [line.sees, line.name, ...texts(line)])];
  $("wide").replaceChildren(settingsField(pages), el("p", {}, el("b", {}, common.length ? `${common.join(", ")}. ` : ""), caption()),
    found.length ? framed("Methods by setting", heads, body) : el("p", { role: "status" }, "No cell matches the filters."),
    pager("Methods", lines.length, table, wide),
    downloads("methods-by-setting", saved));
}

function settingsField(pages) {
  const words = (page) => (page.length > 1 ? [...shared(page), many(page.length, "setting")].join(", ") : wordsOf(page[0]));
  const options = pages.map((page, place) => [place, `${place + 1} of ${pages.length}: ${words(page)}`]);
  const choose = (place) => {
    Object.assign(state.wide, { settings: +place, page: 0, by: "" });
    kept(() => wide(filtered()));
  };
  return pages.length > 1 ? el("div", { class: "fields" }, select("Settings", options, state.wide.settings, choose)) : "";
}

/** The settings of each table, at most D.columns. Settings with the same methods are together; those with the most cells come first. */
function pagesOf(found) {
  const methods = new Map(), alike = new Map();
  for (const cell of found) methods.set(cells[cell].setting, (methods.get(cells[cell].setting) ?? new Set()).add(nameOf(cell)));
  for (const setting of [...methods.keys()].sort((a, b) => a - b)) {
    const key = [...methods.get(setting)].sort().join("\n");
    alike.set(key, [...(alike.get(key) ?? []), setting]);
  }
  const size = (group) => group.length * methods.get(group[0]).size, groups = [...alike.values()];
  const part = (group, place) => group.slice(place * D.columns, (place + 1) * D.columns);
  const cut = (group) => Array.from({ length: Math.ceil(group.length / D.columns) }, (_, place) => part(group, place));
  return groups.sort((one, other) => size(other) - size(one) || one[0] - other[0]).flatMap(cut);
}

/** A line for each method and what it sees: {sees, name, cells: Map(setting -> cells)}. */
function byMethod(found) {
  const lines = new Map();
  for (const cell of found) {
    const line = { sees: seesOf(cell), name: nameOf(cell), cells: new Map() }, key = `${line.sees}\n${line.name}`;
    if (!lines.has(key)) lines.set(key, line);
    const own = lines.get(key).cells, setting = cells[cell].setting;
    own.set(setting, [...(own.get(setting) ?? []), cell]);
  }
  return [...lines.values()];
}

/** Sorted by a setting or the method, or in the order of benchmark/analysis/rows.py: by what methods see, then by the mean, best last. */
function ordered(lines, { by, down }) {
  const sign = by && down ? -1 : 1, parts = (line) => line.sees.split("+").length;
  if (by === "Method") return lines.sort((a, b) => sign * ORDER(a.name, b.name));
  const own = (line) => (by ? line.cells.get(+by) ?? [] : [...line.cells.values()].flat());
  const values = (line) => own(line).map((cell) => (by ? size(cell) : merit(rows[cell].mean)));
  const means = new Map(lines.map((line) => [line, estimate(values(line).filter((value) => !Number.isNaN(value)), D).mean]));
  const lost = (line) => Number.isNaN(means.get(line));
  const rank = (a, b) => lost(a) - lost(b) || sign * (means.get(a) - means.get(b)) || ORDER(a.name, b.name);
  return lines.sort(by ? rank : (a, b) => parts(a) - parts(b) || ORDER(a.sees, b.sees) || rank(a, b));
}

// ---- all cells

function columns() {
  const facet = (each) => {
    const place = (cell) => each.of[cells[cell].setting];
    return { name: each.words, text: (cell) => each.values[place(cell)] ?? "", rank: place };
  };
  const p = (cell) => compared(cell)?.p ?? NaN, pText = (value) => (value < 0.001 ? "< 0.001" : value.toFixed(3));
  const tested = { name: "p (Holm)", text: (cell) => (Number.isNaN(p(cell)) ? "" : pText(p(cell))), rank: p };
  return [{ name: "Method", text: nameOf }, { name: "Sees", text: seesOf }, ...D.facets.map(facet),
    { name: metric().label, text, rank: size, opens: true }, ...(state.reference ? [tested] : []),
    { name: "Trials", text: (cell) => String(rows[cell].n), rank: (cell) => rows[cell].n }];
}

function long(found) {
  const table = state.long, all = columns(), shown = all.filter((column) => !table.hidden.has(column.name));
  const sorted = inOrder(found, all.find((column) => column.name === table.by));
  const part = (column, cell) => {
    if (column.opens) return numberCell([cell]);
    return column.name === "Method" ? rowHead(nameOf(cell)) : el("td", {}, column.text(cell));
  };
  const body = sorted.slice(table.page * D.rows, (table.page + 1) * D.rows).map((cell) => shown.map((column) => part(column, cell)));
  $("long").replaceChildren($("long").firstElementChild, chooser(all),
    framed("All cells", shown.map((column) => sorter(table, long, column.name, column.name)), body),
    pager("Cells", sorted.length, table, long),
    downloads("cells", () => [shown.map((column) => column.name), sorted.map((cell) => shown.map((column) => column.text(cell)))]));
  $("long").hidden = false;
}

/** Cells without a number come last. */
function inOrder(found, column) {
  if (!column) return found;
  const sign = state.long.down ? -1 : 1, lost = (cell) => Number.isNaN(column.rank(cell));
  if (!column.rank) return found.sort((a, b) => sign * ORDER(column.text(a), column.text(b)) || a - b);
  return found.sort((a, b) => lost(a) - lost(b) || sign * (column.rank(a) - column.rank(b)) || a - b);
}

/** Checkboxes for the columns except the method, which is always shown. */
function chooser(all) {
  const hidden = state.long.hidden, open = $("long").querySelector("details")?.open ?? false;
  const tick = ({ name }) => {
    const box = el("input", { type: "checkbox", checked: !hidden.has(name), "data-key": `show ${name}` });
    box.addEventListener("change", () => {
      hidden[box.checked ? "delete" : "add"](name);
      kept(() => long(filtered()));
    });
    return el("label", { class: "tick" }, box, name);
  };
  const ticks = el("div", { class: "fields" }, ...all.slice(1).map(tick));
  return el("details", { class: "columns", open }, el("summary", {}, "Columns"), ticks);
}

// ---- along training

function curves(found) {
  const section = $("curves"), data = D.curves[state.metric] ?? [];
  const drawn = found.filter((cell) => data[cell]), settings = [...new Set(drawn.map((cell) => cells[cell].setting))].sort((a, b) => a - b);
  section.hidden = !drawn.length;
  if (section.hidden) return;
  if (!settings.includes(state.setting)) state.setting = pagesOf(drawn)[0][0];
  const last = (cell) => (Number.isNaN(rows[cell].mean) ? -Infinity : merit(rows[cell].mean));
  const best = drawn.filter((cell) => cells[cell].setting === state.setting).sort((a, b) => last(b) - last(a) || a - b);
  const lines = best.slice(0, LINES[state.lines]).map((cell) => {
    const [steps, means, halves] = data[cell];
    return { name: nameOf(cell), look: methodOf(cell).look, steps, means, halves };
  });
  const set = (name, value) => {
    state[name] = value;
    kept(() => curves(filtered()));
  };
  const fields = el("div", { class: "fields" },
    select("Setting", settings.map((setting) => [setting, wordsOf(setting)]), state.setting, (value) => set("setting", +value)),
    select("Methods", Object.entries(LINES).map(([name, most]) => [name, `${name}, at most ${most}`]), state.lines,
      (value) => set("lines", value)));
  const note = `${metric().label}, mean over finished trials. Bands are 95 % intervals, for at least ${D.fewest} trials. ` +
    `The chart shows ${lines.length} of ${many(best.length, "method")}. Point at it, or move the slider, to read values.`;
  const title = `${metric().label} along training`;
  const heading = el("p", {}, el("b", {}, `${wordsOf(state.setting)}. `), note);
  section.replaceChildren(section.firstElementChild, fields, heading, chart(title, lines, metric().unit === "%", plusMinus));
}

// ---- one cell

/** The first number and the length of each run of consecutive seeds. */
function runs(seeds) {
  const firsts = seeds.filter((seed) => !seeds.includes(seed - 1)), lasts = seeds.filter((seed) => !seeds.includes(seed + 1));
  return firsts.map((first, place) => [first, lasts[place] - first + 1]);
}

/** The commands that train a cell again, a line for each run of seeds, or the reason why there are none. */
function commandOf(cell) {
  const parts = [methodOf(cell), D.settings[cells[cell].setting]], refused = parts.map((part) => part.refused).filter(Boolean);
  if (refused.length) return { refused: `This installation cannot compose the configuration: ${refused.join("; ")}.` };
  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);
  const words = [D.run, ...parts.flatMap((part) => part.command).map(quoted)].join(" ");
  return { words: runs(cells[cell].seeds).map(([first, trials]) => `${words} seed=${first} trials=${trials}`).join("\n") };
}

function again(cell) {
  const { words, refused } = commandOf(cell), kept = D.overrides[cell];
  if (words) return [command(words), copyButton(words)];
  return [el("p", { class: "remark" }, refused), ...(kept ? [el("p", {}, "Its record stores these overrides:"), command(kept)] : [])];
}

/** Name and value of each option, and whether it is in bold. */
function optionsOf(cell) {
  const setting = cells[cell].setting, own = Object.entries(methodOf(cell).options).map(([name, value]) => [name, value, true]);
  const others = Object.entries(D.options).map(([name, values]) => [name, values[values.length === 1 ? 0 : setting], values.length > 1]);
  return [...own, ...others].filter(([, value]) => value !== null);
}

function dialog(cell) {
  const box = $("dialog"), { seeds, lost, setting } = cells[cell], { values } = rows[cell];
  const value = (seed) => (lost.includes(seed) ? "diverged" : values.has(seed) ? number(values.get(seed)) : "–");
  const trial = (seed) => [rowHead(String(seed)), el("td", { class: "number" }, value(seed))];
  const options = optionsOf(cell).map(([name, text, bold]) => el("li", {}, el(bold ? "b" : "span", {}, `${name}=${text}`)));
  box.replaceChildren(button("Close", () => box.close(), { class: "close" }),
    el("h2", { id: "dialog-title" }, `${nameOf(cell)}: ${valueText(cell)}`),
    el("p", {}, `${wordsOf(setting)}. ${metric().label}, ${selection().words}. It sees ${seesOf(cell)}.`),
    el("h3", {}, "Trials"),
    framed("Trials", [head("Seed"), head(metric().label)], seeds.map(trial)),
    el("h3", {}, "Command for these trials"), ...again(cell),
    el("h3", {}, "Origin"),
    el("p", {}, `${D.codes[D.code[cell]]} ${D.origins[D.origin[cell]]} Key ${D.keys[cell]}.`),
    el("h3", {}, "Configuration"),
    el("p", { class: "muted" }, "The method's options and the options that differ between the settings of this page are in bold."),
    el("ul", { class: "options" }, ...options));
  box.showModal();
}

// ---- start

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

async function unpacked() {
  const bytes = Uint8Array.from(atob($("data").textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function cellsOf() {
  const lost = new Set(D.diverged);
  let start = 0;
  return D.counts.map((trials, id) => {
    const places = Array.from({ length: trials }, (_, place) => start + place), seed = (place) => D.seeds[place];
    start += trials;
    const gone = places.filter((place) => lost.has(place)).map(seed);
    return { id, method: D.method[id], setting: D.setting[id], seeds: places.map(seed), lost: gone };
  });
}

async function start() {
  addEventListener("beforeprint", () => document.querySelectorAll("header details").forEach((details) => (details.open = true)));
  for (const pre of document.querySelectorAll(".code pre")) pre.parentElement.append(copyButton(pre.textContent));
  if (typeof DecompressionStream === "undefined") {
    return trouble("This browser cannot unpack the data of this page, because it lacks DecompressionStream (Chrome 80, Safari 16.4," +
      " Firefox 113). The page shows only the first table and the missing trials.");
  }
  try {
    D = await unpacked();
  } catch (error) {
    return trouble(`The data of this page is damaged (${error.message}). Make the page again.`);
  }
  cells = cellsOf();
  const [first, last] = [D.metrics[0].name, D.selections[0].name];
  Object.assign(state, { metric: first, selection: last, reference: D.reference, facets: D.facets.map(() => "") });
  controls();
  changed();
  document.documentElement.dataset.ready = String(performance.now()); // milliseconds since the page opened
}

start();
