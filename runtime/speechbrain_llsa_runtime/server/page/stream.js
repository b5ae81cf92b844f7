/** One recording on its way to the server, over as many connections as it
 * takes. */

import { KEPT_SECONDS } from "./recording.js";

const CHUNK_SECONDS = 0.25;
const BUFFERED_SECONDS = 4;
const PUMP_MILLISECONDS = 50;
const STALLED_MILLISECONDS = 15000;
const GIVE_UP_MILLISECONDS = KEPT_SECONDS * 1000;
const DELAYS_MILLISECONDS = [250, 500, 1000, 2000, 4000];

/** Close codes of a server that does not want the stream again. */
const FINAL_CODES = new Set([1000, 1007, 1008]);

/** Refusals that pass, for a stream that had been accepted before. */
const PASSING = new Set([
  "FULL",
  "NOT_READY",
  "TOO_MANY_SESSIONS",
  "UNREACHABLE",
  "UPGRADE_REQUIRED",
]);

const SENTENCES = {
  FULL: "The server is full. Try again in a few seconds.",
  NOT_READY: "The server is shutting down. Try again in a few seconds.",
  TOO_MANY_SESSIONS:
    "This token has as many sessions as it may have. End one of them first.",
  UNREACHABLE: "The server cannot be reached.",
  UPGRADE_REQUIRED:
    "The server answers, but the browser cannot open a WebSocket to it.",
};

/**
 * Sends a recording while it grows, and gives what the server makes of it.
 *
 * The listener has these functions: `commit(words, closes, seconds)` with new
 * words and the latency, `revise(text)` with the provisional text,
 * `connect()`, `disconnect()`, `restart()` where the server has forgotten the
 * stream, and `end(error)`, which is called once.
 */
export class Stream {
  /**
   * @param {Recording} recording what is sent
   * @param {string} token access token, or ""
   * @param {object} listener is told what happens
   */
  constructor(recording, token, listener) {
    this.recording = recording;
    this.token = token;
    this.listener = listener;
    this.socket = null;
    this.accepted = false;
    this.finishing = false;
    this.complete = this.ended = false;
    this.lostAt = null;
    this.attempts = 0;
    this.base = this.committed = 0;
    this.beginAnew();
  }

  /** Connects. */
  open() {
    try {
      this.socket = new WebSocket(
        this.url("ws"),
        this.token ? ["token", this.token] : [],
      );
    } catch {
      const sentence = "The token has characters that a browser cannot send.";
      setTimeout(() => this.end(sentence));
      return;
    }
    const socket = this.socket;
    socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    socket.onclose = (event) => this.lose(event);
  }

  /** Sends what there is. */
  pump() {
    const { recording, socket } = this;
    if (this.position === null) {
      return;
    }
    if (this.position < recording.start) {
      this.restart();
      return;
    }
    const room = 2 * recording.rate * BUFFERED_SECONDS;
    const count = Math.round(recording.rate * CHUNK_SECONDS);
    while (this.position < recording.end && socket.bufferedAmount < room) {
      const samples = recording.read(this.position, count);
      socket.send(samples);
      this.position += samples.length;
      this.sentBytes += samples.byteLength;
    }
    if (this.finishing && !this.closing && this.position === recording.end) {
      this.closing = true;
      socket.send(JSON.stringify({ type: "CloseStream" }));
    }
    this.watchForStall();
  }

  /** Says that the recording is complete. The stream ends when all of its
   * text is there. */
  finish() {
    this.finishing = true;
    this.pump();
  }

  /**
   * Ends the stream without the rest of its text.
   * @param {string} [error] why, in one sentence
   */
  end(error) {
    if (this.ended) {
      return;
    }
    this.ended = true;
    this.disconnect();
    clearTimeout(this.retry);
    this.listener.end(error);
  }

  url(scheme) {
    const url = new URL("v1/listen", location.href);
    if (scheme === "ws") {
      url.protocol = url.protocol.replace("http", "ws");
    }
    url.search = new URLSearchParams({
      encoding: "linear16",
      sample_rate: this.recording.rate,
      interim_results: true,
      resume: this.name,
    });
    return url;
  }

  /** Goes on as a new stream, from where the text ends. */
  beginAnew() {
    this.name = "new";
    this.number = -1;
    this.position = null;
  }

  take(message) {
    if (message.type === "Session") {
      this.begin(message);
    } else if (message.type === "Results" && message.is_final) {
      this.commit(message);
    } else if (message.type === "Results") {
      this.listener.revise(message.channel.alternatives[0].transcript);
    } else if (message.type === "Metadata") {
      this.complete = true;
      this.end();
    }
    this.pump();
  }

  begin({ id, samples }) {
    if (this.name === "new") {
      this.base = Math.max(this.committed, this.recording.start);
    }
    this.name = id;
    this.position = this.base + samples;
    this.accepted = true;
    this.closing = false;
    this.lostAt = null;
    this.attempts = 0;
    this.sentBytes = this.drainedBytes = 0;
    this.drainedAt = performance.now();
    this.pumping = setInterval(() => this.pump(), PUMP_MILLISECONDS);
    this.listener.connect();
  }

  commit({ number, samples, channel, speech_final: closes }) {
    // after a reconnection the server repeats itself
    if (number <= this.number) {
      return;
    }
    const { words } = channel.alternatives[0];
    if (words.length) {
      this.number = number;
    }
    this.committed = this.base + samples;
    const offset = this.base / this.recording.rate;
    const shifted = words.map((word) => ({
      text: word.punctuated_word,
      start: word.start + offset,
      end: word.end + offset,
      confidence: word.confidence,
    }));
    const seconds = this.recording.ageOf(this.committed) / 1000;
    this.listener.commit(shifted, closes, seconds);
  }

  async lose({ code, reason }) {
    const refused = this.position === null;
    this.disconnect();
    if (!refused && FINAL_CODES.has(code)) {
      this.end(`The server has closed the connection: ${reason || code}.`);
      return;
    }
    this.lostAt ??= performance.now();
    if (!refused) {
      this.listener.disconnect();
      this.tryAgain();
      return;
    }
    const refusal = await this.askWhy();
    if (!this.ended) {
      this.react(refusal);
    }
  }

  /** A browser does not tell why a WebSocket is refused; HTTP does. */
  async askWhy() {
    const headers = this.token ? { Authorization: `Token ${this.token}` } : {};
    try {
      const response = await fetch(this.url("http"), { headers });
      const { err_code: code, err_msg: message } = await response.json();
      return { code, message };
    } catch {
      return { code: "UNREACHABLE" };
    }
  }

  react({ code, message }) {
    if (code === "UNKNOWN_SESSION") {
      this.restart();
    } else if (this.accepted && PASSING.has(code)) {
      this.tryAgain();
    } else if (code === "INVALID_AUTH") {
      this.end(
        this.token
          ? "The server does not accept this token."
          : "The server asks for an access token.",
      );
    } else {
      this.end(SENTENCES[code] ?? `The server refuses: ${message ?? code}.`);
    }
  }

  tryAgain() {
    if (performance.now() - this.lostAt > GIVE_UP_MILLISECONDS) {
      this.end("The connection is lost, and the server has not come back.");
      return;
    }
    const last = DELAYS_MILLISECONDS.length - 1;
    const delay = DELAYS_MILLISECONDS[Math.min(this.attempts, last)];
    this.attempts += 1;
    this.retry = setTimeout(() => this.open(), delay);
  }

  restart() {
    this.disconnect();
    this.beginAnew();
    this.listener.restart();
    this.open();
  }

  disconnect() {
    clearInterval(this.pumping);
    this.position = null;
    if (this.socket !== null) {
      this.socket.onmessage = this.socket.onclose = null;
      this.socket.close();
      this.socket = null;
    }
  }

  /** A network that is gone does not close a connection. */
  watchForStall() {
    const { bufferedAmount } = this.socket;
    const drained = this.sentBytes - bufferedAmount;
    const now = performance.now();
    if (bufferedAmount === 0 || drained > this.drainedBytes) {
      this.drainedBytes = drained;
      this.drainedAt = now;
    } else if (now - this.drainedAt > STALLED_MILLISECONDS) {
      this.lose({ code: 1006, reason: "" });
    }
  }
}
