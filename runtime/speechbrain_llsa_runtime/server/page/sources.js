/** Where audio comes from: the microphone, or a file. */

const FILE_RATE = 16000;

const STOP_MILLISECONDS = 500;

const CONSTRAINTS = {
  audio: {
    channelCount: 1,
    echoCancellation: false,
    noiseSuppression: false,
    autoGainControl: false,
  },
};

const MICROPHONE_ERRORS = {
  NotAllowedError:
    "The browser does not let this page use the microphone; its settings " +
    "for this page can change that.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "The microphone is in use by another program.",
};

/** The microphone, at the rate of the device. */
export class Microphone {
  /**
   * Asks for the microphone.
   * @returns {Promise<Microphone>}
   */
  static async open() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error(
        "The browser gives a microphone only on https or localhost.",
      );
    }
    const media = await askForMicrophone();
    const context = new AudioContext();
    try {
      await context.audioWorklet.addModule("microphone.js");
      await context.resume();
    } catch (error) {
      release(media, context);
      throw error;
    }
    return new Microphone(media, context);
  }

  constructor(media, context) {
    this.media = media;
    this.context = context;
    this.rate = context.sampleRate;
  }

  /**
   * Begins to record.
   * @param {function(Int16Array)} take takes the next samples
   * @param {function()} lose is told that the microphone is gone
   */
  start(take, lose) {
    this.node = new AudioWorkletNode(this.context, "microphone", {
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.ended = new Promise((resolve) => {
      this.node.port.onmessage = ({ data }) =>
        data === null ? resolve() : take(data);
    });
    this.media.getAudioTracks()[0].onended = lose;
    this.context.createMediaStreamSource(this.media).connect(this.node);
    // its output is silent; browsers run only what leads somewhere
    this.node.connect(this.context.destination);
  }

  /** Stops, after what has been recorded has been passed on. May be called
   * again. */
  async stop() {
    this.node.port.postMessage("stop");
    // without its device it may not answer
    const patience = new Promise((resolve) => {
      setTimeout(resolve, STOP_MILLISECONDS);
    });
    await Promise.race([this.ended, patience]);
    release(this.media, this.context);
  }
}

/**
 * Decodes a file.
 * @param {File} file
 * @returns {Promise<{rate: number, samples: Int16Array}>}
 */
export async function decodeFile(file) {
  const context = new OfflineAudioContext(1, 1, FILE_RATE);
  let audio;
  try {
    audio = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`The browser cannot read "${file.name}" as audio.`);
  }
  if (!audio.length) {
    throw new Error(`"${file.name}" holds no audio.`);
  }
  return { rate: FILE_RATE, samples: toIntegers(audio) };
}

async function askForMicrophone() {
  try {
    return await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
  } catch (error) {
    throw new Error(
      MICROPHONE_ERRORS[error.name] ??
        `The microphone does not start: ${error.message}`,
    );
  }
}

function release(media, context) {
  for (const track of media.getTracks()) {
    track.onended = null;
    track.stop();
  }
  if (context.state !== "closed") {
    context.close();
  }
}

function toIntegers(audio) {
  const samples = new Int16Array(audio.length);
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) =>
    audio.getChannelData(i),
  );
  for (let i = 0; i < samples.length; i += 1) {
    let sum = 0;
    for (const channel of channels) {
      sum += channel[i];
    }
    const value = Math.max(-1, Math.min(1, sum / channels.length));
    samples[i] = Math.round(value * 32767);
  }
  return samples;
}
