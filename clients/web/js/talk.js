// @ts-check
/** The visitor"s voice: the microphone"s button, hands-free or held, its level, and what is wrong with it. */

import { $, setIcon } from "./dom.js";
import { text } from "./i18n.js";
import { Microphone } from "./microphone.js";
import { clear, tell } from "./notes.js";

/** Louder than this (of full scale) is taken for a voice, where the page measures how long an answer takes. */
const VOICE_RMS = 0.02;
/** Without any signal for so long from the beginning, something is wrong with the microphone: a quiet room is not flat. */
const SILENT_MS = 5000;
const SILENT_RMS = 1e-5;
/** The meter's floor. */
const FLOOR_DB = -60;

export class Talk {
  /** @param {import("./player.js").Player} player @param {{onOpen: (on: boolean) => void}} options */
  constructor(player, { onOpen }) {
    this.player = player;
    this.onOpen = onOpen;
    this.push = false;
    /** The visitor wants to be heard: the button is pressed in, or held. */
    this.on = false;
    this.held = false;
    this.wasOn = false;
    /** @type {Microphone|null} */
    this.microphone = null;
    /** @type {Promise<boolean>|null} */
    this.opening = null;
    /** When the last voiced sound was heard here, by `performance.now()`. */
    this.voicedAt = 0;
    /** When it was opened, until it is heard to work. */
    this.unheardSince = Infinity;
    const mic = $("mic");
    mic.onclick = () => { if (!this.push) this.switch(!this.on); };
    mic.onpointerdown = (/** @type {PointerEvent} */ event) => { if (this.push && event.button === 0) { mic.setPointerCapture(event.pointerId); this.hold(true); } };
    mic.onpointerup = mic.onpointercancel = () => { if (this.push) this.hold(false); };
    mic.oncontextmenu = (/** @type {Event} */ event) => { if (this.push) event.preventDefault(); };
    $("mode-free").onclick = () => this.mode(false);
    $("mode-push").onclick = () => this.mode(true);
    addEventListener("blur", () => this.release());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.release(); });
    this.draw();
  }

  /** Hands-free listening on or off. @param {boolean} on */
  async switch(on) {
    if (on && !(await this.open())) return;
    if (this.on && !on) this.end();
    this.on = on;
    this.draw();
  }

  /** The key or the button is held, or let go; an open microphone stays open. @param {boolean} held */
  async hold(held) {
    this.held = held;
    if (held) {
      this.wasOn = this.on && !this.push;
      if ((await this.open()) && this.held) await this.switch(true);
    } else if (this.wasOn) this.end();
    else await this.switch(false);
  }

  /** Nothing is held any more: the visitor looks elsewhere. */
  release() {
    if (this.held) this.hold(false);
  }

  /** @param {boolean} push */
  mode(push) {
    if (push === this.push) {
      if (!push) this.switch(true);  // who picks hands-free wants to be heard, also after a mute
      return;
    }
    this.switch(false);
    this.push = push;
    if (!push) this.switch(true);
    this.draw();
  }

  /** @returns {Promise<boolean>} whether it is open now; why not, is told */
  open() {
    if (this.microphone) return Promise.resolve(true);
    this.opening ??= this.tryToOpen().finally(() => { this.opening = null; this.draw(); });
    this.draw();
    return this.opening;
  }

  /** @returns {Promise<boolean>} */
  async tryToOpen() {
    const microphone = new Microphone({
      onPcm: (pcm, rate, echoCancelled) => { if (this.on) this.player.sendMicrophone(pcm, rate, echoCancelled); },
      onLevel: (rms) => this.level(rms),
      onState: (state) => { if (state === "lost") this.lost(); },
    });
    try {
      await microphone.start();
    } catch (error) {
      const { code, message } = /** @type {import("./microphone.js").MicrophoneError} */ (error);
      return this.refuse(text(`mic.${code}`, { reason: message }));
    }
    this.microphone = microphone;
    this.unheardSince = performance.now();
    clear("microphone");
    return true;
  }

  /** @param {string} why */
  refuse(why) {
    const again = { label: "retry", act: () => { this.switch(true); } };
    tell("microphone", why, navigator.mediaDevices ? again : undefined);
    return false;
  }

  /** The device went away. */
  lost() {
    this.microphone = null;
    this.switch(false);
    this.refuse(text("mic.absent"));
  }

  /** What was said is complete. */
  end() {
    this.player.endOfSpeech().catch(() => {});
  }

  /** @param {number} rms of full scale */
  level(rms) {
    const now = performance.now();
    if (this.on && rms > VOICE_RMS) this.voicedAt = now;
    if (rms > SILENT_RMS) {
      this.unheardSince = Infinity;
      clear("silent");
    } else if (this.on && now - this.unheardSince > SILENT_MS) {
      this.unheardSince = Infinity;
      tell("silent", text("mic.silent"));
    }
    const share = this.on && rms > 0 ? Math.max(0, Math.min(1, 1 - (20 * Math.log10(rms)) / FLOOR_DB)) : 0;
    for (const id of ["level", "stage"]) $(id).style.setProperty("--voice-level", share.toFixed(2));
    $("level").setAttribute("aria-valuenow", String(Math.round(share * 100)));
  }

  draw() {
    const mic = $("mic");
    const label = text(this.opening ? "mic.ask" : this.push ? "mic.hold" : this.on ? "mic.off" : "mic.on");
    mic.setAttribute("aria-label", label);
    mic.title = label;
    mic.setAttribute("aria-pressed", String(this.on));
    mic.setAttribute("aria-busy", String(Boolean(this.opening)));
    setIcon(mic, this.on || this.push ? "i-mic" : "i-mic-off");
    $("voice-row").classList.toggle("quiet", !this.on && !this.push);
    $("mode-free").setAttribute("aria-pressed", String(!this.push));
    $("mode-push").setAttribute("aria-pressed", String(this.push));
    if (!this.on) this.level(0);
    this.onOpen(this.on);
  }
}
