// @ts-check
/** Keeping up with the session: its clock as seen from here, rate and seeks, stalls. Pure; microseconds. */

/** How far behind the session's clock the play head is meant to be. */
export const OFFSET_US = 120_000;
/** Speech is the content: no faster, and nothing of it is skipped. */
const FASTER = 1.05;
const SLOWER = 0.9;
const LATE_US = 400_000;
const SEEK_US = 1_500_000;
const EARLY_US = -20_000;
const SEEK_PAUSE_US = 5_000_000;
const BEGIN_US = 3_000_000;
/** After a cut nobody is to hear a changed rate. */
const CALM_US = 1_000_000;
/** How far ahead of its clock a session publishes at most. @typedef {{speech: number, idle: number}} Lead */
/** As `limits` of `start_session` says it. @typedef {{lead_ms?: number, idle_lead_ms?: number}} Limits */

/** @param {Limits} [limits] none: those of a daemon in which nobody has changed them @returns {Lead} */
export const leadOf = ({ lead_ms = 1000, idle_lead_ms = 640 } = {}) => ({ speech: lead_ms * 1000, idle: idle_lead_ms * 1000 });

/** The session's media clock, told from what arrives (docs/protocol.md, Pacing). Never ahead of it. */
export class Clock {
  /** @param {Lead} [lead] */
  constructor(lead = leadOf()) {
    this.lead = lead;
    /** @type {{pts: number, at: number} | null} */
    this.anchor = null;
    this.end = 0;
    this.idles = false;
  }

  /** @param {import("./cut.js").Held} one a segment that has come @param {number} now */
  arrived(one, now) {
    this.idles ||= one.turn === 0;
    const led = one.pts - (this.idles ? this.lead.idle : this.lead.speech);
    if (!this.anchor) {
      this.anchor = { pts: one.seq === 0 ? one.pts : led, at: now };
    } else if (this._running(now) >= one.pts) {
      this.anchor = { pts: one.pts, at: now };
    } else if (led > this._running(now)) {
      this.anchor = { pts: led, at: now };
    }
    this.end = one.pts + one.dur;
  }

  /** @param {number} flushFrom */
  cut(flushFrom) {
    this.end = Math.min(this.end, flushFrom);
  }

  /** @param {number} now @returns {number | null} null before anything came */
  time(now) {
    return this.anchor && Math.min(this._running(now), this.end);
  }

  /** @param {number} now */
  _running(now) {
    return this.anchor ? this.anchor.pts + now - this.anchor.at : -Infinity;
  }
}

/** How the play head gets back to where it is meant to be. */
export class CatchUp {
  /** @param {{changesRate: boolean}} browser false: a changed rate makes it buffer anew (Safari) */
  constructor({ changesRate }) {
    this.changesRate = changesRate;
    this.rate = 1;
    this.calmUntil = -Infinity;
    this.seekAgain = -Infinity;
    /** What a slow start has left behind is jumped over: to hurry after it would take half a minute. */
    this.begunAt = NaN;
  }

  /** @param {number} now */
  cut(now) {
    this.rate = 1;
    this.calmUntil = now + CALM_US;
  }

  /**
   * @param {{lag: number, idle: boolean, now: number}} state `lag`: the session's clock less the play head;
   *   `idle`: no turn is being shown
   * @returns {{rate: number, seek: boolean}} `seek`: to `OFFSET_US` behind the clock
   */
  next({ lag, idle, now }) {
    if (Number.isNaN(this.begunAt)) this.begunAt = now;
    const late = now - this.begunAt < BEGIN_US ? LATE_US : SEEK_US;
    if (idle && lag > late && now >= this.seekAgain) {
      this.seekAgain = now + SEEK_PAUSE_US;
      this.rate = 1;
      return { rate: 1, seek: true };
    }
    if (!this.changesRate || now < this.calmUntil) {
      this.rate = 1;
    } else if (lag > LATE_US || (this.rate > 1 && lag > OFFSET_US)) {
      this.rate = FASTER;
    } else if (idle && (lag < EARLY_US || (this.rate < 1 && lag < OFFSET_US))) {
      this.rate = SLOWER;
    } else {
      this.rate = 1;
    }
    return { rate: this.rate, seek: false };
  }
}

const STALL_US = 500_000;
/** A decoder that starts may take longer. */
const START_US = 2_000_000;
const STALL_AHEAD_US = 200_000;
/** By how much a play head that is stuck is moved. */
export const NUDGE_US = 50_000;
const NUDGES = 3;

/** A play head that does not move though it could. To wait at the end of what there is, is none. */
export class Stall {
  position = -1;
  since = 0;
  nudges = 0;
  moved = false;

  reset() {
    this.position = -1;
    this.since = 0;
    this.nudges = 0;
    this.moved = false;
  }

  /**
   * @param {{position: number, ahead: number, running: boolean, now: number}} state
   * @returns {"none" | "nudge" | "rebuild"}
   */
  look({ position, ahead, running, now }) {
    if (position !== this.position || !running || ahead < STALL_AHEAD_US) {
      if (this.position >= 0 && position > this.position) this.moved = true;
      if (ahead < STALL_AHEAD_US) this.moved = false; // it has run dry, and decoding begins anew
      if (running && position > this.position + 2 * NUDGE_US) this.nudges = 0;
      this.position = position;
      this.since = now;
      return "none";
    }
    if (now - this.since < (this.moved ? STALL_US : START_US)) return "none";
    this.since = now;
    this.nudges += 1;
    if (this.nudges <= NUDGES) return "nudge";
    this.nudges = 0;
    return "rebuild";
  }
}

/**
 * Where to go on after a time away: not with stale speech.
 *
 * @param {import("./cut.js").Held[]} held
 * @param {number} position
 * @returns {number | null} the beginning of the newest turn, where that is ahead; null: go on
 */
export function newestTurn(held, position) {
  const turn = Math.max(0, ...held.map((one) => one.turn));
  const first = turn ? held.find((one) => one.turn === turn) : held.at(-1);
  return first && first.pts > position ? first.pts : null;
}
