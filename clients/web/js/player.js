// @ts-check
/**
 * Plays a session in a `<video>`: Media Source Extensions fed by the gateway's WebSocket.
 *
 *     const player = new Player(video, {url: "/ws/SID", token, fromSeq: 0, fromN: 0, onEvent, onMediaTime, ...});
 *     player.connect();                      // may be called before any click: it begins muted
 *     await player.unlock();                 // in the handler of a click: sound from here on
 *     await player.request("chat", {text});  // any operation that the socket's scope allows
 *
 * Options (all but `url` may be absent):
 * - `url`: of `/ws/{sid}`, absolute or relative to the page; http(s) becomes ws(s).
 * - `token`: string, or a function that returns one or a promise of one (asked before every connection).
 * - `fromSeq`, `fromN`: 0 for a session that was just started: media and events from its beginning on.
 * - `limits`: of the reply to `start_session`; matters where the daemon's `timeline.lead_ms` is not the default.
 * - `onEvent(header)`: every event as it arrives (`header.event`, `.turn`, `.n`, `.pts`, `.data`), once and in order.
 * - `onMediaTime(header)`: an event with a `pts`, its own (speech.started, speech.ended) or in its data (sentence),
 *   when the play head reaches it. Events that a cut made void never come.
 * - `onState(state, detail)`: "connecting", "live", "reconnecting" (`detail.again_ms`), "ended" (session over or
 *   unknown: `detail.code` 1000 or 4404), "refused" (1008), "failed" (cannot be played: `detail.message`), "closed".
 * - `onNotice(code, detail)`: "blocked" (no sound without a click), "skipped" (`from_seq`, `to_seq`), "stalled",
 *   "microphone-dropped" (network too slow), "rebuilt".
 * - `onStats(stats)`: about twice a second while media comes: see `Stats`.
 *
 * Methods: `connect(changes?)` (also to go on with another session: `{url, token, fromSeq, fromN, limits}`), `close()`,
 * `unlock()`, `request(op, args)` -> Promise of the reply (rejects with `RequestError`: `.code`, `.message`,
 * `.retry_after_ms`), `sendMicrophone(int16, sampleRate = 16000)`, `endOfSpeech()`, `mute(bool)`, `interrupt()`,
 * `currentPts()` -> microseconds on the media timeline, or null before the first picture.
 */

import { unplayable } from "./buffer.js";
import { leadOf } from "./catchup.js";
import { PlayHead } from "./playhead.js";
import { Cursor, HIDDEN_MS, STALE_MS } from "./reconnect.js";
import { Socket } from "./socket.js";

/** @typedef {import("./frames.js").Header} Header */
/** @typedef {import("./cut.js").Held} Held */
/** @typedef {import("./playhead.js").Stats} Stats */
/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/**
 * @typedef {object} Options
 * @property {string} url
 * @property {import("./socket.js").Token} [token]
 * @property {number} [fromSeq]
 * @property {number} [fromN]
 * @property {import("./catchup.js").Limits} [limits]
 * @property {(header: Header) => void} [onEvent]
 * @property {(header: Header) => void} [onMediaTime]
 * @property {(state: string, detail: Record<string, any>) => void} [onState]
 * @property {(code: string, detail: Record<string, any>) => void} [onNotice]
 * @property {(stats: Stats) => void} [onStats]
 */

const LOOK_MS = 250;
/** Every second look tells how it is. */
const STATS = 2;
/** A second broken buffer within this time is not the network's fault. */
const REBUILD_MS = 10_000;
/** A browser that allows no sound says so within this time. */
const REFUSED_MS = 300;
/** What a resumed connection sends at once has come by then. */
const RESUME_MS = 300;
/** Errors of a request that may go well the next time. */
const PASSING = ["BUSY", "NOT_READY"];
const TERMINAL = ["turn.ended", "turn.interrupted", "turn.failed"];

const hidden = () => document.visibilityState === "hidden";

export class Player {
  /** @type {Socket | null} */
  socket = null;
  cursor = new Cursor();
  /** The turn that runs; 0: none. */
  turn = 0;
  live = false;
  /** Connected for events alone, or not at all: since when, in ms. @type {number | null} */
  lostAt = null;
  wantsMedia = true;
  parked = false;
  brokenWhileHidden = false;
  rebuiltAt = -Infinity;
  looks = 0;
  /** The daemon takes a word on where the play head is; a token that only watches may not give it. */
  mayTell = true;

  /** @param {HTMLVideoElement} video @param {Options} options */
  constructor(video, options) {
    this.video = video;
    this.options = options;
    this.head = new PlayHead(video, (reason) => this._broken(reason));
    this.seen = () => this._visibility();
    video.playsInline = true;
  }

  /**
   * @param {Partial<Options>} [changes] another session, for instance after "ended"
   * @param {Live} [begun] its connection, and what is shown of it already
   */
  connect(changes = {}, begun) {
    if (this.socket) this._stop();
    if (changes.url) this.options = { ...this.options, fromSeq: undefined, fromN: undefined, limits: undefined };
    this.options = { ...this.options, ...changes };
    this.cursor = new Cursor(this.options);
    this.head.lead = leadOf(this.options.limits);
    this.turn = 0;
    this.lostAt = null;
    this.mayTell = true;
    this.wantsMedia = true;
    document.addEventListener("visibilitychange", this.seen);
    this.timer = setInterval(() => this._look(), LOOK_MS);
    this._tell("connecting", {});
    this.socket = new Socket(this.options.url, this.options.token, {
      query: () => this.cursor.query(this.wantsMedia),
      onMessage: (header, payload) => this._message(header, payload),
      onState: (state, detail) => this._state(state, detail),
    }, begun);
    this.head.begun = begun ?? null;
    this.socket.open();
    this.head.begun = null;
  }

  close() {
    if (!this.socket) return;
    this._stop();
    this.video.removeAttribute("src");
    this.video.load();
    this._tell("closed", {});
  }

  /** Sound from here on; to be called in the handler of a click or a key. */
  async unlock() {
    this.head.volume.unlock();
    // A refusal comes at once; what else there is to wait for is the first picture.
    await Promise.race([this._play(), new Promise((done) => setTimeout(done, REFUSED_MS))]);
  }

  /** @param {string} op @param {object} [args] @returns {Promise<any>} */
  request(op, args) {
    return this.socket?.request(op, args) ?? Promise.reject(new Error("the player is not connected: connect() first"));
  }

  /**
   * @param {Int16Array} pcm
   * @param {number} [sampleRate]
   * @param {boolean} [echoCancelled] what the page plays is not in it
   * @returns {boolean} false: it could not be sent
   */
  sendMicrophone(pcm, sampleRate, echoCancelled) {
    const sent = this.socket?.microphone(pcm, sampleRate, echoCancelled) ?? false;
    if (!sent && this.live) this.options.onNotice?.("microphone-dropped", { samples: pcm.length });
    return sent;
  }

  /** The user let go of the button: what was said is complete. */
  endOfSpeech() {
    return this.request("audio", { pcm: "", sample_rate: this.socket?.rate, end: true });
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.head.volume.mute(muted);
  }

  /** Nothing is heard, by the visitor's wish or the browser's; an interruption's short silence does not count. */
  get silent() {
    return this.head.volume.locked || this.head.volume.muted;
  }

  /** Silent at once, before the daemon has answered. @returns {Promise<any>} the reply */
  async interrupt() {
    this.head.volume.fade();
    this._played();
    try {
      const reply = await this.request("interrupt");
      if (reply.turn === null) this.head.spared();
      else this.head.interrupted({ flushFrom: reply.flush_from, gen: reply.gen });
      return reply;
    } catch (error) {
      this.head.spared();
      throw error;
    }
  }

  /** @returns {number | null} microseconds on the media timeline */
  currentPts() {
    return this.head.position;
  }

  _stop() {
    document.removeEventListener("visibilitychange", this.seen);
    for (const timer of [this.timer, this.hiding, this.resuming]) clearTimeout(timer);
    this.socket?.close();
    this.socket = null;
    this.live = false;
    this.head.detach();
    this.head.moments.drop(-Infinity);
  }

  // --- the connection ---

  /** @param {string} state @param {Record<string, any>} detail */
  _state(state, detail) {
    this.live = state === "live";
    if (state === "reconnecting") {
      this.lostAt ??= performance.now();
      this.wantsMedia = this.turn > 0 || performance.now() - this.lostAt < STALE_MS;
    } else if (this.live && this.lostAt !== null) {
      if (performance.now() - this.lostAt > STALE_MS) {
        clearTimeout(this.resuming);
        this.resuming = setTimeout(() => this.head.skipStale(), RESUME_MS);
      }
      this.lostAt = null;
      this.wantsMedia = true;
    }
    this._tell(state, detail);
  }

  /** @param {string} state @param {Record<string, any>} detail */
  _tell(state, detail) {
    this.options.onState?.(state, detail);
  }

  _visibility() {
    clearTimeout(this.hiding);
    if (hidden()) {
      this.hiding = setTimeout(() => this._letGo(), HIDDEN_MS);
    } else if (this.parked) {
      this.parked = false;
      this.socket?.open();
    } else if (this.brokenWhileHidden) {
      this._rebuild();
    } else {
      this._play();
      this._look();
    }
  }

  /** Nobody looks, nothing is said: the gateway need not send. */
  _letGo() {
    if (this.turn) {
      this.hiding = setTimeout(() => this._letGo(), HIDDEN_MS);
      return;
    }
    this.parked = true;
    this.wantsMedia = false;
    this.lostAt = performance.now();
    this.socket?.park();
  }

  // --- messages ---

  /** @param {Header} header @param {Bytes} payload */
  _message(header, payload) {
    if (header.event === "gateway.skipped") this.options.onNotice?.("skipped", header.data ?? header);
    else if (!this.cursor.take(header)) return;
    else if (header.event) this._event(header);
    else if (header.kind === "init") this._init(header.mime ?? "", payload);
    else if (header.kind === "media") this.head.media(/** @type {Held} */ (header), payload);
  }

  /** @param {Header} header */
  _event(header) {
    if (header.event === "turn.started") this.turn = header.turn ?? 0;
    if (TERMINAL.includes(header.event ?? "") && header.turn === this.turn) this.turn = 0;
    if (header.event === "turn.interrupted") {
      const { flush_from: flushFrom, reason } = header.data;
      this.head.interrupted({ flushFrom, reason, turn: header.turn });
    }
    this.options.onEvent?.(header);
    const pts = header.pts ?? header.data?.pts;
    if (typeof pts === "number") this.head.at(pts, () => this.options.onMediaTime?.(header));
  }

  /** @param {string} mime @param {Bytes} init */
  _init(mime, init) {
    if (this.head.buffer) return; // it is the same for the life of a session
    const why = unplayable(mime);
    if (why) {
      this._fail(why);
      return;
    }
    this.head.attach(mime, init);
    this._play();
  }

  // --- the picture ---

  async _play() {
    const { volume } = this.head;
    try {
      await this.video.play();
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "NotAllowedError") return; // another load came in between
      if (!volume.locked) this.options.onNotice?.("blocked", {});
      volume.lock();
      this.video.play().catch(() => {});
    }
  }

  _look() {
    const found = this.head.look({ visible: !hidden(), turn: this.turn });
    if (!found) return;
    this._played();
    this.looks += 1;
    if (this.looks % STATS === 0) this.options.onStats?.(found.stats);
    if (found.stalled !== "none") this.options.onNotice?.("stalled", { what: found.stalled });
    if (found.stalled === "rebuild") this._rebuild();
  }

  /** Of an answer that is cut, the conversation keeps what was heard: the daemon is told how far that is. */
  _played() {
    const pts = this.head.speaking ? this.currentPts() : null;
    if (pts === null || !this.live || !this.mayTell) return;
    this.request("played", { pts }).catch((error) => {
      if (!PASSING.includes(error.code)) this.mayTell = false;
    });
  }

  /** @param {string} reason */
  _broken(reason) {
    // An iPhone takes the media from a page that nobody sees, as often as it is given.
    if (hidden()) this.brokenWhileHidden = true;
    else if (performance.now() - this.rebuiltAt < REBUILD_MS) this._fail(reason);
    else this._rebuild();
  }

  /** A new source, and the media from the segment that was shown on. */
  _rebuild() {
    this.rebuiltAt = performance.now();
    this.brokenWhileHidden = false;
    const { shown } = this.head;
    this.head.detach();
    if (shown !== undefined) this.cursor.seq = shown;
    this.options.onNotice?.("rebuilt", {});
    this.socket?.reopen();
  }

  /** @param {string} message */
  _fail(message) {
    this._stop();
    this._tell("failed", { message });
  }
}
