/** What the page has recorded, by absolute positions of samples. */

export const KEPT_SECONDS = 120;

const HEADER_BYTES = 44;
const LARGEST = 32768;

/** The newest samples of a recording, in a ring. */
export class Recording {
  /**
   * @param {number} rate samples per second
   * @param {number} capacity how many samples are kept
   */
  constructor(rate, capacity = rate * KEPT_SECONDS) {
    this.rate = rate;
    this.end = 0;
    this.capturedAt = null;
    this.ring = new Int16Array(capacity);
  }

  /** Position of the oldest sample that is kept. */
  get start() {
    return Math.max(0, this.end - this.ring.length);
  }

  get seconds() {
    return this.end / this.rate;
  }

  /**
   * Adds samples, which at the time of the call have just been captured.
   * @param {Int16Array} samples no more than are kept
   */
  push(samples) {
    const offset = this.end % this.ring.length;
    const first = samples.subarray(0, this.ring.length - offset);
    this.ring.set(first, offset);
    this.ring.set(samples.subarray(first.length), 0);
    this.end += samples.length;
    this.capturedAt = performance.now();
  }

  /**
   * Copies samples.
   * @param {number} position of the first one
   * @param {number} count at most so many
   */
  read(position, count) {
    const samples = new Int16Array(Math.min(count, this.end - position));
    const offset = position % this.ring.length;
    const first = this.ring.subarray(offset, offset + samples.length);
    samples.set(first);
    const rest = samples.length - first.length;
    samples.set(this.ring.subarray(0, rest), first.length);
    return samples;
  }

  /**
   * Milliseconds since a sample was captured.
   * @param {number} position of the sample
   */
  ageOf(position) {
    const newer = ((this.end - position) / this.rate) * 1000;
    return performance.now() - this.capturedAt + newer;
  }

  /** What is kept, as a WAV file. */
  toWav() {
    const samples = this.read(this.start, this.ring.length);
    return new Blob([makeHeader(this.rate, samples.byteLength), samples], {
      type: "audio/wav",
    });
  }
}

/**
 * Level of the loudest sample, in decibels of full scale.
 * @param {Int16Array} samples
 */
export function peakLevel(samples) {
  let largest = 1;
  for (const sample of samples) {
    largest = Math.max(largest, Math.abs(sample));
  }
  return 20 * Math.log10(largest / LARGEST);
}

function makeHeader(rate, bytes) {
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  const write = (offset, text) => {
    for (let i = 0; i < text.length; i += 1) {
      header.setUint8(offset + i, text.charCodeAt(i));
    }
  };
  write(0, "RIFF");
  header.setUint32(4, HEADER_BYTES - 8 + bytes, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, rate, true);
  header.setUint32(28, rate * 2, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  write(36, "data");
  header.setUint32(40, bytes, true);
  return header;
}
