// @ts-check
/** What is to happen when the play head reaches a media time. Pure; microseconds. */

/** @typedef {{pts: number, run: () => void}} Moment */

export class Moments {
  constructor() {
    /** @type {Moment[]} by time, then by arrival */
    this.waiting = [];
  }

  /** @param {number} pts @param {() => void} run */
  add(pts, run) {
    const one = { pts, run };
    let at = this.waiting.length;
    while (at && this.waiting[at - 1].pts > pts) at -= 1;
    this.waiting.splice(at, 0, one);
  }

  /** A cut makes void what was to come. @param {number} from */
  drop(from) {
    this.waiting = this.waiting.filter((one) => one.pts < from);
  }

  /** Everything that is due. @param {number} position */
  reach(position) {
    while (this.waiting.length && this.waiting[0].pts <= position) this.waiting.shift()?.run();
  }

  /** @returns {number | null} when the next one is due */
  next() {
    return this.waiting.length ? this.waiting[0].pts : null;
  }
}
