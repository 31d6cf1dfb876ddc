// @ts-check
/** Whether the player is heard: the user's wish, the browser's permission, and a cut. */

const FADE_MS = 30;
const STEP_MS = 6;

export class Volume {
  /** Until a click browsers play only without sound. */
  locked = true;
  muted = false;
  cut = false;
  /** What the fade began with. @type {number | undefined} */
  level;

  /** @param {HTMLMediaElement} video */
  constructor(video) {
    this.video = video;
    this._apply();
  }

  lock() {
    this.locked = true;
    this._apply();
  }

  unlock() {
    this.locked = false;
    this._apply();
  }

  /** The user's wish. @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    this._apply();
  }

  _apply() {
    this.video.muted = this.locked || this.muted || this.cut;
  }

  /**
   * Silent within 30 ms, without a click; quieter before this returns. An iPhone's volume cannot be set: there it is
   * cut at the end. A hidden page's timers are late by a second, so there it is cut at once.
   */
  fade() {
    if (this.cut) return;
    this.cut = true;
    this.level ??= this.video.volume;
    const level = this.level;
    const began = performance.now() - STEP_MS;
    const step = () => {
      const left = document.visibilityState === "hidden" ? 0 : 1 - (performance.now() - began) / FADE_MS;
      this.video.volume = level * Math.max(0, left);
      if (left > 0) return;
      clearInterval(this.timer);
      this._apply();
    };
    clearInterval(this.timer);
    this.timer = setInterval(step, STEP_MS);
    step();
  }

  restore() {
    clearInterval(this.timer);
    this.cut = false;
    if (this.level !== undefined) this.video.volume = this.level;
    this.level = undefined;
    this._apply();
  }
}
