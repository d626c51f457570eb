"use strict";
// Data from the page: classes, cards and earlier marks. Cards: rank, sample (place in the random order), name, given, suggested, p, image, row, evidence.
const D = JSON.parse(document.getElementById("data").textContent);
const SIZE = 60; // cards of a page
const KINDS = { r: "right", w: "wrong", d: "drop", u: "unsure", Backspace: "" };
const $ = (id) => document.getElementById(id);
const KEY = `marks ${D.digest}`;
const marks = new Map(D.marks.map((each) => [each.name, each]));
let shown = [];
let first = 0;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// --- marks

function remembered() {
  try {
    for (const each of JSON.parse(localStorage.getItem(KEY) ?? "[]")) marks.set(each.name, each);
  } catch { /* a browser without storage for files keeps the marks until the page is closed */ }
}

function setMark(card, kind, label = card.label) {
  if (kind === "") marks.delete(card.name);
  else marks.set(card.name, { name: card.name, mark: kind === "drop" ? "wrong" : kind, label: kind === "wrong" ? label : null });
  try {
    localStorage.setItem(KEY, JSON.stringify([...marks.values()]));
  } catch { /* see above */ }
  showMark(card);
  showStatus();
}

const kindOf = (mark) => (mark === undefined ? "" : mark.mark === "wrong" && mark.label === null ? "drop" : mark.mark);

function quoted(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const cards = D.cards.filter((card) => marks.has(card.name));
  const lines = cards.map((card) => {
    const { mark, label } = marks.get(card.name);
    return [card.name, D.classes[card.given], mark, label === null ? "" : D.classes[label]].map(quoted).join(",");
  });
  return ["name,given,mark,label", ...lines, ""].join("\r\n");
}

function save() {
  const link = element("a", { href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })), download: "marks.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

// --- cards

function cardOf(card) {
  const pair = `${D.classes[card.given]} → ${D.classes[card.suggested]}`;
  const node = element("article", { className: "card", tabIndex: -1 });
  node.setAttribute("aria-label", `Rank ${card.rank}: ${card.name}, given ${D.classes[card.given]}, suggested ${D.classes[card.suggested]}`);
  if (card.image) node.append(element("img", { src: card.image, alt: "" }));
  if (card.row) node.append(rowOf(card.row.slice(0, 6)));
  node.append(
    element("p", {}, element("strong", { textContent: pair })),
    element("p", { className: "name", textContent: card.name }),
    element("p", { textContent: `rank ${card.rank}; wrong: ${Math.round(100 * card.p)} %` }),
    choices(card),
    detailsOf(card),
  );
  card.node = node;
  return node;
}

function rowOf(pairs) {
  return element("dl", {}, ...pairs.map(([name, value]) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
}

function choices(card) {
  const label = element("select", {}, ...D.classes.map((name, number) => element("option", { value: number, textContent: name })));
  label.setAttribute("aria-label", "Right label");
  label.value = card.label;
  label.addEventListener("change", () => { card.label = Number(label.value); setMark(card, "wrong"); });
  const buttons = ["right", "wrong", "drop", "unsure"].map((kind) => {
    const button = element("button", { type: "button", textContent: kind, tabIndex: -1 });
    button.dataset.kind = kind;
    button.addEventListener("click", () => setMark(card, kindOf(marks.get(card.name)) === kind ? "" : kind));
    return button;
  });
  label.tabIndex = -1;
  return element("p", {}, label, " ", ...buttons);
}

function detailsOf(card) {
  const more = card.row ? card.row.slice(6) : [];
  return element("details", {}, element("summary", { textContent: "Evidence", tabIndex: -1 }), rowOf([...more, ...card.evidence]));
}

function showMark(card) {
  if (!card.node) return;
  const mark = marks.get(card.name);
  if (mark && mark.mark === "wrong" && mark.label !== null) card.label = mark.label;
  card.node.dataset.mark = mark ? mark.mark : "";
  card.node.querySelector("select").value = card.label;
  for (const button of card.node.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.kind === kindOf(mark)));
}

// --- the page

const ORDERS = {
  rank: (card) => card.rank,
  sample: (card) => card.sample,
  given: (card) => card.given * 1e9 + card.rank,
  name: null,
};

function select() {
  const given = $("given").value, suggested = $("suggested").value, marked = $("marked").value, key = ORDERS[$("order").value];
  shown = D.cards.filter((card) => (given === "" || card.given === Number(given)) && (suggested === "" || card.suggested === Number(suggested))
    && (marked === "" || marks.has(card.name) === (marked === "yes")));
  shown.sort(key ? (a, b) => key(a) - key(b) : (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  first = 0;
  draw();
}

function draw() {
  for (const card of D.cards) card.node = undefined;
  const cards = shown.slice(first, first + SIZE);
  $("suspects").replaceChildren(...cards.map(cardOf));
  cards.forEach(showMark);
  if (cards.length) cards[0].node.tabIndex = 0;
  $("place").textContent = shown.length ? `${first + 1} to ${first + cards.length} of ${shown.length.toLocaleString("en")}` : "no example";
  $("back").disabled = first === 0;
  $("next").disabled = first + SIZE >= shown.length;
  showStatus();
}

function showStatus() {
  const ordered = [...D.cards].sort((a, b) => a.sample - b.sample);
  const until = ordered.findIndex((card) => !marks.has(card.name));
  const sample = ordered.slice(0, until < 0 ? ordered.length : until);
  const wrong = sample.filter((card) => marks.get(card.name).mark === "wrong").length;
  $("status").textContent = `${marks.size} marks; the random sample has ${sample.length} of them, ${wrong} wrong.`;
}

function focus(place) {
  const cards = shown.slice(first, first + SIZE);
  if (place < 0 || place >= cards.length) return;
  for (const card of cards) card.node.tabIndex = -1;
  cards[place].node.tabIndex = 0;
  cards[place].node.focus();
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !event.target.classList.contains("card")) return;
  const place = shown.slice(first, first + SIZE).findIndex((card) => card.node === event.target);
  const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (move) focus(place + move);
  else if (event.key in KINDS) {
    setMark(shown[first + place], KINDS[event.key]);
    if (event.key !== "Backspace") focus(place + 1);
  } else return;
  event.preventDefault();
}

function turn(pages) {
  first = Math.max(0, first + pages * SIZE);
  draw();
  focus(0);
}

function start() {
  remembered();
  for (const card of D.cards) card.label = card.suggested === card.given ? card.second : card.suggested;
  for (const id of ["given", "suggested"]) {
    const there = [...new Set(D.cards.map((card) => card[id]))].sort((a, b) => a - b);
    $(id).append(...there.map((label) => element("option", { value: label, textContent: D.classes[label] })));
  }
  for (const id of ["order", "given", "suggested", "marked"]) $(id).addEventListener("change", select);
  $("export").addEventListener("click", save);
  $("suspects").addEventListener("keydown", press);
  $("back").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  for (const id of ["controls", "keys", "pages"]) $(id).hidden = false;
  select();
  document.documentElement.dataset.ready = "";
}

start();
