/** The page: its buttons, and what they start. */

import { Recording, peakLevel } from "./recording.js";
import { Microphone, decodeFile } from "./sources.js";
import { Stream } from "./stream.js";
import { toSrt } from "./subtitles.js";
import { Transcript } from "./transcript.js";

const SILENT_LEVEL = -60;
const CALM_MILLISECONDS = 500;

const find = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const transcript = new Transcript(find("committed"), find("provisional"));

let recording = null;
let stream = null;
let microphone = null;
let stopping = false;
let shownAt = 0;

function say(status) {
  find("status").textContent = status;
}

function warn(error) {
  find("error").textContent = error;
}

function showButtons() {
  const busy = stream !== null;
  find("start").disabled = find("choose").disabled = busy;
  find("stop").disabled = !busy;
  find("stop").textContent = microphone && stopping ? "Stop now" : "Stop";
  find("copy").disabled = find("subtitles").disabled = !transcript.words.length;
  find("wav").disabled = !recording?.end;
}

function show(samples) {
  const now = performance.now();
  if (calm.matches && now - shownAt < CALM_MILLISECONDS) {
    return;
  }
  shownAt = now;
  find("level").value = Math.max(SILENT_LEVEL, peakLevel(samples));
  showDuration();
}

function showDuration() {
  const seconds = Math.floor(recording.seconds);
  const rest = String(seconds % 60).padStart(2, "0");
  find("duration").textContent = `${Math.floor(seconds / 60)}:${rest}`;
}

function begin(newRecording, status) {
  recording = newRecording;
  stopping = false;
  transcript.clear();
  find("latency").textContent = "–";
  stream = new Stream(recording, find("token").value.trim(), {
    connect: () => say(stopping ? "Finishing." : status),
    disconnect: () => {
      transcript.revise("");
      say("The connection is lost. Trying again; no audio is lost meanwhile.");
    },
    restart: () => {
      transcript.revise("");
      warn(
        "The server has lost the session. A new one goes on from where the " +
          "text ended.",
      );
    },
    commit,
    revise: (text) => transcript.revise(text),
    end,
  });
  say("Connecting.");
  warn("");
  stream.open();
}

function commit(words, closes, seconds) {
  transcript.commit(words, closes);
  if (microphone !== null) {
    find("latency").textContent = `${Math.round(seconds * 1000)} ms`;
  }
  showButtons();
}

function end(error) {
  const hadFocus = document.activeElement === find("stop");
  const { complete } = stream;
  stream = null;
  microphone?.stop();
  microphone = null;
  transcript.revise("");
  find("level").value = SILENT_LEVEL;
  say(complete ? "Done." : "Stopped.");
  showButtons();
  if (hadFocus) {
    find("start").focus();
  }
  if (error) {
    warn(error);
    askForToken(error);
  }
}

function askForToken(error) {
  if (error.includes("token")) {
    find("access").open = true;
    find("token").focus();
  }
}

/** Runs what begins a recording, which may fail; nothing else begins
 * meanwhile. */
async function starting(status, start) {
  if (stream !== null || find("start").disabled) {
    return;
  }
  find("start").disabled = find("choose").disabled = true;
  say(status);
  warn("");
  try {
    await start();
  } catch (error) {
    say("Ready.");
    warn(error.message);
  }
  showButtons();
}

async function startMicrophone() {
  microphone = await Microphone.open();
  begin(new Recording(microphone.rate), "Listening.");
  microphone.start(takeSamples, () => {
    stop();
    warn("The microphone is gone.");
  });
  showButtons();
  find("stop").focus();
}

function takeSamples(samples) {
  recording.push(samples);
  stream?.pump();
  show(samples);
}

async function stop() {
  if (microphone === null || stopping) {
    stream.end();
    return;
  }
  stopping = true;
  say("Finishing.");
  showButtons();
  const stopped = stream;
  await microphone.stop();
  stopped.finish();
}

async function transcribe(file) {
  const { rate, samples } = await decodeFile(file);
  const whole = new Recording(rate, samples.length);
  whole.push(samples);
  begin(whole, `Transcribing "${file.name}".`);
  stream.finish();
  showDuration();
}

function transcribeFirst(files) {
  if (files.length) {
    const [file] = files;
    starting(`Reading "${file.name}".`, () => transcribe(file));
  }
}

async function copyText() {
  try {
    await navigator.clipboard.writeText(transcript.text);
    say("The text is copied.");
  } catch {
    getSelection().selectAllChildren(find("committed"));
    say("The text is selected; the browser lets only you copy it.");
  }
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function listenForFiles() {
  const input = find("file");
  find("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    transcribeFirst(input.files);
    input.value = "";
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", name === "dragover");
    });
  }
  document.addEventListener("drop", ({ dataTransfer }) => {
    transcribeFirst(dataTransfer.files);
  });
}

find("start").addEventListener("click", () =>
  starting("Waiting for the microphone.", startMicrophone),
);
find("stop").addEventListener("click", stop);
find("copy").addEventListener("click", copyText);
find("subtitles").addEventListener("click", () => {
  const type = "application/x-subrip";
  download(new Blob([toSrt(transcript.words)], { type }), "transcript.srt");
});
find("wav").addEventListener("click", () => {
  download(recording.toWav(), "recording.wav");
});
listenForFiles();
showButtons();
