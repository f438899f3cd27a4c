// The map of the catalogue: a dot for each item, coloured by an attribute; a click or Enter shows the item.
import { get } from "./api.js";
import { byId, draw, make, whole } from "./dom.js";

const WHOLE = { x: 0, y: 0, zoom: 1 }, REACH = { x: 1.06, y: 1.09 }, NEAR = 24;

export class ItemMap {
  constructor(opened) {
    this.opened = opened;
    this.view = { ...WHOLE };
    this.colouring = 0;
    this.alone = null;
    this.hits = new Set();
    this.at = null;
    this.host = byId("space");
    // It takes seconds to compute: only for who comes to look.
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      this.load();
    }, { rootMargin: "200px" }).observe(this.host);
  }

  async load() {
    this.host.replaceChildren(make("p", { class: "quiet empty" }, "Laying out the map, which takes some seconds …"));
    try {
      this.space = await get("map");
    } catch (error) {
      this.host.replaceChildren(make("p", { class: "quiet empty" }, error.message));
      return;
    }
    if (!this.space.points.length) {
      this.host.replaceChildren(make("p", { class: "quiet empty" }, "No item has content, so there is no map."));
      return;
    }
    byId("map-about").textContent = whole(this.space.points.length) + " of " + whole(this.space.items) + " items with content, laid out by " +
      this.space.method + ": neighbours look, sound or read alike. Rings are the items of the answer above.";
    byId("colouring").replaceChildren(...this.space.colourings.map((one, place) => make("option", { value: place }, one.name)));
    this.listen();
    this.keys();
    this.draw();
    this.host.dataset.ready = "yes";
  }

  // The answer's items get rings.
  mark(ids) {
    this.hits = new Set(ids);
    if (this.space && this.space.points.length) this.draw();
  }

  get size() {
    return { width: this.host.clientWidth, height: window.innerWidth < 640 ? 400 : 620 };
  }

  place(point) {
    const { width, height } = this.size, { x, y, zoom } = this.view;
    const along = (value, middle, reached, pixels) => pixels * (0.5 + ((value - middle) * zoom) / (2 * reached));
    return [along(point.x, x, REACH.x, width), along(-point.y, -y, REACH.y, height)];
  }

  shown() {
    return this.space.points.filter((point) => this.alone === null || point.groups[this.colouring] === this.alone);
  }

  draw() {
    const { width, height } = this.size, svg = draw("svg", { width, height, "aria-hidden": "true" }), rings = [];
    this.shown().forEach((point) => {
      const [cx, cy] = this.place(point), ring = this.hits.has(point.item_id);
      if (cx < -9 || cy < -9 || cx > width + 9 || cy > height + 9) return;
      const dot = draw("circle", { cx, cy, r: ring ? 6.5 : 4.5, class: "g-" + point.groups[this.colouring], "data-item": point.item_id });
      if (!ring) return svg.append(dot);
      rings.push(dot, draw("circle", { cx, cy, r: 10.5, class: "ring" }));
    });
    svg.append(...rings);
    if (this.at) {
      const [cx, cy] = this.place(this.at);
      svg.append(draw("circle", { cx, cy, r: 13, class: "ring at" }));
    }
    this.host.replaceChildren(svg);
  }

  keys() {
    const values = this.space.colourings[this.colouring].values;
    byId("keys").replaceChildren(...values.map((value, place) => {
      const count = this.space.points.filter((point) => point.groups[this.colouring] === place).length;
      const key = make("button", { type: "button", "aria-pressed": String(this.alone === place), class: this.alone === null || this.alone === place ? "" : "off" },
        make("i", { class: "g-" + place }), value, make("span", {}, whole(count)));
      key.addEventListener("click", () => {
        this.alone = this.alone === place ? null : place;
        this.keys();
        byId("keys").children[place].focus();
        this.draw();
      });
      return key;
    }));
  }

  // The nearest item that is shown within reach of a place, by the mouse.
  meant(event) {
    const box = this.host.getBoundingClientRect(), [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const far = (point) => Math.hypot(this.place(point)[0] - x, this.place(point)[1] - y);
    const nearest = this.shown().reduce((best, point) => (best && far(best) <= far(point) ? best : point), null);
    return nearest && far(nearest) < NEAR ? nearest : null;
  }

  tip(point, left, top) {
    const tip = byId("tip"), colouring = this.space.colourings[this.colouring];
    tip.replaceChildren(make("div", { class: "words" }, make("b", {}, point.title),
      make("small", {}, make("span", {}, colouring.name + " "), colouring.values[point.groups[this.colouring]])));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(left + 16, document.documentElement.clientWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(8, Math.min(top - 20, window.innerHeight - box.height - 8)) + "px";
  }

  // From item to item by arrow keys: the nearest that lies that way.
  step(dx, dy) {
    const all = this.shown();
    const from = this.at ? this.place(this.at) : [this.size.width / 2, this.size.height / 2];
    const far = (point) => {
      const [x, y] = this.place(point), along = (x - from[0]) * dx + (y - from[1]) * dy, aside = Math.abs((x - from[0]) * dy) + Math.abs((y - from[1]) * dx);
      return along > 0.5 && aside <= along ? along + 2 * aside : Infinity;
    };
    const next = all.reduce((best, point) => (far(point) < (best ? far(best) : Infinity) ? point : best), null);
    if (!next) return;
    this.at = next;
    this.draw();
    const box = this.host.getBoundingClientRect(), [x, y] = this.place(next);
    this.tip(next, box.left + x, box.top + y);
  }

  look(view) {
    this.view = view;
    this.draw();
  }

  listen() {
    const hide = () => { byId("tip").hidden = true; }, ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    let held = null, dragged = false;
    this.host.addEventListener("keydown", (event) => {
      if (ways[event.key]) {
        event.preventDefault();
        this.step(...ways[event.key]);
      } else if (event.key === "Enter" && this.at) this.opened(this.at.item_id);
    });
    this.host.addEventListener("blur", () => { hide(); this.at = null; this.draw(); });
    this.host.addEventListener("pointerdown", (event) => { held = { x: event.clientX, y: event.clientY, view: this.view }; dragged = false; });
    window.addEventListener("pointerup", () => { held = null; });
    this.host.addEventListener("pointermove", (event) => {
      if (held && event.buttons && event.pointerType === "mouse") {
        const { width, height } = this.size, scale = 2 / this.view.zoom, [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
        dragged = dragged || Math.hypot(dx, dy) > 4;
        if (dragged) this.look({ ...held.view, x: held.view.x - (dx / width) * scale * REACH.x, y: held.view.y + (dy / height) * scale * REACH.y });
        return hide();
      }
      const point = this.meant(event);
      if (point) this.tip(point, event.clientX, event.clientY);
      else hide();
    });
    this.host.addEventListener("pointerleave", hide);
    this.host.addEventListener("click", (event) => {
      const point = dragged ? null : this.meant(event);
      if (!point) return;
      hide();
      this.opened(point.item_id);
    });
    byId("colouring").addEventListener("change", (event) => {
      this.colouring = Number(event.target.value);
      this.alone = null;
      this.keys();
      this.draw();
    });
    byId("in").addEventListener("click", () => this.look({ ...this.view, zoom: this.view.zoom / 0.6 }));
    byId("out").addEventListener("click", () => this.look({ ...this.view, zoom: this.view.zoom * 0.6 }));
    byId("home").addEventListener("click", () => this.look({ ...WHOLE }));
    window.addEventListener("resize", () => this.draw());
    window.addEventListener("scroll", hide, { passive: true });
  }
}
