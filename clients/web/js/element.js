// @ts-check
/**
 * `<musecast-player src="/ws/SID">`: a session's face in any page.
 *
 *     <script type="module" src="http://127.0.0.1:28888/js/element.js"></script>
 *     <musecast-player src="ws://127.0.0.1:28888/ws/SID" token="TOKEN" talk></musecast-player>
 *
 * Attributes: `src`, `token`, `muted`, `talk` (a button for the microphone), `captions`. Events, not bubbling, with
 * what the player tells in `detail`: `musecast-event`, `musecast-mediatime`, `musecast-state` (`{state, ...}`),
 * `musecast-notice` (`{code, ...}`). Methods: `say(text)`, `chat(text)`, `interrupt()`; `player` is the `Player`.
 */

import { Microphone } from "./microphone.js";
import { Player } from "./player.js";

const STYLE = `
:host { display: inline-block; position: relative; aspect-ratio: 1; background: #000; overflow: hidden }
video { width: 100%; height: 100%; object-fit: cover; display: block }
p { position: absolute; inset: auto 0 3.5rem; margin: 0; padding: 0 1rem; text-align: center; color: #fff;
  font: 1rem/1.4 system-ui, sans-serif; text-shadow: 0 0 4px #000, 0 0 2px #000 }
div { position: absolute; inset: auto .5rem .5rem; display: flex; gap: .5rem; justify-content: center }
button { min-width: 44px; min-height: 44px; padding: 0 1rem; border: 0; border-radius: 22px; cursor: pointer;
  font: 1rem system-ui, sans-serif; color: #fff; background: rgb(0 0 0 / .65) }
button[aria-pressed=true] { background: #b00020 }
button:focus-visible { outline: 3px solid #fff; outline-offset: -3px }
[hidden] { display: none }`;
const TEXTS = { sound: "Sound on", talk: "Talk", ended: "The session is over." };
const TEXTS_ZH = { sound: "打开声音", talk: "说话", ended: "会话已结束。" };

export class MusecastPlayer extends HTMLElement {
  static observedAttributes = ["src", "token", "muted"];

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const style = new CSSStyleSheet(); // a page's policy may forbid inline styles
    style.replaceSync(STYLE);
    root.adoptedStyleSheets = [style];
    this.texts = navigator.language.startsWith("zh") ? TEXTS_ZH : TEXTS;
    this.video = document.createElement("video");
    this.caption = document.createElement("p");
    this.caption.setAttribute("aria-live", "polite");
    const bar = document.createElement("div");
    this.soundButton = this._button(this.texts.sound, () => this._unlock());
    this.talkButton = this._button(this.texts.talk, () => this._talk());
    this.talkButton.setAttribute("aria-pressed", "false");
    bar.append(this.soundButton, this.talkButton);
    root.append(this.video, this.caption, bar);
    /** @type {Player | null} */
    this.player = null;
    /** A token for every connection, where the attribute would expire. @type {(() => Promise<string>) | undefined} */
    this.getToken = undefined;
    /** Of the reply to `start_session`; see `Player`. @type {import("./catchup.js").Limits | undefined} */
    this.limits = undefined;
    this.microphone = new Microphone({
      onPcm: (pcm, rate, echoCancelled) => this.player?.sendMicrophone(pcm, rate, echoCancelled),
      onState: (state) => this.talkButton.setAttribute("aria-pressed", String(state === "on" || state === "changed")),
    });
  }

  connectedCallback() {
    this.talkButton.hidden = !this.hasAttribute("talk");
    this._open();
  }

  disconnectedCallback() {
    this.microphone.stop();
    this.player?.close();
    this.player = null;
  }

  /** @param {string} name */
  attributeChangedCallback(name) {
    if (name === "muted") this.player?.mute(this.hasAttribute("muted"));
    else if (this.isConnected) this._open();
  }

  /** @param {string} text @returns {Promise<any>} */
  say(text) {
    return this._ask("say", { text });
  }

  /** @param {string} text @returns {Promise<any>} */
  chat(text) {
    return this._ask("chat", { text });
  }

  /** @returns {Promise<any>} */
  interrupt() {
    return this.player?.interrupt() ?? this._ask("interrupt", {});
  }

  /** @param {string} op @param {object} args */
  _ask(op, args) {
    return this.player?.request(op, args) ?? Promise.reject(new Error("<musecast-player> has no src"));
  }

  /** Attributes that are set one after the other make one connection. */
  _open() {
    clearTimeout(this.opening);
    this.opening = setTimeout(() => {
      this.player?.close();
      this.player = null;
      const url = this.getAttribute("src");
      if (!url || !this.isConnected) return;
      this.player = new Player(this.video, {
        url,
        token: this.getToken ?? this.getAttribute("token") ?? undefined,
        limits: this.limits,
        onEvent: (header) => this._event(header),
        onMediaTime: (header) => this._reached(header),
        onState: (state, detail) => this._state(state, detail),
        onNotice: (code, detail) => this._tell("notice", { code, ...detail }),
      });
      this.player.mute(this.hasAttribute("muted"));
      this.player.connect();
    });
  }

  /** @param {import("./frames.js").Header} header */
  _event(header) {
    if (header.event === "turn.interrupted") this.caption.textContent = "";
    this._tell("event", header);
  }

  /** @param {import("./frames.js").Header} header */
  _reached(header) {
    if (this.hasAttribute("captions")) {
      if (header.event === "sentence") this.caption.textContent = header.data.text;
      if (header.event === "speech.ended") this.caption.textContent = "";
    }
    this._tell("mediatime", header);
  }

  /** @param {string} state @param {Record<string, any>} detail */
  _state(state, detail) {
    if (state === "ended") this.caption.textContent = this.texts.ended;
    if (state === "failed") this.caption.textContent = detail.message;
    this._tell("state", { state, ...detail });
  }

  _unlock() {
    this.soundButton.hidden = true;
    this.player?.unlock();
  }

  async _talk() {
    if (this.microphone.stream) {
      this.microphone.stop();
      return;
    }
    this._unlock();
    try {
      await this.microphone.start();
    } catch (error) {
      this._tell("notice", error);
      this.caption.textContent = /** @type {Error} */ (error).message;
    }
  }

  /** @param {string} text @param {() => void} action */
  _button(text, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", action);
    return button;
  }

  /** @param {string} name @param {any} detail */
  _tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`musecast-${name}`, { detail }));
  }
}

customElements.define("musecast-player", MusecastPlayer);
