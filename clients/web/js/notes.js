// @ts-check
/** One line that tells the visitor what is wrong, and offers what can be done about it. */

import { $ } from "./dom.js";
import { text } from "./i18n.js";

/** What the line is about now; it is taken away only by those who put it there. */
let about = "";

/**
 * @param {string} topic  a later note replaces it; `clear(topic)` takes it away
 * @param {string} message
 * @param {{label: string, act: () => void}} [offer]  `label`: a key of the dictionary
 */
export function tell(topic, message, offer) {
  about = topic;
  if ($("note-text").textContent !== message) $("note-text").textContent = message;
  $("note").hidden = false;
  $("note-do").hidden = !offer;
  if (!offer) return;
  $("note-do").textContent = text(offer.label);
  $("note-do").onclick = () => { clear(topic); offer.act(); };
}

/** @param {string} [topic] */
export function clear(topic = about) {
  if (topic !== about) return;
  about = "";
  $("note").hidden = true;
  $("note-text").textContent = "";
}

export function install() {
  $("note-close").onclick = () => clear();
}
