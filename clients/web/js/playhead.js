// @ts-check
/** What is in the browser's buffer and where its play head is: appends, cuts, keeping up, moments of media time. */

import { MediaBuffer } from "./buffer.js";
import { CatchUp, Clock, NUDGE_US, OFFSET_US, Stall, leadOf, newestTurn } from "./catchup.js";
import { Cuts, DECODED_AHEAD_US, HOLD_US, holds, seeks } from "./cut.js";
import { Moments } from "./moments.js";
import { Volume } from "./volume.js";

/** @typedef {import("./cut.js").Held} Held */

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

/** So much of a buffered range at its end is not shown any more: the browser waits from there on. */
const REST_S = 0.1;
/** Chromium cuts off fractions of microseconds, twice: some pictures' own times in seconds lead to the picture before. */
const EXACT_US = 2;
/** Held for a rebuild, behind the play head. */
const BEHIND_US = 12e6;
/** A moment that is nearer is waited for, a later one found by the next look. */
const SOON_MS = 300;
const SAFARI = /^((?!chrome|android).)*safari/i;

/** @returns {number} monotonic microseconds */
const clock = () => performance.now() * 1000;

export class PlayHead {
  /** @type {MediaBuffer | null} */
  buffer = null;
  moments = new Moments();
  cuts = new Cuts();
  /** Of the session; in force from the next `attach`. */
  lead = leadOf();
  clock = new Clock(this.lead);
  stall = new Stall();
  started = false;
  /** A cut whose media is not in the buffer yet: the picture goes no further. @type {number | null} */
  hold = null;
  /** What another has begun to show, while it is taken over. @type {Live | null} */
  begun = null;

  /** @param {HTMLVideoElement} video @param {(reason: string) => void} onBroken only `attach` helps */
  constructor(video, onBroken) {
    this.video = video;
    this.onBroken = onBroken;
    this.volume = new Volume(video);
    this.decodedAhead = /firefox/i.test(navigator.userAgent) ? DECODED_AHEAD_US.firefox : DECODED_AHEAD_US.chromium;
    this.catchUp = new CatchUp({ changesRate: !SAFARI.test(navigator.userAgent) });
    const reach = () => this.reach();
    /** @type {Record<string, () => void>} */
    this.listeners = {
      timeupdate: reach,
      seeked: reach,
      playing: reach,
      waiting: () => {
        this._overHole();
        this.reach();
      },
      error: () => video.error && this.onBroken(video.error.message),
    };
  }

  /** Begin with an empty buffer. @param {string} mime @param {Uint8Array<ArrayBuffer>} init */
  attach(mime, init) {
    this.detach();
    for (const [name, listener] of Object.entries(this.listeners)) this.video.addEventListener(name, listener);
    this.buffer = new MediaBuffer(this.video, mime, (reason) => this.onBroken(reason), this.begun);
    this.started = this.buffer.ranges.length > 0;
    this.buffer.append(init);
  }

  /** The picture stays until the next source has one. */
  detach() {
    for (const [name, listener] of Object.entries(this.listeners)) this.video.removeEventListener(name, listener);
    clearTimeout(this.due);
    this.buffer?.close();
    this.buffer = null;
    this.cuts = new Cuts();
    this.clock = new Clock(this.lead);
    this.stall = new Stall();
    this.started = false;
    this._release();
    this.volume.restore();
  }

  /** @returns {number | null} microseconds */
  get position() {
    return this.started ? Math.round(this.video.currentTime * 1e6) : null;
  }

  /** It stands before a cut, for want of the media behind it. */
  get holds() {
    return holds(this.video.currentTime * 1e6, this.hold, this._waitsAtEnd());
  }

  /** What is shown is of a turn. */
  get speaking() {
    return (this.cuts.at(this.position ?? -1)?.turn ?? 0) > 0;
  }

  /** @param {Held} one @param {Uint8Array<ArrayBuffer>} payload */
  media(one, payload) {
    const { valid, cut } = this.cuts.media(one);
    this._cut(cut);
    if (!valid) return;
    const came = this.begun?.messages.get(payload.buffer)?.at;
    this.clock.arrived(one, came === undefined ? clock() : came * 1000);
    const lands = this.cuts.landed();
    this.buffer?.append(payload, one.seq, () => this._appended(one, lands));
  }

  /** @param {{flushFrom: number, gen?: number, turn?: number, reason?: string}} cut of an event or a reply */
  interrupted(cut) {
    this._cut(this.cuts.interrupted(cut));
  }

  /** There was nothing to cut: heard again. */
  spared() {
    if (this.cuts.pending === null) this.volume.restore();
  }

  /** @param {number} pts @param {() => void} run when the play head is there */
  at(pts, run) {
    this.moments.add(pts, run);
    this.reach();
  }

  /** Not stale speech after a time away. */
  skipStale() {
    const to = newestTurn(this.cuts.held, this.position ?? 0);
    if (to !== null) this._seek(to);
  }

  /** What the play head has reached, happens; and it is seen to that the next is not missed. */
  reach() {
    clearTimeout(this.due);
    const { video } = this;
    if (!this.started || video.seeking) return;
    const stands = this.holds;
    if (stands) video.playbackRate = 0;
    else if (video.playbackRate === 0) video.playbackRate = 1;
    const end = stands ? this.hold : this._waitsAtEnd() ? this.clock.end : null;
    this.moments.reach(end ?? video.currentTime * 1e6);
    const next = Math.min(this.moments.next() ?? Infinity, (this.hold ?? Infinity) - HOLD_US);
    if (stands || video.paused) return;
    const ms = (next / 1000 - video.currentTime * 1000) / video.playbackRate;
    if (ms < SOON_MS) this.due = setTimeout(() => this.reach(), Math.max(4, ms));
  }

  /**
   * To be called regularly: keeps up with the session and notices a stall.
   *
   * @param {{visible: boolean, turn: number}} state `turn`: the one that runs, 0: none
   * @returns {{stats: Stats, stalled: "none" | "nudge" | "rebuild"} | null} null before the first picture
   */
  look({ visible, turn }) {
    const { video, position } = this;
    const time = this.clock.time(clock());
    if (position === null || time === null || !this.buffer) return null;
    this.reach();
    const shown = this.cuts.at(position);
    const range = this.buffer.ranges.find(([start, end]) => start <= video.currentTime && video.currentTime <= end);
    const ahead = range ? range[1] * 1e6 - position : 0;
    const lag = time - position;
    const { rate, seek } = this.catchUp.next({ lag, idle: (shown?.turn ?? turn) === 0, now: clock() });
    const stands = this.holds;
    if (!stands && video.playbackRate !== rate) video.playbackRate = rate;
    if (seek && visible && !stands) this._seek(time - OFFSET_US);
    const stalled = this.stall.look({ position, ahead, running: visible && !video.paused && !stands, now: clock() });
    if (stalled === "nudge") video.currentTime += NUDGE_US / 1e6;
    const quality = video.getVideoPlaybackQuality?.();
    const stats = {
      buffered_ms: Math.round(ahead / 1000),
      lag_ms: Math.round(lag / 1000),
      rate,
      frames: quality?.totalVideoFrames ?? 0,
      dropped: quality?.droppedVideoFrames ?? 0,
      gen: this.cuts.gen,
      seq: shown?.seq ?? null,
    };
    return { stats, stalled };
  }

  /** @returns {number | undefined} `seq` of what is shown, or was last */
  get shown() {
    return (this.cuts.at(this.position ?? 0) ?? this.cuts.held.at(-1))?.seq;
  }

  /** @param {Held} one @param {number | null} lands the cut that it lies behind */
  _appended(one, lands) {
    const now = Math.round(this.video.currentTime * 1e6);
    const first = !this.started;
    this.started = true;
    if (first && (now < one.pts || now >= one.pts + one.dur)) this._seek(one.pts);
    if (lands !== null) this._land(lands);
    else if (!first) this._overHole();
    this.cuts.forget(now - BEHIND_US);
    this.buffer?.evict();
    this.reach();
  }

  /** @param {number | null} from */
  _cut(from) {
    if (from === null) return;
    this.volume.fade();
    this.moments.drop(from);
    this.clock.cut(from);
    this.catchUp.cut(clock());
    this.hold = from;
    if (!this.holds) this.video.playbackRate = 1;
    this.buffer?.cut(from / 1e6);
    this.reach();
  }

  /** The new generation is in the buffer. @param {number} from */
  _land(from) {
    if (from < (this.hold ?? 0)) return; // cut again, further on, while it came
    if (seeks(this.video.currentTime * 1e6, from, !this.video.paused, this.decodedAhead)) {
      this.video.playbackRate = 0; // until the first picture is shown, which else may be left out
      this._seek(from);
    }
    this._release();
    // Muted until then: what is before it was cut.
    this.moments.add(from, () => this.spared());
  }

  /** The picture goes on; from another place once it is there (`seeked`). */
  _release() {
    this.hold = null;
    if (this.video.playbackRate === 0 && !this.video.seeking) this.video.playbackRate = 1;
  }

  /** @param {number} pts */
  _seek(pts) {
    this.stall.reset();
    this.video.currentTime = (pts + EXACT_US) / 1e6;
  }

  /** It waits at the end of all there is, a little before it. */
  _waitsAtEnd() {
    const { currentTime, readyState } = this.video;
    const end = this.buffer?.ranges.at(-1)?.[1];
    return end !== undefined && readyState <= HTMLMediaElement.HAVE_CURRENT_DATA && currentTime > end - REST_S
      && Math.abs(end - this.clock.end / 1e6) < REST_S;
  }

  /** Media that was dropped leaves a hole that nobody fills. */
  _overHole() {
    const { currentTime, readyState, seeking } = this.video;
    if (seeking || readyState > HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const ranges = this.buffer?.ranges ?? [];
    if (ranges.some(([start, end]) => start <= currentTime && currentTime < end - REST_S)) return;
    const next = ranges.find(([start]) => start > currentTime);
    if (next) this._seek(Math.round(next[0] * 1e6));
  }
}
