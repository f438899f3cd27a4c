// The page: what is asked for, and its answer as cards.
import { get, post, send } from "./api.js";
import { card, pictureOf, playButton } from "./cards.js";
import { byId, day, make, whole } from "./dom.js";
import { Filters } from "./filters.js";
import { ItemMap } from "./map.js";
import { record } from "./microphone.js";
import { People } from "./people.js";
import { show, showWhy } from "./why.js";

const STEP = 12;
const SOURCES = {
  list: "From their one list of the night.",
  "first stage": "By the first stage: inner products, without the re-ranker.",
  content: "By content: how alike text, picture and sound are.",
  "content and first stage": "The best by content, in the order of both: how alike they are, and to whom.",
};
let about, filters, people, map, latest = 0, count = STEP;
// What is searched by; empty for recommendations.
const query = { text: "", image: null, audio: null, like: null };

const say = (sentence) => {
  byId("fault").textContent = sentence || "";
  byId("fault").hidden = !sentence;
};

const searching = () => Boolean(query.text || query.image || query.audio);

const items = (history) => history.length + (history.length === 1 ? " item" : " items");

const headline = (person) => {
  const whom = person.user ? "for " + person.user : person.history ? "for someone who chose " + items(person.history) : "";
  if (query.like) return "Like " + query.like.title;
  if (searching()) {
    const by = [query.text && "“" + query.text + "”", query.image && "a picture", query.audio && "a sound"].filter(Boolean).join(" and ");
    return ("Found by " + by + " " + whom).trim();
  }
  return ("Recommended " + whom).trim();
};

const chips = () => {
  const chip = (label, cleared) => make("li", {}, make("span", {}, label),
    make("button", { type: "button", "aria-label": "Leave out " + label, onclick: () => { cleared(); renew(); byId("headline").focus(); } }, "×"));
  byId("asked").replaceChildren(...[
    query.like && chip("like " + query.like.title, () => { query.like = null; }),
    query.text && chip("“" + query.text + "”", () => { query.text = byId("words").value = ""; }),
    query.image && chip("picture " + query.image.name, () => { query.image = null; byId("picture").value = ""; }),
    query.audio && chip("sound " + query.audio.name, () => { query.audio = null; }),
  ].filter(Boolean));
};

const asked = (person) => {
  const filter = filters.chosen;
  if (query.like) return post("similar", { item: query.like.item_id, k: count, filter });
  if (searching()) return send("search", { text: query.text, image: query.image, audio: query.audio, ...person, k: count, filter: JSON.stringify(filter) });
  return post("recommend", { ...person, k: count, filter });
};

// Why: of a user's or a history's score, or of how alike two items are; a search by words has no such sum.
const why = (person) => {
  const like = query.like, asked = like ? { other: like.item_id } : person;
  if (!like && !person.user && !person.history) return null;
  const whom = like ? "Beside " + like.title : person.user ? "For " + person.user : "For someone who chose " + items(person.history);
  const half = searching() ? ". The search is in the order of two scores; this is the one that is theirs." : "";
  return async (item) => {
    const reasons = await post("explain", { item: item.item_id, ...asked });
    return () => showWhy(reasons, whom + half);
  };
};

// The first sum of an index takes seconds.
const told = (call) => call && (async (item) => {
  const title = () => make("h2", { id: "dialog-title" }, "Why " + item.title);
  show(title(), make("p", { class: "quiet" }, "Adding up …"));
  try {
    const fill = await call(item);
    if (byId("dialog").open) fill();
  } catch (error) {
    if (byId("dialog").open) show(title(), make("p", { class: "verdict below", role: "alert" }, error.message));
  }
});

const fill = (answer, person) => {
  const hits = answer ? answer.hits : [];
  byId("source").textContent = answer ? SOURCES[answer.source] : "";
  byId("note").textContent = answer && answer.note ? answer.note.charAt(0).toUpperCase() + answer.note.slice(1) + "." : "";
  byId("note").hidden = !(answer && answer.note);
  const actions = { open: (item) => openItem(item.item_id), similar: (item) => like(item), why: told(why(person)), choose: about.history ? null : (item) => choose(item) };
  byId("hits").replaceChildren(...hits.map((hit, place) => card(hit, place + 1, hits, actions)));
  if (answer && !hits.length) byId("hits").append(make("p", { class: "quiet empty" }, "Nothing passes. Loosen a filter, or ask for something else."));
  byId("more").hidden = !answer || hits.length < count || count >= about.limits.k;
  map.mark(hits.map((hit) => hit.item_id));
};

const ask = async () => {
  const own = ++latest, person = people.asked, answer = byId("answer");
  const done = () => {
    answer.setAttribute("aria-busy", "false");
    answer.dataset.answered = String(own);
  };
  chips();
  say("");
  if (!query.like && !searching() && !person.user && !person.history) {
    byId("headline").textContent = people.isNew ? "What did they choose?" : "Whom is it for?";
    fill(null, person);
    byId("hits").replaceChildren(make("p", { class: "quiet empty" },
      people.isNew ? "Add an item to their history, and the answer is here." : "Choose a user, or search by words, a picture or a sound."));
    return done();
  }
  byId("headline").textContent = headline(person);
  answer.setAttribute("aria-busy", "true");
  try {
    const given = await asked(person);
    if (own === latest) fill(given, person);
  } catch (error) {
    if (own !== latest) return;
    fill(null, person);
    say(error.message);
  } finally {
    if (own === latest) done();
  }
};

const renew = () => {
  count = STEP;
  return ask();
};
// The card that was pressed is replaced: who goes by keys is at the new answer.
const top = () => {
  byId("headline").focus({ preventScroll: true });
  byId("ask").scrollIntoView({ behavior: "smooth", block: "nearest" });
};
const like = (item) => {
  Object.assign(query, { text: "", image: null, audio: null, like: item });
  byId("words").value = "";
  renew();
  top();
};
const choose = (item) => {
  query.like = null;
  people.add(item);
};

const openItem = async (id) => {
  try {
    const item = await get("item", { item: id });
    const button = (label, call) => make("button", { type: "button", onclick: () => { byId("dialog").close(); call(); } }, label);
    const facts = Object.entries(item.attributes).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    show(make("div", { class: "item" }, make("div", { class: "cover" }, pictureOf(item, "whole"), item.clip ? playButton(item) : null),
      make("div", {}, make("h2", { id: "dialog-title" }, item.title), make("p", { class: "quiet" }, item.item_id), make("dl", { class: "facts-of" }, ...facts),
        item.text ? make("p", { class: "text" }, item.text) : null,
        make("p", { class: "do" }, button("Similar", () => like(item)), about.history ? null : button("Chose it", () => choose(item))))));
  } catch (error) {
    say(error.message);
  }
};

const take = (file) => {
  if (!file) return;
  const kind = file.type.split("/")[0], name = kind === "audio" ? "audio" : "image";
  if (file.size > about.limits.max_upload_bytes) return say(file.name + " has " + whole(file.size) + " bytes, over the limit of " + whole(about.limits.max_upload_bytes) + ".");
  if (about.search[name]) return say(name + ": " + about.search[name] + ".");
  query.like = null;
  query[name] = file;
  renew();
};

const startUploads = () => {
  byId("picture").addEventListener("change", (event) => take(event.target.files[0]));
  byId("picture-label").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      byId("picture").click();
    }
  });
  let inside = 0;
  const held = (event) => [...event.dataTransfer.types].includes("Files");
  window.addEventListener("dragenter", (event) => { if (held(event)) { inside += 1; byId("drop").hidden = false; } });
  window.addEventListener("dragleave", () => { inside = Math.max(0, inside - 1); byId("drop").hidden = !inside; });
  window.addEventListener("dragover", (event) => { if (held(event)) event.preventDefault(); });
  window.addEventListener("drop", (event) => {
    if (!held(event)) return;
    event.preventDefault();
    inside = 0;
    byId("drop").hidden = true;
    take(event.dataTransfer.files[0]);
  });
};

const startMicrophone = () => {
  const button = byId("record"), label = button.querySelector("span");
  let end = null, beginning = false;
  const finish = async () => {
    const stop = end;
    end = null;
    if (!stop) return;
    button.setAttribute("aria-pressed", "false");
    label.textContent = "Record";
    take(await stop());
  };
  button.addEventListener("click", async () => {
    if (end) return finish();
    if (beginning) return;
    beginning = true;
    try {
      say("");
      if (about.search.audio) throw new Error("audio: " + about.search.audio + ".");
      end = await record((seconds) => { if (end) label.textContent = "Stop " + seconds.toFixed(0) + " s"; }, finish);
      button.setAttribute("aria-pressed", "true");
      label.textContent = "Stop";
    } catch (error) {
      say(error.message);
    } finally {
      beginning = false;
    }
  });
};

const start = () => {
  const facts = [["Items", whole(about.items)], ["Users", whole(about.users)], ["Model", about.model], ["As of", day(about.as_of)], ["Run", about.run_id]];
  byId("facts").replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  const words = byId("words");
  if (about.search.text) {
    words.disabled = true;
    words.placeholder = "Not by words: " + about.search.text;
  }
  filters = new Filters(about.facets, renew);
  byId("filters").open = window.innerWidth > 1060;
  map = new ItemMap(openItem);
  people = new People(about, () => { query.like = null; renew(); }, openItem);
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    query.text = words.value.trim();
    query.like = null;
    renew();
  });
  words.addEventListener("search", () => { if (!words.value && query.text) { query.text = ""; renew(); } });
  byId("more").addEventListener("click", () => { count = Math.min(about.limits.k, count + STEP); ask(); });
  byId("dialog").addEventListener("click", (event) => { if (event.target === byId("dialog")) byId("dialog").close(); });
  startUploads();
  startMicrophone();
  if (about.people.length) people.choose(about.people[0]);
  else ask();
  document.documentElement.dataset.ready = "yes";
};

const gate = () => {
  byId("gate").addEventListener("close", () => { if (!about) byId("gate").showModal(); });
  byId("gate-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("session", { token: byId("token").value });
      about = await get("index");
      byId("gate").close();
      start();
    } catch (error) {
      byId("gate-fault").textContent = error.message;
      byId("gate-fault").hidden = false;
    }
  });
  byId("gate").showModal();
};

try {
  about = await get("index");
  start();
} catch (error) {
  if (error.status === 401) gate();
  else {
    byId("headline").textContent = "Nothing to show";
    say(error.message);
  }
}
