// The service's answers; what it refuses is thrown as its sentence.
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

const answered = async (asked) => {
  let response;
  try {
    response = await asked;
  } catch {
    throw new Refused(0, "The service cannot be reached. Is it still running?");
  }
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({ error: "The service gave no answer that can be read." }));
  if (!response.ok) throw new Refused(response.status, body.error || "The service refused without a reason.");
  return body;
};

export const get = (path, query = {}) => {
  const written = new URLSearchParams(query).toString();
  return answered(fetch("/api/" + path + (written ? "?" + written : "")));
};

export const post = (path, body) =>
  answered(fetch("/api/" + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));

export const send = (path, fields) => {
  const form = new FormData();
  Object.entries(fields).forEach(([name, value]) => {
    if (Array.isArray(value)) value.forEach((one) => form.append(name, one));
    else if (value instanceof Blob) form.append(name, value, value.name || name);
    else if (value !== null && value !== undefined && value !== "") form.append(name, value);
  });
  return answered(fetch("/api/" + path, { method: "POST", body: form }));
};
