// An item as a card: picture or placeholder, title, attributes, score, sound, and what can be asked of it.
import { make, short } from "./dom.js";

const placeholder = (item) => make("span", { class: "tile tone-" + item.tone, "aria-hidden": "true" }, item.initials);

export const pictureOf = (item, size = "card") => {
  if (!item.picture) return placeholder(item);
  const image = make("img", { src: item.picture + "&size=" + size, alt: "", draggable: "false" });
  image.addEventListener("error", () => image.replaceWith(placeholder(item)), { once: true });
  return image;
};

// One sound at a time.
const sound = new Audio();
let playing = null;
const stop = () => {
  sound.pause();
  if (playing) {
    playing.setAttribute("aria-pressed", "false");
    playing.firstChild.textContent = "▶";
  }
  playing = null;
};
sound.addEventListener("ended", stop);

export const playButton = (item) => {
  const button = make("button", { type: "button", class: "play", "aria-pressed": "false", "aria-label": "Play " + item.title }, make("span", {}, "▶"));
  button.addEventListener("click", async () => {
    const own = playing === button;
    stop();
    if (own) return;
    playing = button;
    button.setAttribute("aria-pressed", "true");
    button.firstChild.textContent = "❚❚";
    sound.src = item.clip;
    try {
      await sound.play();
    } catch (error) {
      if (error.name === "AbortError") return;
      stop();
      button.disabled = true;
      button.title = "This sound is not there, or the browser cannot play it.";
    }
  });
  return button;
};

// What tells the items apart: an attribute that is the same of all says nothing on a card.
const captionOf = (item, others) => Object.entries(item.attributes)
  .filter(([name, value]) => value.length <= 28 && (others.length < 2 || others.some((other) => other.attributes[name] !== value)))
  .slice(0, 3).map(([, value]) => value).join(" · ");

export const card = (item, rank, others, actions) => {
  const open = make("button", { type: "button", class: "open", "aria-label": "Show " + item.title, onclick: () => actions.open(item) }, pictureOf(item));
  const action = (label, call) => make("button", { type: "button", "aria-label": label + ": " + item.title, onclick: () => call(item) }, label);
  const buttons = [action("Similar", actions.similar)];
  if (actions.why) buttons.push(action("Why", actions.why));
  if (actions.choose) buttons.push(action("Chose it", actions.choose));
  return make("article", { class: "card hit", "data-item": item.item_id },
    make("div", { class: "cover" }, open, make("span", { class: "rank", "aria-hidden": "true" }, String(rank)), item.clip ? playButton(item) : null),
    make("h3", {}, item.title),
    make("small", {}, captionOf(item, others)),
    make("p", { class: "scored" }, make("span", {}, "score"), " ", make("b", {}, short(item.score))),
    make("div", { class: "do" }, ...buttons));
};
