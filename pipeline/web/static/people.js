// Whom an answer is for: a user of the log, or someone new who chose some items.
import { get } from "./api.js";
import { byId, make, whole } from "./dom.js";
import { pictureOf } from "./cards.js";

const later = (milliseconds, call) => {
  let waiting = 0;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => call(...given), milliseconds);
  };
};

export class People {
  constructor(about, changed, opened) {
    this.user = "";
    this.history = [];
    this.isNew = false;
    this.changed = changed;
    this.opened = opened;
    this.noHistory = about.history;
    byId("people").replaceChildren(...about.people.slice(0, 10).map((user) =>
      make("button", { type: "button", "data-user": user, onclick: () => this.choose(user) }, user)));
    byId("new-hint").textContent = about.history
      ? "Not with this index: " + about.history + "."
      : "Add what they chose, oldest first: by title here, or by “Chose it” on a card.";
    byId("title").disabled = Boolean(about.history);
    byId("as-user").addEventListener("click", () => this.side(false));
    byId("as-new").addEventListener("click", () => this.side(true));
    const input = byId("user");
    const find = later(200, async () => this.suggest(await get("users", { q: input.value }).catch(() => ({ users: [] }))));
    input.addEventListener("input", (event) => {
      if (event.inputType && event.inputType !== "insertReplacementText") find();
      else this.choose(input.value);
    });
    input.addEventListener("change", () => this.choose(input.value.trim()));
    this.suggest({ users: about.people });
    byId("title").addEventListener("input", later(250, () => this.find(byId("title").value.trim())));
  }

  suggest({ users }) {
    byId("users").replaceChildren(...users.map((user) => make("option", { value: user })));
  }

  get asked() {
    if (this.isNew) return this.history.length ? { history: this.history.map((item) => item.item_id) } : {};
    return this.user ? { user: this.user } : {};
  }

  side(isNew) {
    this.isNew = isNew;
    byId("user-side").hidden = isNew;
    byId("new-side").hidden = !isNew;
    byId("as-user").setAttribute("aria-pressed", String(!isNew));
    byId("as-new").setAttribute("aria-pressed", String(isNew));
    this.changed();
  }

  choose(user) {
    if (user === this.user && !this.isNew) return;
    this.user = user;
    byId("user").value = user;
    byId("people").querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.user === user)));
    byId("seen").replaceChildren();
    if (user) this.show(user);
    this.side(false);
  }

  async show(user) {
    const view = await get("user", { user }).catch(() => null);
    if (!view || view.user !== this.user) return;
    const chosen = view.chosen === 1 ? "1 item" : whole(view.chosen) + " items";
    byId("seen").replaceChildren(make("p", { class: "quiet" }, "Has " + (view.chosen ? chosen + (view.items.length > 8 ? ", such as" : "") : "chosen nothing yet")),
      make("div", { class: "strip" }, ...view.items.slice(0, 8).map((item) =>
        make("button", { type: "button", title: item.title, "aria-label": "Show " + item.title, onclick: () => this.opened(item.item_id) }, pictureOf(item)))));
  }

  add(item) {
    if (!this.history.some((one) => one.item_id === item.item_id)) this.history.push(item);
    this.draw();
    this.side(true);
  }

  remove(item) {
    this.history = this.history.filter((one) => one !== item);
    this.draw();
    (byId("history").querySelector("button") || byId("title")).focus();
    this.changed();
  }

  draw() {
    byId("history").replaceChildren(...this.history.map((item) => make("li", {}, make("span", {}, item.title),
      make("button", { type: "button", "aria-label": "Take out " + item.title, onclick: () => this.remove(item) }, "×"))));
  }

  async find(words) {
    const { items } = words ? await get("items", { q: words }).catch(() => ({ items: [] })) : { items: [] };
    const buttons = items.slice(0, 6).map((item) => make("button", { type: "button", onclick: () => {
      byId("title").value = "";
      byId("found").replaceChildren();
      byId("title").focus();
      this.add(item);
    } }, item.title));
    byId("found").replaceChildren(...(words && !buttons.length ? [make("p", { class: "quiet" }, "No title holds these letters.")] : buttons));
  }
}
