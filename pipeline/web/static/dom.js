// Elements and numbers. Text from the catalogue becomes text nodes, never markup.
export const byId = (id) => document.getElementById(id);

export const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  });
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

export const draw = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  return node;
};

export const whole = (value) => value.toLocaleString("en");
// Scores of any size with three digits that say something.
export const short = (value) => {
  const size = Math.abs(value);
  if (value === 0) return "0";
  return size >= 0.001 && size < 10000 ? value.toFixed(Math.max(0, Math.min(4, 3 - Math.floor(Math.log10(size))))) : value.toExponential(1);
};
export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4);
export const day = (moment) => String(moment).slice(0, 16).replace("T", " ");
