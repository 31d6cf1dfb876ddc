// @ts-check
/** Where the time of the last turn went: one stacked bar. The arithmetic is pure, `draw` is not. */

import { text } from "./i18n.js";
import { $, el } from "./dom.js";

/** The moments of `timings_ms` that bound the parts of the bar, in order. */
const MOMENTS = /** @type {const} */ ([
  ["pause", "vad_end"], ["hearing", "asr_final"], ["answer", "llm_first_sentence"],
  ["voice", "tts_first_audio"], ["lips", "lipsync_first"], ["video", "first_segment"],
]);

/** @typedef {{name: "pause"|"hearing"|"answer"|"voice"|"lips"|"video"|"screen", ms: number}} Part */

/**
 * Parts of the way from the end of the visitor's words to the first frame on the screen.
 *
 * @param {Record<string, number|null>} timings  `timings_ms` of `turn.ended`: moments in ms since t0; null: not passed
 * @param {number|null} shownMs  the whole way as the page measured it
 * @returns {Part[]}
 */
export function parts(timings, shownMs) {
  /** @type {Part[]} */
  const found = [];
  let before = 0;
  for (const [name, moment] of MOMENTS) {
    const at = timings[moment];
    if (at === null || at === undefined) continue;
    if (at > before) found.push({ name, ms: at - before });
    before = Math.max(before, at);
  }
  if (found.length && shownMs !== null && shownMs > before) found.push({ name: "screen", ms: shownMs - before });
  return found;
}

/** Events that tell in passing what `turn.ended` will tell exactly; a turn that is interrupted never does. */
const TOLD = /** @type {Record<string, string>} */ ({
  "transcript.final": "asr_final", "reply.delta": "llm_first_sentence", sentence: "tts_first_audio",
  "speech.started": "first_segment",
});

/** When the events of the newest turn arrived here. Pure. */
export class Arrivals {
  turn = 0;
  /** @type {Record<string, number>} */
  at = {};

  /** @param {string} event @param {number} turn @param {number} now */
  add(event, turn, now) {
    if (turn > this.turn) [this.turn, this.at] = [turn, {}];
    if (turn === this.turn && event in TOLD) this.at[TOLD[event]] ??= now;
  }

  /** @param {number} turn @param {number} asked when the visitor had said all @returns {Record<string, number>} */
  timings(turn, asked) {
    return Object.fromEntries(Object.entries(turn === this.turn ? this.at : {}).map(([name, at]) => [name, at - asked]));
  }
}

/** @param {number} ms */
export const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;

/** @param {Record<string, number|null>} timings @param {number|null} shownMs */
export function draw(timings, shownMs) {
  const all = parts(timings, shownMs);
  const total = shownMs ?? all.reduce((sum, part) => sum + part.ms, 0);
  $("latency").hidden = total === 0;
  $("latency-total").textContent = text("latency.total", { time: seconds(total) });
  $("latency-bar").replaceChildren(...all.map((part) => {
    const piece = el("i", { className: `part ${part.name}` });
    piece.style.flexGrow = String(part.ms);
    return piece;
  }));
  $("latency-parts").replaceChildren(...all.map((part) => el("li", {},
    el("i", { className: `part ${part.name}` }), el("span", {}, text(`latency.${part.name}`)), el("b", {}, `${Math.round(part.ms)} ms`))));
}
