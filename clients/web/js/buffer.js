// @ts-check
/** A MediaSource with one SourceBuffer, and the queue of what is to be done with it. */

/** Kept behind the play head, in seconds. */
const BEHIND_S = 10;

/** @typedef {{seq?: number, run: (buffer: SourceBuffer) => void, done?: () => void}} Work */

/** @returns {typeof MediaSource | undefined} iPhones have only the managed one */
function source() {
  return /** @type {any} */ (globalThis).ManagedMediaSource ?? globalThis.MediaSource;
}

/** @param {string} mime @returns {string} why this browser cannot play it; empty: it can */
export function unplayable(mime) {
  if (!source()) return "this browser has no Media Source Extensions (an iPhone needs iOS 17.1)";
  if (source()?.isTypeSupported(mime)) return "";
  return `this browser cannot decode ${mime} (Firefox on Linux needs the system's libavcodec)`;
}

export class MediaBuffer {
  /**
   * @param {HTMLVideoElement} video
   * @param {string} mime
   * @param {(reason: string) => void} onBroken only a new one helps
   * @param {Live | null} [begun] shown already; what of it is in the buffer is not appended again
   */
  constructor(video, mime, onBroken, begun) {
    this.video = video;
    this.onBroken = onBroken;
    /** @type {Work[]} */
    this.queue = [];
    /** @type {Work | null} */
    this.current = null;
    /** @type {SourceBuffer | null} */
    this.buffer = null;
    this.url = "";
    const Source = source();
    if (!Source) throw new Error(unplayable(mime));
    if (begun?.buffer && begun.media?.readyState === "open") {
      this.media = begun.media;
      this.begun = begun.messages;
      this._use(begun.buffer);
    } else {
      this.media = new Source();
      video.disableRemotePlayback = true; // else a managed source never opens
      this.url = URL.createObjectURL(this.media);
      this.media.addEventListener("sourceopen", () => this._opened(mime), { once: true });
      video.src = this.url;
    }
    this.media.addEventListener("sourceclose", () => this._broken("the browser closed the media source"));
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @param {number} [seq] @param {() => void} [done] when it is in the buffer */
  append(bytes, seq, done) {
    const there = this.begun?.get(bytes.buffer)?.fed;
    this._add({ seq, done, run: (buffer) => (there ? this._ended() : buffer.appendBuffer(bytes)) });
  }

  /** Take back all from here on, and what has yet to be appended of the segments up to `seq`. @param {number} from */
  cut(from) {
    this.queue = this.queue.filter((work) => work.seq === undefined);
    this._add({ run: (buffer) => buffer.remove(from, Infinity) });
  }

  /** What was played long ago. */
  evict() {
    const until = this.video.currentTime - BEHIND_S;
    if (this.ranges[0] && this.ranges[0][0] < until - 2) this._add({ run: (buffer) => buffer.remove(0, until) });
  }

  /** @returns {[number, number][]} what is there, in seconds */
  get ranges() {
    if (!this.buffer || this.media.readyState !== "open") return [];
    const ranges = this.buffer.buffered;
    return Array.from({ length: ranges.length }, (_, i) => [ranges.start(i), ranges.end(i)]);
  }

  close() {
    this.onBroken = () => {};
    this.queue = [];
    this.buffer = null;
    URL.revokeObjectURL(this.url);
  }

  /** @param {string} mime */
  _opened(mime) {
    URL.revokeObjectURL(this.url);
    try {
      this.media.duration = Infinity;
      this._use(this.media.addSourceBuffer(mime));
    } catch (error) {
      this._broken(String(error));
    }
  }

  /** @param {SourceBuffer} buffer */
  _use(buffer) {
    this.buffer = buffer;
    buffer.onupdateend = () => this._ended();
    buffer.onerror = () => this._broken("a segment could not be read");
    this._next();
  }

  /** @param {Work} work */
  _add(work) {
    this.queue.push(work);
    this._next();
  }

  _ended() {
    const done = this.current?.done;
    this.current = null;
    done?.();
    this._next();
  }

  _next() {
    if (this.current || !this.buffer || this.buffer.updating || !this.queue.length) return;
    const work = /** @type {Work} */ (this.queue.shift());
    this.current = work;
    try {
      work.run(this.buffer);
    } catch (error) {
      this.current = null;
      if (error instanceof DOMException && error.name === "QuotaExceededError" && work.done) this._full(work);
      else this._broken(String(error));
    }
  }

  /** No room: first what was played goes, then the play head has to jump. @param {Work} work */
  _full(work) {
    const [first] = this.ranges;
    let until = this.video.currentTime - 2;
    if (!first || first[0] >= until - 0.5) {
      until = this.ranges.at(-1)?.[1] ?? 0;
      if (until <= this.video.currentTime) {
        this._broken("a segment does not fit into the browser's buffer");
        return;
      }
      this.video.currentTime = until;
    }
    const end = until;
    this.queue.unshift({ run: (buffer) => buffer.remove(0, end) }, work);
    this._next();
  }

  /** @param {string} reason */
  _broken(reason) {
    const tell = this.onBroken;
    this.close();
    tell(reason);
  }
}
