// @ts-check
/** The page"s words in the visitor"s language. */

import { WORDS } from "./words.js";

/** @typedef {keyof typeof WORDS.en} Key */

/** @type {Language} */
let current = "en";

export const language = () => current;

/** @param {Language} wanted */
export function speak(wanted) {
  current = wanted;
  document.documentElement.lang = wanted === "zh" ? "zh-CN" : wanted;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(/** @type {HTMLElement} */ (element).dataset.text ?? "");
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    const label = text(/** @type {HTMLElement} */ (element).dataset.label ?? "");
    element.setAttribute(element instanceof HTMLInputElement && element.type === "text" ? "placeholder" : "title", label);
    element.setAttribute("aria-label", label);
  }
}

/**
 * @param {string} key
 * @param {Record<string, string>} [values]  what stands for `{name}` in the text
 * @returns {string}
 */
export function text(key, values = {}) {
  const words = /** @type {Record<string, string>} */ (WORDS[current]);
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
