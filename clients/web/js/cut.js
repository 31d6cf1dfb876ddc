// @ts-check
/**
 * What a cut asks of the player (docs/protocol.md, `flush_from` and `gen`). Pure; times are microseconds.
 *
 * A browser has decoded some 200 to 500 ms ahead and shows that whatever is removed from its buffer. So a cut is:
 * silence at once; remove from `flush_from` on; hold the play head there until the new generation is appended; then seek
 * to `flush_from` where the play head is past it or so close before it that old picture would still be shown. Seeking
 * before its data is there would hang.
 */

/** A seek begins the new picture cleanly; without one a browser shows what it has already decoded. */
export const DECODED_AHEAD_US = { chromium: 250_000, firefox: 600_000 };

/** So long before the cut its last picture is held: a timer may be late. */
export const HOLD_US = 40_000;

/**
 * @typedef {object} Held one segment in the buffer or on its way there
 * @property {number} seq
 * @property {number} gen
 * @property {number} turn
 * @property {number} pts
 * @property {number} dur
 */

/** Which media is valid: what is held, what is void, where the next generation begins. */
export class Cuts {
  constructor() {
    /** @type {Held[]} in the order of `pts` */
    this.held = [];
    this.gen = -1;
    /** Media of older generations is void, also before any of the new one is here. */
    this.oldest = 0;
    /** @type {number | null} a cut that waits for the media behind it */
    this.pending = null;
  }

  /**
   * A reply of `interrupt` or an event `turn.interrupted`.
   *
   * @param {{flushFrom: number, gen?: number, turn?: number, reason?: string}} cut
   * @returns {number | null} remove what is held from here on, and be silent; null: this cut is none, or is history
   */
  interrupted({ flushFrom, gen, turn, reason }) {
    if (reason === "no_speech") return null;
    if (gen !== undefined) {
      if (gen <= this.gen || gen <= this.oldest) return null;
      this.oldest = gen;
    } else {
      // Read again after a reconnect: the media behind the cut is there already, and is of another turn.
      const behind = this.held.filter((one) => one.pts + one.dur > flushFrom);
      const first = this.held.find((one) => one.gen === this.gen);
      if (first && first.gen > 0 && flushFrom <= first.pts && behind.every((one) => one.turn !== turn)) return null;
    }
    return this._cut(flushFrom);
  }

  /**
   * @param {Held} one media that came
   * @returns {{valid: boolean, cut: number | null}} whether to append it, and what to remove before
   */
  media(one) {
    if (one.gen < this.gen || one.gen < this.oldest) return { valid: false, cut: null };
    let cut = null;
    if (one.gen > this.gen) {
      // Its first media says best where the cut is.
      if (this.gen >= 0 && (this.pending === null || one.pts < this.pending)) cut = this._cut(one.pts);
      if (this.pending !== null) this.pending = one.pts;
      this.gen = one.gen;
      this.oldest = Math.max(this.oldest, one.gen);
    }
    this.held.push({ seq: one.seq, gen: one.gen, turn: one.turn, pts: one.pts, dur: one.dur });
    return { valid: true, cut };
  }

  /** The media behind a cut is in the buffer. @returns {number | null} where the cut was */
  landed() {
    const at = this.pending;
    this.pending = null;
    return at;
  }

  /** What ended before is not asked for any more. @param {number} pts */
  forget(pts) {
    while (this.held.length && this.held[0].pts + this.held[0].dur < pts) this.held.shift();
  }

  /** @param {number} pts @returns {Held | undefined} the segment at this time */
  at(pts) {
    return this.held.find((one) => one.pts <= pts && pts < one.pts + one.dur);
  }

  /** @param {number} from */
  _cut(from) {
    this.held = this.held.filter((one) => one.pts < from);
    this.pending = from;
    return from;
  }
}

/**
 * Whether the play head is to stand still: what the browser has decoded of the media behind the cut is not to be seen.
 *
 * @param {number} now the play head
 * @param {number | null} cut whose new media is not in the buffer yet
 * @param {boolean} atEnd it waits at the end of all there is
 */
export function holds(now, cut, atEnd) {
  return cut !== null && (atEnd || now >= cut - HOLD_US);
}

/**
 * Whether the new generation, now in the buffer, is to be begun by a seek.
 *
 * @param {number} now the play head
 * @param {number} flushFrom
 * @param {boolean} playing false: it is paused, so nothing more is decoded. One that waits at the cut plays: it would go
 *   on by the clock, and leave out the first pictures where its sound comes late
 * @param {number} decodedAhead
 */
export function seeks(now, flushFrom, playing, decodedAhead) {
  return now > flushFrom || (playing && flushFrom - now < decodedAhead);
}
