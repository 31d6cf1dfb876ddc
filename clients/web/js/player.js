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
 * - `onEvent(header)`: every event as it arrives (`header.event`, `.turn`, `.n`, `.pts`, `.data`), once and in order.
 * - `onMediaTime(header)`: an event with a `pts` (sentence, speech.started, speech.ended, ...) when the play head
 *   reaches it. Events that a cut made void never come.
 * - `onState(state, detail)`: "connecting", "live", "reconnecting" (`detail.again_ms`), "ended" (session over or
 *   unknown: `detail.code` 1000 or 4404), "refused" (1008), "failed" (cannot be played: `detail.message`), "closed".
 * - `onNotice(code, detail)`: "blocked" (no sound without a click), "skipped" (`from_seq`, `to_seq`), "stalled",
 *   "microphone-dropped" (network too slow), "rebuilt".
 * - `onStats(stats)`: about twice a second while media comes: see `Stats`.
 *
 * Methods: `connect(changes?)` (also to go on with another session: `{url, token, fromSeq, fromN}`), `close()`,
 * `unlock()`, `request(op, args)` -> Promise of the reply (rejects with `RequestError`: `.code`, `.message`,
 * `.retry_after_ms`), `sendMicrophone(int16, sampleRate = 16000)`, `endOfSpeech()`, `mute(bool)`, `interrupt()`,
 * `currentPts()` -> microseconds on the media timeline, or null before the first picture.
 */

import { MediaBuffer, unplayable } from "./buffer.js";
import { CatchUp, Clock, NUDGE_US, OFFSET_US, Stall, newestTurn } from "./catchup.js";
import { Cuts, DECODED_AHEAD_US, seeks } from "./cut.js";
import { Moments } from "./moments.js";
import { Cursor, HIDDEN_MS, STALE_MS } from "./reconnect.js";
import { Socket } from "./socket.js";
import { Volume } from "./volume.js";

/** @typedef {import("./frames.js").Header} Header */
/** @typedef {import("./cut.js").Held} Held */

/**
 * @typedef {object} Options
 * @property {string} url
 * @property {import("./socket.js").Token} [token]
 * @property {number} [fromSeq]
 * @property {number} [fromN]
 * @property {(header: Header) => void} [onEvent]
 * @property {(header: Header) => void} [onMediaTime]
 * @property {(state: string, detail: Record<string, any>) => void} [onState]
 * @property {(code: string, detail: Record<string, any>) => void} [onNotice]
 * @property {(stats: Stats) => void} [onStats]
 */

/**
 * @typedef {object} Stats
 * @property {number} buffered_ms what is there ahead of the play head
 * @property {number} lag_ms the session's clock less the play head
 * @property {number} rate
 * @property {number} frames shown and dropped so far, by the browser's own count
 * @property {number} dropped
 * @property {number} gen
 * @property {number | null} seq of the segment that is shown
 */

const LOOK_MS = 250;
/** So much of a buffered range at its end is not shown any more: the browser waits from there on. */
const REST_S = 0.1;
/** A second broken buffer within this time is not the network's fault. */
const REBUILD_MS = 10_000;
/** What a resumed connection sends at once has come by then. */
const RESUME_MS = 300;
const SAFARI = /^((?!chrome|android).)*safari/i;
const TERMINAL = ["turn.ended", "turn.interrupted", "turn.failed"];
const nothing = () => {};

/** @returns {number} monotonic microseconds */
const clock = () => performance.now() * 1000;

export class Player {
  /** @param {HTMLVideoElement} video @param {Options} options */
  constructor(video, options) {
    this.video = video;
    this.options = options;
    this.tell = {
      event: options.onEvent ?? nothing,
      mediaTime: options.onMediaTime ?? nothing,
      state: options.onState ?? nothing,
      notice: options.onNotice ?? nothing,
      stats: options.onStats ?? nothing,
    };
    const agent = navigator.userAgent;
    this.decodedAhead = /firefox/i.test(agent) ? DECODED_AHEAD_US.firefox : DECODED_AHEAD_US.chromium;
    this.changesRate = !SAFARI.test(agent);
    this.volume = new Volume(video);
    this.moments = new Moments();
    /** @type {Socket | null} */
    this.socket = null;
    /** @type {MediaBuffer | null} */
    this.buffer = null;
    this.rebuiltAt = -Infinity;
    this._forget();
    video.playsInline = true;
    /** @type {[EventTarget, string, () => void][]} */
    this.listeners = [
      [video, "timeupdate", () => this._reach()],
      [video, "seeked", () => this._reach()],
      [video, "waiting", () => this._waiting()],
      [video, "playing", () => this._reach()],
      [video, "error", () => video.error && this._broken(video.error.message)],
      [document, "visibilitychange", () => this._visibility()],
    ];
  }

  /** @param {Partial<Options>} [changes] another session, for instance after "ended" */
  connect(changes = {}) {
    if (this.socket) this._stop();
    if (changes.url) this.options = { ...this.options, fromSeq: undefined, fromN: undefined };
    this.options = { ...this.options, ...changes };
    this._forget();
    this.cursor = new Cursor(this.options);
    for (const [target, name, listener] of this.listeners) target.addEventListener(name, listener);
    this.timer = setInterval(() => this._look(), LOOK_MS);
    const owner = {
      query: () => this.cursor.query(this.wantsMedia),
      onMessage: (/** @type {Header} */ header, /** @type {Uint8Array<ArrayBuffer>} */ payload) =>
        this._message(header, payload),
      onState: (/** @type {string} */ state, /** @type {Record<string, any>} */ detail) => this._state(state, detail),
    };
    this.tell.state("connecting", {});
    this.socket = new Socket(this.options.url, this.options.token, owner);
    this.socket.open();
  }

  close() {
    if (!this.socket) return;
    this._stop();
    this.video.removeAttribute("src");
    this.video.load();
    this.tell.state("closed", {});
  }

  /** Sound from here on; to be called in the handler of a click or a key. */
  async unlock() {
    this.volume.locked = false;
    this.volume.apply();
    await this._play();
  }

  /** @param {string} op @param {object} [args] @returns {Promise<any>} */
  request(op, args) {
    if (!this.socket) return Promise.reject(new Error("the player is not connected"));
    return this.socket.request(op, args);
  }

  /** @param {Int16Array} pcm @param {number} [sampleRate] */
  sendMicrophone(pcm, sampleRate) {
    const sent = this.socket?.microphone(pcm, sampleRate) ?? false;
    if (!sent && this.live) this.tell.notice("microphone-dropped", { samples: pcm.length });
    return sent;
  }

  /** The user let go of the button: what was said is complete. */
  endOfSpeech() {
    return this.request("audio", { pcm: "", sample_rate: this.socket?.rate, end: true });
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.volume.muted = muted;
    this.volume.apply();
  }

  /** Silent at once, before the daemon has answered. @returns {Promise<any>} the reply */
  async interrupt() {
    this.volume.fade();
    try {
      const reply = await this.request("interrupt");
      if (reply.turn === null) this._audible();
      else this._cut(this.cuts.interrupted({ flushFrom: reply.flush_from, gen: reply.gen }));
      return reply;
    } catch (error) {
      this._audible();
      throw error;
    }
  }

  /** @returns {number | null} microseconds on the media timeline */
  currentPts() {
    return this.started ? Math.round(this.video.currentTime * 1e6) : null;
  }

  // --- the connection ---

  _stop() {
    for (const [target, name, listener] of this.listeners) target.removeEventListener(name, listener);
    for (const timer of [this.timer, this.hidden, this.resuming, this.due]) clearTimeout(timer);
    this.socket?.close();
    this.socket = null;
    this.buffer?.close();
    this.buffer = null;
    this.moments = new Moments();
    this.volume.restore();
  }

  /** Nothing of the media that was is held any more. */
  _forget() {
    this.cuts = new Cuts();
    this.clock = new Clock();
    this.catchUp = new CatchUp({ changesRate: this.changesRate });
    this.stall = new Stall();
    this.started = false;
    this.wantsMedia = true;
    this.live = false;
    /** @type {number | null} */
    this.lostAt = null;
    this.turn = 0;
  }

  /** @param {string} state @param {Record<string, any>} detail */
  _state(state, detail) {
    this.live = state === "live";
    if (state === "reconnecting") {
      this.lostAt ??= performance.now();
      this.wantsMedia = this.turn > 0 || performance.now() - this.lostAt < STALE_MS;
    } else if (this.live && this.lostAt !== null) {
      if (performance.now() - this.lostAt > STALE_MS) this._skipStale();
      this.lostAt = null;
    }
    this.tell.state(state, detail);
  }

  /** After a time away: on with the newest turn, once it is told which that is. */
  _skipStale() {
    clearTimeout(this.resuming);
    this.resuming = setTimeout(() => {
      const to = newestTurn(this.cuts.held, this.currentPts() ?? 0);
      if (to !== null) this._seek(to);
    }, RESUME_MS);
  }

  _visibility() {
    clearTimeout(this.hidden);
    if (document.visibilityState === "hidden") {
      this.hidden = setTimeout(() => this._letGo(), HIDDEN_MS);
    } else if (this.parked) {
      this.parked = false;
      this.socket?.open();
    } else {
      this._play();
      this._look();
    }
  }

  /** Nobody looks, nothing is said: the gateway need not send. */
  _letGo() {
    if (this.turn) {
      this.hidden = setTimeout(() => this._letGo(), HIDDEN_MS);
      return;
    }
    this.parked = true;
    this.wantsMedia = false;
    this.lostAt = performance.now();
    this.socket?.park();
  }

  // --- messages ---

  /** @param {Header} header @param {Uint8Array<ArrayBuffer>} payload */
  _message(header, payload) {
    if (header.event === "gateway.skipped") this.tell.notice("skipped", header.data ?? header);
    else if (!this.cursor.take(header)) return;
    else if (header.event) this._event(header);
    else if (header.kind === "init") this._init(header, payload);
    else if (header.kind === "media") this._media(header, payload);
  }

  /** @param {Header} header */
  _event(header) {
    if (header.event === "turn.started") this.turn = header.turn ?? 0;
    if (TERMINAL.includes(header.event ?? "") && header.turn === this.turn) this.turn = 0;
    if (header.event === "turn.interrupted") {
      const { flush_from: flushFrom, reason } = header.data;
      this._cut(this.cuts.interrupted({ flushFrom, reason, turn: header.turn }));
    }
    this.tell.event(header);
    if (typeof header.pts === "number") {
      this.moments.add(header.pts, () => this.tell.mediaTime(header));
      this._reach();
    }
  }

  /** @param {Header} header @param {Uint8Array<ArrayBuffer>} payload */
  _init(header, payload) {
    const mime = header.mime ?? "";
    if (this.buffer) return;
    const why = unplayable(mime);
    if (why) {
      this._fail(why);
      return;
    }
    this.buffer = new MediaBuffer(this.video, mime, (reason) => this._broken(reason));
    this.buffer.append(payload);
    this._play();
  }

  /** @param {Header} header @param {Uint8Array<ArrayBuffer>} payload */
  _media(header, payload) {
    const one = /** @type {Held} */ (header);
    const { valid, cut } = this.cuts.media(one);
    this._cut(cut);
    if (!valid) return;
    this.clock.arrived(one, clock());
    const lands = this.cuts.landed();
    this.buffer?.append(payload, one.seq, () => this._appended(one, lands));
  }

  /** @param {Held} one @param {number | null} lands the cut that it lies behind */
  _appended(one, lands) {
    const now = Math.round(this.video.currentTime * 1e6);
    if (!this.started) {
      this.started = true;
      if (now < one.pts || now >= one.pts + one.dur) this._seek(one.pts);
    } else if (lands !== null) {
      this._land(lands, now);
    } else {
      this._overHole();
    }
    this.cuts.forget(now - 12e6);
    this.buffer?.evict();
    this._reach();
  }

  // --- cuts ---

  /** @param {number | null} from */
  _cut(from) {
    if (from === null) return;
    this.volume.fade();
    this.moments.drop(from);
    this.clock.cut(from);
    this.catchUp.cut(clock());
    this.video.playbackRate = 1;
    this.buffer?.cut(from / 1e6);
  }

  /** The new generation is in the buffer. @param {number} from @param {number} now */
  _land(from, now) {
    const playing = !this.video.paused && this.video.readyState > HTMLMediaElement.HAVE_CURRENT_DATA;
    if (seeks(now, from, playing, this.decodedAhead)) this._seek(from);
    // Muted until then: what is before it was cut.
    this.moments.add(from, () => this._audible());
  }

  _audible() {
    if (this.cuts.pending === null) this.volume.restore();
  }

  // --- the play head ---

  /** @param {number} pts */
  _seek(pts) {
    this.stall.reset();
    this.video.currentTime = pts / 1e6;
  }

  async _play() {
    try {
      await this.video.play();
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "NotAllowedError") return; // another load came in between
      if (!this.volume.locked) this.tell.notice("blocked", {});
      this.volume.locked = true;
      this.volume.apply();
      this.video.play().catch(nothing);
    }
  }

  /** What the play head has reached, happens; and it is seen to that the next is not missed. */
  _reach() {
    if (!this.started) return;
    const video = this.video;
    if (!video.seeking) this.moments.reach(this._atEnd() ? this.clock.end : video.currentTime * 1e6);
    clearTimeout(this.due);
    const next = this.moments.next();
    if (next === null || video.paused || video.seeking) return;
    const ms = (next / 1000 - video.currentTime * 1000) / video.playbackRate;
    if (ms < LOOK_MS) this.due = setTimeout(() => this._reach(), Math.max(4, ms));
  }

  /** It waits at the end of all there is, a little before it. */
  _atEnd() {
    const last = this.buffer?.ranges.at(-1);
    return !!last && this.video.readyState <= HTMLMediaElement.HAVE_CURRENT_DATA && !this.video.seeking
      && Math.abs(last[1] - this.clock.end / 1e6) < REST_S && this.video.currentTime > last[1] - REST_S;
  }

  _waiting() {
    this._overHole();
    this._reach();
  }

  /** Media that was dropped leaves a hole that nobody fills. */
  _overHole() {
    const now = this.video.currentTime;
    if (this.video.seeking || this.video.readyState > HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const ranges = this.buffer?.ranges ?? [];
    if (ranges.some(([start, end]) => start <= now && now < end - REST_S)) return;
    const next = ranges.find(([start]) => start > now);
    if (next) this._seek(Math.round(next[0] * 1e6));
  }

  /** Regularly: keeps up, notices a stall, tells how it is. */
  _look() {
    const position = this.currentPts();
    const time = this.clock.time(clock());
    if (position === null || time === null || !this.buffer) return;
    const video = this.video;
    const shown = this.cuts.at(position);
    const range = this.buffer.ranges.find(([start, end]) => start <= video.currentTime && video.currentTime <= end);
    const ahead = range ? range[1] * 1e6 - position : 0;
    const lag = time - position;
    this._reach();
    const visible = document.visibilityState === "visible";
    const { rate, seek } = this.catchUp.next({ lag, idle: (shown?.turn ?? this.turn) === 0, now: clock() });
    if (video.playbackRate !== rate) video.playbackRate = rate;
    if (seek && visible) this._seek(Math.max(position, time - OFFSET_US));
    const running = visible && !video.paused;
    const what = this.stall.look({ position, ahead, running, now: clock() });
    if (what === "nudge") video.currentTime += NUDGE_US / 1e6;
    if (what === "rebuild") this._rebuild();
    if (what !== "none") this.tell.notice("stalled", { what });
    const quality = video.getVideoPlaybackQuality?.();
    this.tell.stats({
      buffered_ms: Math.round(ahead / 1000),
      lag_ms: Math.round(lag / 1000),
      rate,
      frames: quality?.totalVideoFrames ?? 0,
      dropped: quality?.droppedVideoFrames ?? 0,
      gen: this.cuts.gen,
      seq: shown?.seq ?? null,
    });
  }

  // --- when the browser gives up ---

  /** @param {string} reason */
  _broken(reason) {
    if (performance.now() - this.rebuiltAt < REBUILD_MS) this._fail(reason);
    else this._rebuild();
  }

  /** A new MediaSource, and the media from the segment that was shown on. */
  _rebuild() {
    this.rebuiltAt = performance.now();
    const shown = this.cuts.at(this.currentPts() ?? 0) ?? this.cuts.held.at(-1);
    this.buffer?.close();
    this.buffer = null;
    const { turn } = this;
    this._forget();
    this.turn = turn;
    if (shown) this.cursor.seq = shown.seq;
    this.volume.restore();
    this.tell.notice("rebuilt", {});
    this.socket?.reopen();
  }

  /** @param {string} message */
  _fail(message) {
    this._stop();
    this.tell.state("failed", { message });
  }
}
