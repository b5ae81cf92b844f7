/** Runs in the audio thread: passes on 16-bit samples, 20 ms at a time. */

const CHUNK_SECONDS = 0.02;

class MicrophoneProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = new Int16Array(Math.round(sampleRate * CHUNK_SECONDS));
    this.filled = 0;
    this.stopped = false;
    this.port.onmessage = () => this.stop();
  }

  process([channels]) {
    for (const value of channels[0] ?? []) {
      this.add(value);
    }
    return !this.stopped;
  }

  add(value) {
    if (this.stopped) {
      return;
    }
    const limited = Math.max(-1, Math.min(1, value));
    this.samples[this.filled] = Math.round(limited * 32767);
    this.filled += 1;
    if (this.filled === this.samples.length) {
      this.pass();
    }
  }

  pass() {
    this.port.postMessage(this.samples.slice(0, this.filled));
    this.filled = 0;
  }

  stop() {
    this.pass();
    this.stopped = true;
    this.port.postMessage(null);
  }
}

registerProcessor("microphone", MicrophoneProcessor);
