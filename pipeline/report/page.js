"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const narrow = () => window.innerWidth < 640;
  const draw = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const tip = byId("tip");
  const placeTip = (at) => {
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = at.clientX + 18 + box.width > window.innerWidth ? at.clientX - box.width - 18 : at.clientX + 18;
    tip.style.left = Math.max(8, Math.min(left, document.documentElement.clientWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(8, Math.min(at.clientY - 24, window.innerHeight - box.height - 8)) + "px";
  };
  const hideTip = () => { tip.hidden = true; };

  // Metrics: the panels are in the page already; the two rows of buttons only choose which one is shown.
  const views = [...document.querySelectorAll(".metric")];
  const split = (view) => view.dataset.metric.split("@");
  let [family, cutoff] = views.length ? split(views.find((view) => !view.hidden) || views[0]) : ["", ""];
  const buttons = (host, values, chosen, choose) => {
    host.replaceChildren(...values.map(([value, label]) => {
      const button = make("button", "", label);
      button.type = "button";
      button.setAttribute("aria-pressed", String(value === chosen));
      button.addEventListener("click", () => choose(value));
      return button;
    }));
  };
  const showMetric = () => {
    const families = new Map(views.map((view) => [split(view)[0], view.dataset.label]));
    const cutoffs = views.filter((view) => split(view)[0] === family).map((view) => split(view)[1]);
    if (!cutoffs.includes(cutoff)) cutoff = cutoffs[0];
    buttons(byId("family"), [...families], family, (value) => { family = value; showMetric(); });
    buttons(byId("cutoff"), cutoffs.map((k) => [k, "@" + k]), cutoff, (value) => { cutoff = value; showMetric(); });
    views.forEach((view) => { view.hidden = view.dataset.metric !== family + "@" + cutoff; });
  };
  if (views.length) showMetric();

  // Training curves: each of its own scale, with at most so many round numbers along it.
  const round = (low, high, most) => {
    const rough = (high - low || Math.abs(high) || 1) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const first = Math.floor(low / step), last = Math.max(Math.ceil(high / step), first + 1);
    return Array.from({ length: last - first + 1 }, (_, place) => (first + place) * step);
  };
  const curve = (id, lines, digits) => {
    const host = byId(id), values = lines.flatMap((line) => line.points.map((p) => p[1]));
    if (!host || !values.length) return;
    const [width, height, left, right, top, bottom] = [host.clientWidth, 260, 56, 14, 28, 42];
    const epochs = Math.max(1, ...lines.flatMap((line) => line.points.map((p) => p[0])));
    const levels = round(Math.min(...values, id === "ndcg" ? 0 : Infinity), Math.max(...values), 5);
    const [low, high] = [levels[0], levels[levels.length - 1]];
    const x = (epoch) => left + (epoch / epochs) * (width - left - right);
    const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
    const svg = draw("svg", { width, height, role: "img" }), places = Math.max(0, -Math.floor(Math.log10(levels[1] - low) + 1e-9));
    levels.forEach((level) => svg.append(
      draw("line", { class: "grid", x1: left, x2: width - right, y1: y(level), y2: y(level) }),
      draw("text", { x: left - 8, y: y(level) + 4, "text-anchor": "end" }, level.toFixed(places))));
    round(0, epochs, 8).filter((epoch) => Number.isInteger(epoch) && epoch <= epochs).forEach((epoch) => svg.append(
      draw("text", { x: x(epoch), y: height - bottom + 18, "text-anchor": "middle" }, epoch)));
    svg.append(draw("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "epoch"));
    const chosen = data.curves.chosen;
    if (chosen) svg.append(
      draw("line", { class: "chosen", x1: x(chosen), x2: x(chosen), y1: top, y2: height - bottom }),
      draw("text", { class: "chosen", x: Math.min(Math.max(x(chosen), left + 50), width - 62), y: top - 10, "text-anchor": "middle" },
        "chosen: epoch " + chosen));
    lines.forEach((line, place) => {
      svg.append(draw("polyline", { class: "fit-" + place, points: line.points.map((p) => x(p[0]) + "," + y(p[1])).join(" ") }));
      line.points.filter((p) => line.points.length === 1 || (place === 0 && p[0] === chosen)).forEach((p) =>
        svg.append(draw("circle", { class: "fit-" + place, cx: x(p[0]), cy: y(p[1]), r: 6 })));
    });
    host.replaceChildren(svg);
    host.onpointerleave = hideTip;
    host.onpointermove = (event) => {
      const epoch = Math.round(((event.clientX - host.getBoundingClientRect().left - left) / (width - left - right)) * epochs);
      const rows = lines.flatMap((line) => line.points.filter((p) => p[0] === epoch).map((p) => line.name + " " + p[1].toFixed(digits)));
      if (!rows.length) return hideTip();
      const words = make("div", "words");
      words.append(make("b", "", "epoch " + epoch), ...rows.map((row) => make("small", "", row)));
      tip.replaceChildren(words);
      placeTip(event);
    };
  };
  const drawCurves = () => {
    const pick = (rows, place) => rows.filter((row) => row[place] !== null).map((row) => [row[0], row[place]]);
    curve("ndcg", [{ name: "evaluated fit", points: pick(data.curves.evaluated, 2) }], 4);
    const published = { name: "published fit", points: pick(data.curves.published, 1) };
    const evaluated = { name: "evaluated fit", points: pick(data.curves.evaluated, 1) };
    curve("loss", published.points.length ? [evaluated, published] : [evaluated], 3);
  };

  // The map: a dot for each item, coloured by its group; pictures are thinned to one where two would overlap.
  const points = data.map.points, space = byId("space");
  const whole = { x: 0, y: 0, zoom: 1 }, reach = { x: 1.06, y: 1.09 };
  let colouring = 0, alone = null, view = { ...whole }, pictured = [];
  const group = (point) => point.groups[colouring];
  const shown = (point) => alone === null || group(point) === alone;
  const most = Math.max(1, ...points.map((point) => point.n));
  const dot = (point) => (7 + 9 * Math.sqrt(point.n / most)) / 2;
  const side = () => (narrow() ? 34 : 46);
  const size = () => ({ width: space.clientWidth, height: narrow() ? 420 : 680 });
  // Where a point lies, in pixels from the map's upper left corner.
  const at = (point) => {
    const { width, height } = size();
    const along = (value, middle, reached, pixels) => pixels * (0.5 + ((value - middle) * view.zoom) / (2 * reached));
    return [along(point.x, view.x, reach.x, width), along(-point.y, -view.y, reach.y, height)];
  };
  const near = ([x, y], [left, top], pixels) => Math.abs(x - left) < pixels && Math.abs(y - top) < pixels;
  // Pictures never overlap: the first of two that would is drawn, the other returns when there is room for it.
  // Dots below a picture are left out, so that hovering a picture always means the item it shows.
  const drawMap = () => {
    const { width, height } = size(), svg = draw("svg", { width, height });
    const places = points.filter(shown).map((point) => ({ point, place: at(point) }))
      .filter(({ place: [x, y] }) => x > -9 && y > -9 && x < width + 9 && y < height + 9);
    pictured = [];
    if (byId("pictures").checked) places.forEach((entry) => {
      if (entry.point.picture && !pictured.some((other) => near(entry.place, other.place, side() * 1.02))) pictured.push(entry);
    });
    const covered = ({ place }) => pictured.some((other) => near(place, other.place, side() * 0.62));
    places.filter((entry) => !covered(entry)).forEach(({ point, place: [x, y] }) =>
      svg.append(draw("circle", { cx: x, cy: y, r: dot(point), style: "fill: var(--g" + group(point) + ")" })));
    pictured.forEach(({ point, place: [x, y] }) => {
      const box = { x: x - side() * 0.45, y: y - side() * 0.45, width: side() * 0.9, height: side() * 0.9 };
      svg.append(draw("image", { ...box, href: point.picture }),
        draw("rect", { ...box, style: "stroke: var(--g" + group(point) + ")" }));
    });
    space.replaceChildren(svg);
  };
  // The item that the mouse means: of the picture under it, else of the nearest dot that is near enough.
  const meant = (event) => {
    const box = space.getBoundingClientRect(), mouse = [event.clientX - box.left, event.clientY - box.top];
    const picture = pictured.find(({ place }) => near(mouse, place, side() * 0.45));
    if (picture) return picture.point;
    const far = (point) => Math.hypot(at(point)[0] - mouse[0], at(point)[1] - mouse[1]);
    const closest = points.filter(shown).reduce((best, point) => (best && far(best) <= far(point) ? best : point), null);
    return closest && far(closest) < 24 ? closest : null;
  };
  const look = (next) => { view = next; drawMap(); };
  const keys = () => {
    const values = data.map.colourings[colouring].values;
    byId("keys").replaceChildren(...values.map((value, place) => {
      const key = make("button", "", value);
      key.type = "button";
      const swatch = make("i", "");
      swatch.style.background = "var(--g" + place + ")";
      key.prepend(swatch);
      key.append(make("span", "", points.filter((p) => group(p) === place).length.toLocaleString("en")));
      key.setAttribute("aria-pressed", String(alone === place));
      key.classList.toggle("off", alone !== null && alone !== place);
      key.addEventListener("click", () => { alone = alone === place ? null : place; keys(); drawMap(); });
      return key;
    }));
  };
  const fillTip = (point) => {
    const picture = point.picture ? make("img", "") : make("span", "tile tone-" + point.tone, point.initials);
    if (point.picture) { picture.src = point.picture; picture.alt = ""; }
    const words = make("div", "words");
    words.append(make("b", "", point.title));
    point.attributes.forEach(([name, value]) => {
      const line = make("small", "");
      line.append(make("span", "", name), " " + value);
      words.append(line);
    });
    words.append(make("small", "", point.n ? "chosen " + point.n.toLocaleString("en") + (point.n === 1 ? " time" : " times") : "never chosen yet"));
    const bar = make("div", "bar");
    point.shares.filter(([, share]) => share > 0).forEach(([name, share]) => {
      const part = make("i", data.map.hues[name] || "");
      part.style.flexGrow = share;
      bar.append(part);
    });
    words.append(bar, make("small", "", point.shares.filter(([, share]) => share > 0)
      .map(([name, share]) => name + " " + Math.round(100 * share) + " %").join(" · ")));
    tip.replaceChildren(picture, words);
  };
  const showTip = (event) => {
    const point = meant(event);
    if (!point) return hideTip();
    fillTip(point);
    placeTip(event);
  };

  // What a recommendation's score is made of: the pieces of its bar, as a sum.
  const fillScore = (score) => {
    const words = make("div", "words"), sum = make("div", "sum");
    score.rows.forEach(([name, value, kind]) => sum.append(make("i", kind), make("span", "", name), make("b", "", value)));
    sum.append(make("span", "whole", score.sum[0]), make("b", "", score.sum[1]));
    words.append(make("b", "", score.title), sum);
    if (score.meaning) words.append(make("small", "", score.meaning));
    if (score.missing.length) words.append(make("small", "", "it has no " + score.missing.join(" and no ")));
    tip.replaceChildren(words);
  };
  const showScore = (event) => {
    const bar = event.target.closest(".bar.score");
    if (!bar) return;
    fillScore(JSON.parse(bar.dataset.score));
    placeTip(event);
  };
  ["pointerover", "click"].forEach((name) => byId("people").addEventListener(name, showScore));
  byId("people").addEventListener("pointerout", hideTip);
  const startMap = () => {
    let held = null;
    space.addEventListener("pointerdown", (event) => {
      if (!narrow()) held = { x: event.clientX, y: event.clientY, view };
    });
    space.addEventListener("pointermove", (event) => {
      if (!held || !event.buttons) return showTip(event);
      const { width, height } = size(), scale = 2 / view.zoom;
      hideTip();
      look({ ...held.view, x: held.view.x - ((event.clientX - held.x) / width) * scale * reach.x,
        y: held.view.y + ((event.clientY - held.y) / height) * scale * reach.y });
    });
    window.addEventListener("pointerup", () => { held = null; });
    space.addEventListener("click", showTip);
    space.addEventListener("pointerleave", hideTip);
    byId("colouring").addEventListener("change", (event) => {
      colouring = Number(event.target.value);
      alone = null;
      keys();
      drawMap();
    });
    byId("pictures").addEventListener("change", drawMap);
    byId("in").addEventListener("click", () => look({ ...view, zoom: view.zoom / 0.6 }));
    byId("out").addEventListener("click", () => look({ ...view, zoom: view.zoom * 0.6 }));
    byId("home").addEventListener("click", () => look({ ...whole }));
    window.addEventListener("scroll", hideTip, { passive: true });
  };
  if (points.length) {
    byId("pictures").checked = points.filter((point) => point.picture).length > 0.3 * points.length;
    keys();
    startMap();
  }
  const drawAll = () => {
    drawCurves();
    if (points.length) drawMap();
  };
  drawAll();
  window.addEventListener("resize", drawAll);
  document.documentElement.dataset.ready = "yes";
})();
