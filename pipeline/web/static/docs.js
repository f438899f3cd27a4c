// The description of the service, by its own OpenAPI document.
import { byId, make } from "./dom.js";

const document_ = await (await fetch("/openapi.json")).json();
const resolved = (schema) => (schema && schema.$ref ? document_.components.schemas[schema.$ref.split("/").pop()] : schema || {});
const kind = (schema) => {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.type === "array") return "list of " + kind(schema.items || {});
  if (schema.enum) return schema.enum.join(", ");
  return schema.const || schema.format || schema.contentMediaType || schema.type || "anything";
};
const said = (text) => (text || "").replaceAll("`", "");
const meaning = (schema) => schema.description || (schema.anyOf || []).map((one) => one.description).find(Boolean);
const line = (name, needed, schema, description) => make("tr", {}, make("td", {}, make("code", {}, name), needed ? make("small", {}, "needed") : null),
  make("td", {}, kind(schema)), make("td", {}, said(description || meaning(schema))));
const table = (title, lines) => (lines.length ? make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": title },
  make("table", { class: "plain" }, make("thead", {}, make("tr", {}, make("th", {}, title), make("th", {}, "type"), make("th", {}, ""))), make("tbody", {}, ...lines))) : null);
const fields = (schema, asked) => {
  const whole = resolved(schema);
  return Object.entries(whole.properties || {}).map(([name, value]) => line(name, asked && (whole.required || []).includes(name), value));
};

byId("about").textContent = said(document_.info.description);
byId("routes").replaceChildren(...Object.entries(document_.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, route]) => {
  const [[type, body] = []] = Object.entries((route.requestBody || {}).content || {});
  const parameters = (route.parameters || []).map((one) => line(one.name, one.required, one.schema, one.description));
  const answer = ((route.responses[200] || {}).content || {})["application/json"];
  return make("section", { class: "panel route" }, make("h2", {}, make("code", {}, method.toUpperCase() + " " + path)), make("p", {}, make("b", {}, route.summary)),
    make("p", { class: "quiet" }, said(route.description)), table("asked by", parameters), body ? table(type, fields(body.schema, true)) : null,
    answer ? table("answered", fields(answer.schema, false)) : null,
    make("p", { class: "quiet" }, Object.entries(route.responses).map(([status, one]) => status + " " + said(one.description)).join(" · ")));
})));
document.documentElement.dataset.ready = "yes";
