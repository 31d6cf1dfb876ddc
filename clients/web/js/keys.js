// @ts-check
/** The keyboard: Space is held to talk, Esc interrupts, letters do what they stand for. */

import { $ } from "./dom.js";

const INTERACTIVE = "input, select, textarea, button, a, summary, [contenteditable]";
const STORED = "musecast.letters";

/** @param {EventTarget|null} target */
const typing = (target) => target instanceof Element && target.matches(INTERACTIVE);

/**
 * @param {{onHold: (held: boolean) => void, onInterrupt: () => void, letters: Record<string, () => void>}} acts
 *   `letters` can be switched off: those who speak to their computer trigger them by accident
 */
export function install({ onHold, onInterrupt, letters }) {
  $("letters").checked = localStorage.getItem(STORED) !== "off";
  $("letters").onchange = () => localStorage.setItem(STORED, $("letters").checked ? "on" : "off");
  let held = false;
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") onInterrupt();
    // On the microphone's own button the key does what the button does; held, too.
    else if (event.key === " " && (!typing(event.target) || (event.target === $("mic") && $("mode-push").getAttribute("aria-pressed") === "true"))) {
      event.preventDefault();
      if (!held && !event.repeat) onHold((held = true));
    } else if (!typing(event.target) && $("letters").checked && letters[event.key.toLowerCase()]) {
      event.preventDefault();
      letters[event.key.toLowerCase()]();
    }
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " " && held) {
      event.preventDefault();
      onHold((held = false));
    }
  });
  addEventListener("blur", () => { held = false; });
}
