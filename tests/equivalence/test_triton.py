"""Models of Triton Inference Server: the config is that of the graph, and a
batcher that knows the config alone gives what sessions give.

Triton itself is not run.
"""

import io
import json
import random
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import soundfile

pytest.importorskip("onnxscript")
pytest.importorskip("grpc")
pytest.importorskip("tritonclient.grpc")

import tritonclient.grpc as triton

from source_files import ROOT
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.triton_export import export_triton_model
from speechbrain_llsa.lobes.streaming_step import StreamingStep
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from tiny_model import (
    CONFORMER,
    IMPORTED,
    make_front_end,
    make_log_mel,
    make_model,
    make_signal,
    make_tokenizer,
)
from triton_batcher import Request, TritonBatcher, read_config, type_name

MODELS = {
    "llsa": {"hop": 2, "look_ahead": 4},
    "without look-ahead": {"look_ahead": 0, "look_back": 0},
    "sa": {"attention": "sa", "look_ahead": 2},
    "imported": {"extractor": make_front_end(), **IMPORTED},
    "conformer": CONFORMER,
    "log mel": {"extractor": make_log_mel(), "hop": 1},
    "int8": {"hop": 2, "look_ahead": 2},
}
LENGTHS = (30000, 0, 641, 16001, 22222, 5, 350, 640, 12800)


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tmp_path_factory):
    """A model, its precision, and its folder for Triton."""
    place = tmp_path_factory.mktemp("repository") / "tiny"
    model = make_model(**MODELS[request.param])
    precision = "int8" if request.param == "int8" else "fp32"
    decoder = TextDecoder(make_tokenizer())
    folder = export_triton_model(place, model, decoder, [precision])
    return model, precision, folder


def shown(tensors):
    """Name, type and shape of the tensors of a graph, without the batch."""
    names = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64"}
    return [
        (tensor.name, names[tensor.type], tensor.shape[1:])
        for tensor in tensors
    ]


def described(tensor, name=None):
    """The same of the config, as the graph is given it."""
    dims = list(tensor.dims)
    if name is None and tensor.HasField("reshape"):
        assert dims == [1]
        dims = list(tensor.reshape.shape)
    return name or tensor.name, type_name(tensor.data_type), dims


def test_the_config_is_that_of_the_graph(exported):
    """Names, types and shapes of all that goes in and comes out. An output of
    no frames, which Triton cannot have, is left out."""
    _, precision, folder = exported
    config = read_config(folder)
    graph = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    states = config.sequence_batching.state
    assert shown(graph.get_inputs()) == [
        *map(described, config.input),
        *(described(state, state.input_name) for state in states),
    ]
    assert [
        each for each in shown(graph.get_outputs()) if 0 not in each[2]
    ] == [
        *map(described, config.output),
        *(described(state, state.output_name) for state in states),
    ]
    given = [each.name for each in config.input]
    assert given == ["samples", "position", "end"]
    assert config.backend == "onnxruntime"
    assert config.platform == "onnxruntime_onnx"
    assert not config.name
    assert config.max_batch_size == (1 if precision == "int8" else 16)
    batching = config.sequence_batching
    assert batching.WhichOneof("strategy_choice") == "oldest"
    assert batching.oldest.max_candidate_sequences >= config.max_batch_size
    assert not batching.control_input


def test_triton_finds_the_state_of_an_output(exported):
    """It takes inputs and outputs of states in the order of their names, and
    pairs those at the same place."""
    states = read_config(exported[2]).sequence_batching.state
    pairs = [(state.input_name, state.output_name) for state in states]
    inputs, outputs = zip(*pairs, strict=True)
    assert len(set(inputs)) == len(inputs)
    assert sorted(pairs) == list(
        zip(sorted(inputs), sorted(outputs), strict=True)
    )


def test_streams_begin_with_zeros(exported):
    """As the config says, and the model itself."""
    model, _, folder = exported
    step = StreamingStep(model)
    states = read_config(folder).sequence_batching.state
    assert [state.input_name for state in states] == step.state_names
    for state, tensor in zip(states, step.initial_state(1), strict=True):
        assert not tensor.any()
        (initial,) = state.initial_state
        assert initial.zero_data and initial.name == state.input_name
        assert initial.dims == state.dims == list(tensor.shape[1:])


class Client:
    """A live stream: samples arrive one push after the other, and then the
    word that these were all."""

    def __init__(self, model, signal):
        self.model, self.signal = model, signal
        self.waiting = np.zeros(model["leading_samples"], np.float32)
        self.position, self.heard = model["first_frame"], 0
        self.ended = self.done = False
        self.log_probs, self.last, self.text = [], model["blank_index"], ""

    def push(self, size):
        """Hears the next samples, or that there are no more."""
        self.ended = self.heard == len(self.signal)
        new = self.signal[self.heard :][:size]
        self.heard += len(new)
        self.waiting = np.concatenate([self.waiting, new])

    def request(self, sequence):
        """The next step, or None where it needs more samples, or none is
        left."""
        model, size = self.model, self.model["step_samples"]
        start = self.position == model["first_frame"]
        end = self._frames() if self.ended else model["never"]
        if end == 0 and start:
            self.done = True
            return None
        if not self.ended and len(self.waiting) < size:
            return None
        samples = self.waiting[:size]
        self.waiting = self.waiting[size:]
        committed = self.position - model["delay_frames"]
        self._existing = slice(max(0, -committed), max(0, end - committed))
        self.done = committed + model["step_frames"] >= end
        inputs = {
            "samples": np.pad(samples, (0, size - len(samples)))[None],
            "position": np.array([[self.position]]),
            "end": np.array([[end]]),
        }
        self.position += model["step_frames"]
        return Request(sequence, inputs, start=start, end=self.done)

    def _frames(self):
        known = len(self.signal) + self.model.get("padding_samples", 0)
        beyond = known - self.model["receptive_field_samples"]
        return max(0, beyond // self.model["stride_samples"] + 1)

    def read(self, outputs):
        """The frames that exist, and their text."""
        model = self.model
        log_probs = outputs["log_probs"][0, self._existing]
        self.log_probs.append(log_probs)
        for label in log_probs.argmax(-1):
            if label not in (self.last, model["blank_index"]):
                pieces = "pieces" if self.text else "first_pieces"
                self.text += model[pieces][label]
            self.last = label


def test_streams_of_a_batch_are_those_of_sessions(exported):
    """Of all lengths, at different positions, in batches of any streams that
    have a step: log-probabilities within what rows of a batch may differ by,
    or bit by bit where a batch is one row; texts the same."""
    _, _, folder = exported
    asr = OnnxStreamingASR.from_folder(folder / "1", threads=1)
    model = json.loads((folder / "1" / "model.json").read_text("utf-8"))
    batcher, schedule = TritonBatcher(folder), random.Random(3)
    rows = batcher.config.max_batch_size
    clients = [
        Client(model, make_signal(length, seed).numpy())
        for seed, length in enumerate(LENGTHS)
    ]
    largest, spoken, live = 0, 0, dict(enumerate(clients, 7))
    while live:
        requests = {}
        for sequence, client in list(live.items()):
            if schedule.random() < 0.3 or len(requests) == rows:
                continue
            client.push(schedule.choice([0, 1, 319, 1500, 6001]))
            request = client.request(sequence)
            if request:
                requests[sequence] = request
            if client.done:
                del live[sequence]
        if requests:
            largest = max(largest, len(requests))
            outputs = batcher.infer(list(requests.values()))
            for sequence, output in zip(requests, outputs, strict=True):
                clients[sequence - 7].read(output)
    assert not batcher.live
    assert largest == 1 if rows == 1 else largest > 3
    for client in clients:
        expected = session_log_probs(asr.model, client.signal)
        given = np.concatenate([expected[:0], *client.log_probs])
        assert given.shape == expected.shape
        error = np.abs(given - expected).max(initial=0)
        assert error == 0 if rows == 1 else error < 1e-5
        session = asr.session(endpointer=False)
        session.push(client.signal)
        session.finish()
        assert client.text == session.text
        spoken += len(client.text)
    assert spoken > 40


def session_log_probs(model, signal):
    """What a session would decode, (frames, labels)."""
    context = model.make_streaming_context()
    given, _ = model.stream(signal, context)
    last, _ = model.stream(signal[:0], context, final=True)
    return np.concatenate([given, last])


def test_example(exported, tmp_path, monkeypatch):
    """examples/stream_triton.py prints the text of a session. What it asks of
    the server goes to the batcher instead."""
    folder = exported[2]
    batcher = TritonBatcher(folder)

    class Input(triton.InferInput):
        def set_data_from_numpy(self, array):
            super().set_data_from_numpy(array)
            self.array = array

    class Server:
        def __init__(self, url):
            assert url == "localhost:8001"

        def infer(
            self, name, inputs, sequence_id, sequence_start, sequence_end
        ):
            assert name == "tiny"
            arrays = {each.name(): each.array for each in inputs}
            (outputs,) = batcher.infer(
                [Request(sequence_id, arrays, sequence_start, sequence_end)]
            )
            return SimpleNamespace(as_numpy=outputs.get)

    monkeypatch.setattr(triton, "InferInput", Input)
    monkeypatch.setattr(triton, "InferenceServerClient", Server)
    program = ROOT / "examples" / "stream_triton.py"
    for length in (30000, 5):
        signal, wav = make_signal(length).numpy(), str(tmp_path / "a.wav")
        soundfile.write(wav, signal, 16000, "FLOAT")
        arguments = [str(folder), wav, "localhost:8001"]
        monkeypatch.setattr(sys, "argv", [str(program), *arguments])
        monkeypatch.setattr(
            sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8")
        )
        runpy.run_path(str(program), run_name="__main__")
        sys.stdout.seek(0)
        printed = sys.stdout.read()
        session = OnnxStreamingASR.from_folder(folder / "1").session()
        session.push(signal)
        session.finish()
        assert printed == f"{session.text}\n"
        assert not batcher.live
    assert session.text == ""
