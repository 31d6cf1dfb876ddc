// @ts-check
/** The developer view: what the player measures, and every event. */

import { $ } from "./dom.js";
import { text } from "./i18n.js";

const KEPT = 200;
const COPIED_MS = 1500;

export class Debug {
  constructor() {
    /** @type {object[]} */
    this.events = [];
    /** @type {object} */
    this.stats = {};
    $("debug-copy").onclick = async () => {
      await navigator.clipboard?.writeText(JSON.stringify({ stats: this.stats, events: this.events }, plain, 1));
      $("debug-copy").textContent = text("debug.copied");
      setTimeout(() => { $("debug-copy").textContent = text("debug.copy"); }, COPIED_MS);
    };
  }

  /** @param {boolean} on */
  show(on) {
    $("debug").hidden = !on;
    $("developer").checked = on;
    this.draw();
  }

  /** @param {string} kind @param {any} what */
  add(kind, what) {
    this.events.push({ at: new Date().toISOString().slice(11, 23), kind, ...what });
    if (this.events.length > KEPT) this.events.shift();
    this.draw();
  }

  /** @param {object} stats */
  measured(stats) {
    this.stats = stats;
    this.draw();
  }

  draw() {
    if ($("debug").hidden) return;
    $("debug-stats").textContent = Object.entries(this.stats).map(([name, value]) => `${name} ${typeof value === "number" ? Math.round(value * 100) / 100 : value}`).join("   ");
    const list = $("debug-events");
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.textContent = this.events.map((one) => JSON.stringify(one, plain)).join("\n");
    if (atEnd) list.scrollTop = list.scrollHeight;
  }
}

/** @param {string} _ @param {any} value what JSON has no form for */
const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);
