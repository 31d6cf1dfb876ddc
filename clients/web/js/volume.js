// @ts-check
/** Whether the player is heard: the user's wish, the browser's permission, and a cut. */

const FADE_MS = 30;
const STEPS = 5;

export class Volume {
  /** @param {HTMLMediaElement} video */
  constructor(video) {
    this.video = video;
    /** Until a click browsers play only without sound. */
    this.locked = true;
    this.muted = false;
    this.cut = false;
    this.apply();
  }

  apply() {
    this.video.muted = this.locked || this.muted || this.cut;
  }

  /** Silent within 30 ms, without a click. An iPhone's volume cannot be set: there it is cut at once. */
  fade() {
    if (this.cut) return;
    this.cut = true;
    this.level ??= this.video.volume;
    const level = this.level;
    let step = 0;
    clearInterval(this.timer);
    this.timer = setInterval(() => {
      step += 1;
      this.video.volume = level * Math.max(0, 1 - step / STEPS);
      if (step < STEPS) return;
      clearInterval(this.timer);
      this.apply();
    }, FADE_MS / STEPS);
  }

  restore() {
    clearInterval(this.timer);
    this.cut = false;
    if (this.level !== undefined) this.video.volume = this.level;
    this.level = undefined;
    this.apply();
  }
}
