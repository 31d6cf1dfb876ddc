// @ts-check
/** The microphone as pieces of 20 ms, 16-bit mono: 16 kHz where the browser converts, else its own rate. */

const WANTED_RATE = 16_000;
/** @type {Record<string, string>} DOMException -> code */
const CODES = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "absent",
  NotReadableError: "busy",
  AbortError: "busy",
};

/** Why there is no microphone; `code`: "insecure", "denied", "absent", "busy", "failed". */
export class MicrophoneError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "MicrophoneError";
    this.code = code;
  }
}

export class Microphone {
  /**
   * @param {object} options
   * @param {(pcm: Int16Array, sampleRate: number, echoCancelled: boolean) => void} options.onPcm 50 times a second,
   *   while not held back; `echoCancelled`: the browser takes what it plays out of it
   * @param {(level: number) => void} [options.onLevel] 0 to 1 (RMS), 50 times a second
   * @param {(state: "on" | "off" | "lost" | "changed") => void} [options.onState] "lost": the device went and
   *   there is no other; "changed": another took its place
   */
  constructor({ onPcm, onLevel = () => {}, onState = () => {} }) {
    this.onPcm = onPcm;
    this.onLevel = onLevel;
    this.onState = onState;
    /** Nothing is sent meanwhile (mute, push-to-talk). */
    this.held = false;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {MediaTrackConstraints} */
    this.constraints = {};
    this.changed = () => this._changed();
  }

  /**
   * Call it in the handler of a click.
   *
   * @param {MediaTrackConstraints} [constraints] beside echo cancellation, noise suppression and gain control
   * @throws {MicrophoneError}
   */
  async start(constraints = {}) {
    if (this.stream) return;
    if (!globalThis.isSecureContext || !navigator.mediaDevices) {
      throw new MicrophoneError("insecure", "browsers give the microphone to https:// and to localhost only");
    }
    this.constraints = constraints;
    const audio = {
      channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...constraints,
    };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio });
      this.context = await this._listen(this.stream);
    } catch (error) {
      this._close();
      const { name, message } = /** @type {Error} */ (error);
      throw new MicrophoneError(CODES[name] ?? "failed", message);
    }
    this.stream.getAudioTracks()[0].onended = this.changed;
    navigator.mediaDevices.addEventListener("devicechange", this.changed);
    this.onState("on");
  }

  stop() {
    if (!this.stream) return;
    this._close();
    this.onState("off");
  }

  /** @param {MediaStream} stream */
  async _listen(stream) {
    let context = new AudioContext({ sampleRate: WANTED_RATE });
    let source;
    try {
      source = context.createMediaStreamSource(stream);
    } catch (error) {
      // Firefox joins a stream only to a context of the device's own rate.
      if (/** @type {Error} */ (error).name !== "NotSupportedError") throw error;
      context.close();
      context = new AudioContext();
      source = context.createMediaStreamSource(stream);
    }
    await context.audioWorklet.addModule(new URL("./microphone-worklet.js", import.meta.url));
    const echoCancelled = stream.getAudioTracks()[0].getSettings().echoCancellation === true;
    const worklet = new AudioWorkletNode(context, "musecast-microphone", { numberOfOutputs: 0 });
    worklet.port.onmessage = ({ data: { pcm, level } }) => {
      this.onLevel(level);
      if (!this.held) this.onPcm(pcm, context.sampleRate, echoCancelled);
    };
    source.connect(worklet);
    context.resume(); // not awaited: without an audio device it never comes
    return context;
  }

  /** The device that is used may be gone. */
  async _changed() {
    const track = this.stream?.getAudioTracks()[0];
    if (!track) return;
    const { deviceId } = track.getSettings();
    const devices = await navigator.mediaDevices.enumerateDevices();
    if (track.readyState === "live" && devices.some((one) => one.deviceId === deviceId)) return;
    if (!this.stream) return;
    this._close();
    const { deviceId: _, ...others } = this.constraints;
    try {
      await this.start(others);
      this.onState("changed");
    } catch {
      this.onState("lost");
    }
  }

  _close() {
    navigator.mediaDevices?.removeEventListener("devicechange", this.changed);
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.context?.close();
    this.stream = this.context = null;
  }
}
