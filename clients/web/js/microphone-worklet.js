// @ts-check
/** Collects 20 ms of the microphone, as 16-bit samples, with their level. Runs in the audio thread. */

/** @typedef {{port: MessagePort}} Processor */
const { AudioWorkletProcessor, registerProcessor, sampleRate } = /** @type {any} */ (globalThis);

class Collector extends AudioWorkletProcessor {
  size = Math.round(sampleRate / 50);
  pcm = new Int16Array(this.size);
  filled = 0;
  power = 0;

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    for (const sample of inputs[0]?.[0] ?? []) { // none: the device is gone for now
      const limited = Math.max(-1, Math.min(1, sample));
      this.pcm[this.filled] = limited * (limited < 0 ? 32768 : 32767);
      this.power += limited * limited;
      this.filled += 1;
      if (this.filled === this.size) {
        const { pcm } = this;
        this.port.postMessage({ pcm, level: Math.sqrt(this.power / this.size) }, [pcm.buffer]);
        this.pcm = new Int16Array(this.size);
        this.filled = 0;
        this.power = 0;
      }
    }
    return true;
  }
}

registerProcessor("musecast-microphone", Collector);
