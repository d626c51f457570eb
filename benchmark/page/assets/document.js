"use strict";
// Parts of the document, and texts for download. benchmark/page/render.py joins the files *.js into one script.

const $ = (id) => document.getElementById(id);
const SVG = new Set(["svg", "path", "polyline", "polygon", "line", "text"]);

/** An element. Attributes that start with "on" are listeners. true gives an attribute without a value; false and null give none. */
function el(tag, attributes = {}, ...children) {
  const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
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
      said.textContent = " this browser does not allow copying; select the text above";
    }
  };
  return el("p", {}, button("Copy", copy, { class: "copy" }), said);
}

/** A table in a frame that scrolls by mouse and keyboard. */
function framed(label, heads, lines) {
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...lines.map((line) => el("tr", {}, ...line))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${label}` }, table);
}

const head = (text) => el("th", { scope: "col" }, text);
const rowHead = (...children) => el("th", { scope: "row" }, ...children);

function command(text) {
  return el("pre", { tabindex: "0", role: "region", "aria-label": "Command" }, el("code", {}, text));
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

const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "*": "$^{*}$", "<": "$<$",
  ">": "$>$", "–": "--" };

function latex(headers, lines) {
  const escaped = (text) => text.replace(/[\\~^±*<>–&%$#_{}]/g, (letter) => TEX[letter] ?? `\\${letter}`);
  const line = (texts) => `${texts.map(escaped).join(" & ")} \\\\`;
  const start = ["% needs \\usepackage{booktabs}", `\\begin{tabular}{${"l".repeat(headers.length)}}`, "\\toprule"];
  return [...start, line(headers), "\\midrule", ...lines.map(line), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}
