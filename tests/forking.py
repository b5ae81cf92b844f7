"""Runs as a program, in a process of its own: forks after PyTorch, or ONNX
Runtime, has used several threads, and says what came of each child.

python forking.py         for PyTorch
python forking.py FOLDER  for the exported model there
"""

import concurrent.futures
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

SECONDS = 30
"""A child that takes longer hangs."""


def run_forking(*arguments):
    """Runs this file: what came of each child, by name."""
    here = Path(__file__).parent
    paths = here.parent, here.parent / "runtime", here
    process = subprocess.run(
        [sys.executable, __file__, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        timeout=500,
    )
    assert process.returncode == 0, process.stderr
    return dict(map(json.loads, process.stdout.splitlines()))


def child(work):
    """What a child made by ``os.fork`` gives, "hangs", or how it ended."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writer, json.dumps(repr(error)).encode())
        os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + SECONDS
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hangs"
        time.sleep(0.01)
    with os.fdopen(reader, "rb") as given:
        return json.loads(given.read() or '"ended early"')


def while_busy(work, other):
    """What a child gives that is forked while a thread is at ``other``."""
    begun, stop = threading.Event(), threading.Event()

    def repeat():
        while not stop.is_set():
            begun.set()
            other()

    thread = threading.Thread(target=repeat)
    thread.start()
    begun.wait()
    try:
        given = [child(work) for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    return given[0] if len(set(map(str, given))) == 1 else given


def of_pytorch():
    """Pairs of what a child gives and what it should, by name."""
    import torch

    from speechbrain_llsa.decoders.beam_search import BeamSearch
    from speechbrain_llsa.decoders.tokenizers import TextDecoder
    from speechbrain_llsa.inference.batcher import SessionBatcher
    from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
    from speechbrain_llsa.utils.precision import full_float32
    from speechbrain_llsa_runtime.inference.session import Session
    from tiny_model import make_model, make_signal, make_tokenizer

    torch.set_num_threads(4)
    signal = make_signal(64000)
    model, decoder = make_model(), TextDecoder(make_tokenizer())
    search = BeamSearch(decoder, beam_size=4)
    encoder = StreamingEncoder(model.extractor, model.encoder_wrapper)

    def text(begun=None, search=None):
        session = begun or Session(model, decoder, search=search)
        session = session.fork()
        session.push(signal)
        session.finish()
        return session.text

    def batched(session):
        while batcher.step():
            pass
        return session.text

    def features():
        session = encoder.session()
        frames = torch.cat([session.push(signal), session.finish()])
        return frames.double().sum().item()

    class Frames(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, place):
            return features()

    def in_threads():
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return [*pool.map(text, [None] * 2)]

    def precise():
        with full_float32():
            inside = torch.get_float32_matmul_precision()
        return inside, torch.get_float32_matmul_precision()

    def hold():
        with full_float32():
            time.sleep(0.05)

    batcher = SessionBatcher(model, decoder, slots=9)

    def go_on():
        """Another stream of the same batcher, step by step."""
        other = batcher.session()
        other.push(signal)
        other.finish()
        batched(other)

    begun = Session(model, decoder)
    begun.push(signal)
    queued = batcher.session()
    queued.push(signal)
    queued.finish()
    expected = text()
    twice = text(begun)
    fork = multiprocessing.get_context("fork")
    yield "os.fork", child(text), expected
    yield "begun", child(lambda: text(begun)), twice
    yield "beam", child(lambda: text(None, search)), text(None, search)
    yield "features", child(features), features()
    yield "threads", child(in_threads), [expected] * 2
    yield "batcher", child(lambda: batched(queued)), expected
    yield (
        "batcher at work",
        while_busy(lambda: batched(queued), go_on),
        expected,
    )
    yield "session at work", while_busy(text, text), expected
    yield (
        "fingerprint",
        while_busy(model.fingerprint, make_model().fingerprint),
        model.fingerprint(),
    )
    loader = torch.utils.data.DataLoader(
        Frames(),
        2,
        num_workers=2,
        timeout=SECONDS,
        multiprocessing_context="fork",
    )
    yield (
        "DataLoader",
        [*map(sum, (b.tolist() for b in loader))],
        [2 * features()] * 2,
    )
    global _text
    _text = text
    with concurrent.futures.ProcessPoolExecutor(2, fork) as pool:
        futures = [pool.submit(_call) for _ in range(3)]
        try:
            given = [future.result(SECONDS) for future in futures]
        except concurrent.futures.TimeoutError:
            given = "hangs"
            for process in pool._processes.values():
                process.kill()
    yield "ProcessPoolExecutor", given, [expected] * 3
    torch.set_float32_matmul_precision("high")
    yield "precision", while_busy(precise, hold), ["highest", "high"]
    with full_float32():
        yield "precision inside", child(precise), ["highest", "highest"]
        pid = child(os.getpid)
    yield "precision after", precise(), ("highest", "high")
    assert pid != os.getpid()


def _call():
    return _text()


def of_onnx(folder):
    """The same of an exported model."""
    from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR

    for threads in (None, 1, 4):
        asr = OnnxStreamingASR.from_folder(folder, "fp32", threads)
        for name, *pair in of_graph(asr):
            yield f"{threads} threads: {name}", *pair


def of_graph(asr):
    signal = np.random.default_rng(0).normal(size=32000) / 10
    begun = asr.session()
    begun.push(signal)

    def text():
        session = begun.fork()
        session.push(signal)
        session.finish()
        return session.text

    def end():
        vars(asr.model).clear()
        return gc.collect() >= 0

    expected = text()
    yield "child", child(text), expected
    yield "at work", while_busy(text, text), expected
    yield "end", child(end), True
    yield "parent", text(), expected


if __name__ == "__main__":
    pairs = of_onnx(sys.argv[1]) if len(sys.argv) > 1 else of_pytorch()
    for name, given, expected in pairs:
        right = given == expected and given not in ("", [])
        print(json.dumps([name, "right" if right else str(given)]), flush=True)
