"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const narrow = () => window.innerWidth < 640;
  const font = () => ({ family: getComputedStyle(document.body).fontFamily, size: 12, color: token("--muted") });
  const still = { displayModeBar: false, responsive: true, doubleClick: false, showTips: false };

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

  // Training curves.
  const curve = (id, lines, digits) => {
    const host = byId(id);
    if (!host) return;
    const axis = { gridcolor: token("--line"), zeroline: false, linecolor: token("--line"), fixedrange: true };
    const chosen = data.curves.chosen;
    Plotly.react(host, lines.map((line) => ({
      x: line.points.map((p) => p[0]), y: line.points.map((p) => p[1]), name: line.name, type: "scatter",
      mode: line.points.length > 1 ? "lines" : "markers", line: { color: line.color, width: 2.5, dash: line.dash },
      marker: { color: line.color }, hovertemplate: line.name + " %{y:." + digits + "f}<extra></extra>",
    })).concat(chosen ? lines.slice(0, 1).map((line) => ({
      x: [chosen], y: line.points.filter((p) => p[0] === chosen).map((p) => p[1]), type: "scatter", mode: "markers",
      marker: { size: 12, color: line.color, line: { color: token("--card"), width: 3 } }, hoverinfo: "skip",
    })) : []), {
      height: 260, margin: { l: 52, r: 14, t: 26, b: 40 }, font: font(), hovermode: "x unified",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: { bgcolor: token("--card"), bordercolor: token("--line"), font: font() },
      showlegend: false,
      xaxis: { ...axis, title: { text: "epoch" }, showgrid: false, rangemode: "tozero", hoverformat: "d" },
      yaxis: { ...axis, nticks: 6, automargin: true, rangemode: id === "ndcg" ? "tozero" : "normal" },
      shapes: chosen ? [{ type: "line", x0: chosen, x1: chosen, yref: "paper", y0: 0, y1: 1,
        line: { color: token("--faint"), width: 1, dash: "dot" } }] : [],
      annotations: chosen ? [{ x: chosen, yref: "paper", y: 1.02, yanchor: "bottom", showarrow: false,
        text: "chosen: epoch " + chosen, font: { ...font(), color: token("--ink") } }] : [],
    }, still);
  };
  const drawCurves = () => {
    const pick = (rows, place) => rows.filter((row) => row[place] !== null).map((row) => [row[0], row[place]]);
    curve("ndcg", [{ name: "evaluated fit", points: pick(data.curves.evaluated, 2), color: token("--accent") }], 4);
    const fits = [{ name: "evaluated fit", points: pick(data.curves.evaluated, 1), color: token("--accent") }];
    const published = pick(data.curves.published, 1);
    if (published.length) fits.push({ name: "published fit", points: published, color: token("--night-3"), dash: "5px,3px" });
    curve("loss", fits, 3);
  };

  // The map: one trace per group of the chosen colouring; pictures are thinned to one per cell of a grid.
  const points = data.map.points, space = byId("space"), tip = byId("tip");
  let colouring = 0, alone = null;
  const group = (point) => point.groups[colouring];
  const shown = (point) => alone === null || group(point) === alone;
  const most = Math.max(1, ...points.map((point) => point.n));
  const dot = (point) => 7 + 9 * Math.sqrt(point.n / most);
  // Pictures never overlap: the first of two that would is drawn, the other returns when there is room for it.
  // Dots below a picture are left out, so that hovering a picture always means the item it shows.
  const range = (name) => space._fullLayout[name].range.slice();
  const arrange = () => {
    if (!byId("pictures").checked || !space._fullLayout) return { chosen: [], covered: new Set() };
    const [x0, x1] = range("xaxis"), [y0, y1] = range("yaxis"), box = space._fullLayout._size;
    const side = narrow() ? 34 : 46, dx = (side / box.w) * (x1 - x0), dy = (side / box.h) * (y1 - y0);
    const near = (p, q, reach) => Math.abs(p.x - q.x) < dx * reach && Math.abs(p.y - q.y) < dy * reach;
    const chosen = [];
    points.forEach((point) => {
      const inside = point.x > x0 && point.x < x1 && point.y > y0 && point.y < y1;
      if (inside && point.picture && shown(point) && !chosen.some((other) => near(point, other, 1.02))) chosen.push(point);
    });
    const drawn = new Set(chosen);
    const covered = new Set(points.filter((p) => !drawn.has(p) && chosen.some((other) => near(p, other, 0.62))));
    return { chosen, covered, dx: dx * 0.9, dy: dy * 0.9 };
  };
  const traces = (covered) => data.map.colourings[colouring].values.map((value, place) => {
    const members = points.filter((point) => group(point) === place && !covered.has(point));
    return {
      type: "scatter", mode: "markers", x: members.map((p) => p.x), y: members.map((p) => p.y),
      customdata: members.map((p) => points.indexOf(p)), hoverinfo: "none", showlegend: false,
      visible: alone === null || alone === place,
      marker: { size: members.map(dot), color: token("--g" + place), opacity: 0.86,
        line: { color: token("--card"), width: 0.8 } },
    };
  });
  const images = ({ chosen, dx, dy }) => chosen.map((point) => ({
    source: point.picture, xref: "x", yref: "y", x: point.x, y: point.y, sizex: dx, sizey: dy,
    xanchor: "center", yanchor: "middle", layer: "above", sizing: "contain",
  }));
  const frames = ({ chosen, dx, dy }) => chosen.map((point) => ({
    type: "rect", x0: point.x - dx / 2, x1: point.x + dx / 2, y0: point.y - dy / 2, y1: point.y + dy / 2,
    line: { color: token("--g" + group(point)), width: 2 }, layer: "above",
  }));
  const axis = (reach) => ({ visible: false, range: [-reach, reach], fixedrange: false });
  const layout = (keep) => ({
    height: narrow() ? 420 : 680, margin: { l: 0, r: 0, t: 0, b: 0 }, hovermode: "closest", hoverdistance: 24,
    dragmode: narrow() ? false : "pan", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: keep ? { ...axis(1.06), range: range("xaxis") } : axis(1.06),
    yaxis: keep ? { ...axis(1.09), range: range("yaxis") } : axis(1.09),
  });
  const drawMap = (keep) => {
    const free = { chosen: [], covered: new Set() };
    return Plotly.react(space, traces(free.covered), layout(keep), still).then(dress);
  };
  const dress = () => {
    const plan = arrange();
    const dressed = { ...layout(true), images: images(plan), shapes: frames(plan) };
    return Plotly.react(space, traces(plan.covered), dressed, still);
  };
  const zoom = (factor) => {
    const scaled = ([low, high]) => {
      const middle = (low + high) / 2, half = ((high - low) / 2) * factor;
      return [middle - half, middle + half];
    };
    Plotly.relayout(space, { "xaxis.range": scaled(range("xaxis")), "yaxis.range": scaled(range("yaxis")) });
  };
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
      key.addEventListener("click", () => { alone = alone === place ? null : place; keys(); drawMap(true); });
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
    fillTip(points[event.points[0].customdata]);
    placeTip(event.event);
  };
  const placeTip = (at) => {
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = at.clientX + 18 + box.width > window.innerWidth ? at.clientX - box.width - 18 : at.clientX + 18;
    tip.style.left = Math.max(8, Math.min(left, document.documentElement.clientWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(8, Math.min(at.clientY - 24, window.innerHeight - box.height - 8)) + "px";
  };
  const hideTip = () => { tip.hidden = true; };

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
  const startMap = () => drawMap(false).then(() => {
    space.on("plotly_hover", showTip);
    space.on("plotly_click", showTip);
    space.on("plotly_unhover", hideTip);
    space.on("plotly_relayout", dress);
    byId("colouring").addEventListener("change", (event) => {
      colouring = Number(event.target.value);
      alone = null;
      keys();
      drawMap(true);
    });
    byId("pictures").addEventListener("change", dress);
    byId("in").addEventListener("click", () => zoom(0.6));
    byId("out").addEventListener("click", () => zoom(1 / 0.6));
    byId("home").addEventListener("click", () => drawMap(false));
    window.addEventListener("scroll", hideTip, { passive: true });
    document.documentElement.dataset.ready = "yes";
  });
  if (points.length) {
    byId("pictures").checked = points.filter((point) => point.picture).length > 0.3 * points.length;
    keys();
    startMap();
  }
  drawCurves();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawCurves();
    if (points.length) drawMap(true);
  });
})();
