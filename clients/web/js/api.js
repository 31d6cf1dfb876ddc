// @ts-check
/** The gateway's HTTP operations. */

/** A refusal in the gateway's words. */
export class Refused extends Error {
  /** @param {string} code @param {string} message @param {number} [retryAfterMs] @param {number} [status]  of HTTP */
  constructor(code, message, retryAfterMs, status) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

const STORED = "musecast.key";

/** The key of an installation that asks for one: from `#key=…` of the address, or as it was typed; of this tab only. */
export const key = {
  get: () => sessionStorage.getItem(STORED) ?? "",
  /** @param {string} value */
  set: (value) => sessionStorage.setItem(STORED, value),
  takeFromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)).get("key");
    if (!given) return;
    key.set(given);
    history.replaceState(null, "", location.pathname + location.search);
  },
};

/** @returns {Record<string, string>} */
const credentials = () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {});

/** @param {number} status @param {string} body @returns {Refused} */
export function refusal(status, body) {
  try {
    const { code, message, retry_after_ms: retry } = JSON.parse(body).error;
    return new Refused(code, message, retry, status);
  } catch {
    return new Refused("INTERNAL", `HTTP ${status}`, undefined, status);
  }
}

/**
 * @param {string} path
 * @param {object} [body]  sent as JSON by POST; without it: GET
 * @param {RequestInit} [more]
 * @returns {Promise<any>}
 * @throws {Refused}  also when the gateway cannot be reached: code NOT_READY
 */
export async function call(path, body, more = {}) {
  const request = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return answer(fetch(path, { ...request, ...more, headers: { ...request.headers, ...credentials() } }));
}

/** What came of a request; throws as `call` does. @param {Promise<Response>} request @returns {Promise<any>} */
export async function answer(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    throw new Refused("NOT_READY", String(error));
  }
  const body = await response.text();
  if (!response.ok) throw refusal(response.status, body);
  return body ? JSON.parse(body) : {};
}

/** A picture that an `<img>` can show although it may need the key. @param {string} path */
export async function picture(path) {
  const response = await fetch(path, { headers: credentials() });
  if (!response.ok) throw refusal(response.status, await response.text());
  return createImageBitmap(await response.blob());
}

/**
 * Send a file as a template, and tell how far it is.
 *
 * @param {Blob} file
 * @param {string} templateId
 * @param {(step: "sending"|"preparing", percent: number|null) => void} onProgress
 * @returns {{result: Promise<any>, cancel: () => void}}
 */
export function upload(file, templateId, onProgress) {
  const form = new FormData();
  form.append("template_id", templateId);
  form.append("crop", "face"); // of a photo of a room, the one in it
  form.append("keep", "true"); // until somebody removes it
  form.append("if_absent", "true"); // never another visitor's in its place
  form.append("file", file);
  const request = new XMLHttpRequest();  // fetch does not tell how much of a body was sent
  request.open("POST", "api/preprocess_template?stream=1");
  for (const [name, value] of Object.entries(credentials())) request.setRequestHeader(name, value);
  request.upload.onprogress = ({ loaded, total }) => onProgress("sending", (100 * loaded) / total);
  request.upload.onload = () => onProgress("preparing", null);
  const lines = () => request.responseText.split("\n").filter(Boolean);
  request.onprogress = () => {
    const complete = request.responseText.endsWith("\n") ? lines() : lines().slice(0, -1);
    const newest = complete.length ? JSON.parse(complete[complete.length - 1]) : {};
    if (newest.total) onProgress("preparing", (100 * newest.done) / newest.total);
  };
  const result = new Promise((resolve, reject) => {
    request.onload = () => {
      const last = lines().pop() ?? "{}";
      if (request.status >= 400 || last.startsWith('{"error"')) reject(refusal(request.status, last));
      else resolve(JSON.parse(last));
    };
    request.onerror = () => reject(new Refused("NOT_READY", "the connection was lost"));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
  });
  request.send(form);
  return { result, cancel: () => request.abort() };
}
