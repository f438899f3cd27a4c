// Filters made of the index's own attributes: values of a category, a range of numbers, yes or no.
import { byId, make, whole } from "./dom.js";

const LONG = 12;

export class Filters {
  constructor(facets, changed) {
    this.chosen = {};
    this.changed = changed;
    this.facets = facets;
    this.draw();
    byId("clear").addEventListener("click", () => {
      this.chosen = {};
      this.draw();
      this.tell();
    });
  }

  draw() {
    const made = { category: (facet) => this.category(facet), number: (facet) => this.number(facet), boolean: (facet) => this.yesNo(facet) };
    const nodes = this.facets.map((facet) => made[facet.kind](facet));
    byId("facets").replaceChildren(...(nodes.length ? nodes : [make("p", { class: "quiet" }, "The items have no attribute to filter by.")]));
    this.count();
  }

  count() {
    const names = Object.keys(this.chosen);
    byId("filtered").textContent = names.length ? names.join(", ") : "";
    byId("clear").hidden = !names.length;
  }

  tell() {
    this.count();
    this.changed();
  }

  set(name, value) {
    if (value === null) delete this.chosen[name];
    else this.chosen[name] = value;
    this.tell();
  }

  category(facet) {
    const box = make("fieldset", { "data-facet": facet.name }, make("legend", {}, facet.name));
    const lines = facet.values.map(({ value, items }) => {
      const input = make("input", { type: "checkbox", value });
      input.addEventListener("change", () => {
        const values = [...box.querySelectorAll("input[type=checkbox]:checked")].map((one) => one.value);
        this.set(facet.name, values.length ? values : null);
      });
      return make("label", { class: "choice" }, input, make("span", {}, value), make("small", {}, whole(items)));
    });
    if (facet.values.length > LONG) {
      const find = make("input", { type: "search", "aria-label": "Find a value of " + facet.name, placeholder: "find" });
      find.addEventListener("input", () => {
        const letters = find.value.toLowerCase();
        lines.forEach((line, place) => { line.hidden = !facet.values[place].value.toLowerCase().includes(letters); });
      });
      box.append(find);
    }
    box.append(make("div", { class: "values", tabindex: facet.values.length > LONG ? "0" : null, role: "group", "aria-label": facet.name }, ...lines));
    return box;
  }

  number(facet) {
    const end = (which, word) => make("input", { type: "number", step: facet.whole ? "1" : "any", placeholder: String(facet[which]), "aria-label": facet.name + ", " + word });
    const low = end("low", "from"), high = end("high", "to");
    const read = (input) => (input.value === "" || !Number.isFinite(input.valueAsNumber) ? null : input.valueAsNumber);
    const changed = () => this.set(facet.name, read(low) === null && read(high) === null ? null : { low: read(low), high: read(high) });
    [low, high].forEach((input) => input.addEventListener("change", changed));
    return make("fieldset", { "data-facet": facet.name }, make("legend", {}, facet.name), make("div", { class: "range-of" }, low, make("span", {}, "to"), high));
  }

  yesNo(facet) {
    const select = make("select", { "aria-label": facet.name }, ...["any", "yes", "no"].map((word) => make("option", { value: word }, word)));
    select.addEventListener("change", () => this.set(facet.name, select.value === "any" ? null : select.value === "yes"));
    return make("fieldset", { "data-facet": facet.name }, make("legend", {}, facet.name), select);
  }
}
