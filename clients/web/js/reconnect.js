// @ts-check
/** When to connect again, and from where on. Pure: times in ms are handed in. */

/** Away for longer, media of an earlier turn is stale and is not played any more. */
export const STALE_MS = 5000;
/** Hidden for so long without a turn, the page lets go of the socket. */
export const HIDDEN_MS = 60000;
const FIRST_MS = 250;
const LAST_MS = 8000;

export const REFUSED = 1008;
/** What ends a session for good, by close code. @type {Record<number, "ended" | "refused">} */
export const FINAL = { 1000: "ended", 4404: "ended", [REFUSED]: "refused" };

/**
 * @param {number} attempt from 0
 * @param {number} random 0 to 1
 * @returns {number} ms: 250, 500, 1000 ... 8000, each by up to 20 % longer or shorter
 */
export function delay(attempt, random) {
  return Math.round(Math.min(LAST_MS, FIRST_MS * 2 ** Math.min(attempt, 10)) * (0.8 + 0.4 * random));
}

/** What has been received, so that the next connection goes on behind it. */
export class Cursor {
  /** @param {{fromSeq?: number, fromN?: number}} from */
  constructor({ fromSeq, fromN } = {}) {
    /** @type {number | undefined} the next segment */
    this.seq = fromSeq;
    /** @type {number | undefined} the next event */
    this.n = fromN;
    this.boot = "";
  }

  /**
   * @param {import("./frames.js").Header} header
   * @returns {boolean} whether it is new: nothing is taken twice
   */
  take(header) {
    if (header.boot && header.boot !== this.boot) {
      // Another start of the daemon numbers anew.
      if (this.boot) this.seq = this.n = undefined;
      this.boot = header.boot;
    }
    const key = header.event ? "n" : "seq";
    const number = header[key];
    if (header.kind === "init" || number === undefined || number === null) return true;
    const expected = this[key];
    if (expected !== undefined && number < expected) return false;
    this[key] = number + 1;
    return true;
  }

  /**
   * @param {boolean} withMedia false: only what comes from now on
   * @returns {string} the query of the address
   */
  query(withMedia = true) {
    const parts = [];
    if (withMedia && this.seq !== undefined) parts.push(`from_seq=${this.seq}`);
    if (this.n !== undefined) parts.push(`from_n=${this.n}`);
    return parts.join("&");
  }
}
