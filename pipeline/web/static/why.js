// Why a score is what it is: bars of what each part adds, and their sum.
import { byId, make, short, signed } from "./dom.js";

const row = (name, value, largest, kind) => {
  const bar = make("i", { class: value < 0 ? "minus" : "plus" });
  bar.style.width = (50 * Math.abs(value)) / largest + "%";
  return make("tr", { class: kind || "" }, make("th", { scope: "row" }, name), make("td", { class: "lane" }, make("span", {}, bar)),
    make("td", { class: "n" }, signed(value)));
};

const table = (bars) => {
  const largest = Math.max(...bars.parts.map((part) => Math.abs(part.value)), Math.abs(bars.base), 1e-12);
  return make("section", { class: "sum-of" }, make("h3", {}, bars.title),
    make("table", { class: "bars", "data-of": bars.of },
      make("tbody", {}, ...bars.parts.map((part) => row(part.name, part.value, largest)), row(bars.base_is, bars.base, largest, "base")),
      make("tfoot", {}, make("tr", {}, make("th", { scope: "row" }, bars.of), make("td", {}), make("td", { class: "n", "data-total": bars.total }, signed(bars.total))))));
};

export const closeButton = () => make("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => byId("dialog").close() }, "×");

export const show = (...children) => {
  const dialog = byId("dialog");
  dialog.replaceChildren(closeButton(), ...children);
  if (!dialog.open) dialog.showModal();
  // What had the focus may have been replaced.
  dialog.querySelector(".close").focus();
};

export const showWhy = (reasons, about) => {
  const lacks = Object.entries(reasons.missing).map(([name, why]) => "It has no " + name + " (" + why + ").");
  const rank = reasons.rank === null ? "" : "Number " + reasons.rank + " of the list. ";
  show(make("h2", { id: "dialog-title" }, "Why " + reasons.title), make("p", { class: "quiet" }, about),
    make("p", { class: "figure" }, make("b", {}, short(reasons.score)), " " + rank + "This is " + reasons.meaning + "."),
    ...reasons.bars.map(table), ...[...lacks, ...reasons.notes].map((line) => make("p", { class: "quiet" }, line.charAt(0).toUpperCase() + line.slice(1))));
};
