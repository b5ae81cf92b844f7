"""Exported transducers: the same as in PyTorch, without PyTorch."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.inference.onnx_graph import OnnxGraph
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.utils.checksums import file_checksum
from tiny_model import make_signal, make_tokenizer, split
from tiny_transducer import make_transducer
from transcripts import assert_same, committed, push_all

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa.inference.triton_export import export_triton_model

DECODER = TextDecoder(make_tokenizer())
ENDPOINTER = Endpointer(
    after_speech={"speech": True, "silence_seconds": 0.06},
    maximum_length={"length_seconds": 0.3},
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model, and the folder that it was exported to."""
    model = make_transducer()
    folder = export_model(
        tmp_path_factory.mktemp("onnx") / "exported",
        model,
        DECODER,
        ("fp32", "int8"),
        endpointer=ENDPOINTER,
    )
    return model, folder


@pytest.fixture(scope="module")
def asr(exported):
    return OnnxStreamingASR.from_folder(exported[1], "fp32", threads=1)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    samples=st.integers(0, 30000),
    lengths=st.lists(st.integers(0, 9000), max_size=8),
)
def test_any_split_gives_what_pytorch_gives(exported, asr, samples, lengths):
    """Frames to 1e-4 of PyTorch offline."""
    model, _ = exported
    signal = make_signal(samples)
    with torch.no_grad():
        expected, _ = model(signal[None])
    context, given_frames = asr.model.make_streaming_context(), []
    pushes = split(signal.numpy(), lengths)
    for number, push in enumerate(pushes, start=1):
        final = number == len(pushes)
        frames, _ = asr.model.stream(push, context, final=final)
        given_frames.append(frames)
    streamed = np.concatenate(given_frames)
    assert streamed.shape == expected[0].shape
    assert not len(streamed) or np.abs(streamed - expected[0].numpy()).max() < (
        1e-4
    )


def test_transcripts_are_those_of_pytorch(exported, asr):
    """Committed and provisional text, words with times and confidences,
    segments."""
    model, _ = exported
    pushes = make_signal(60000).split(3001)
    session = Session(model, DECODER, endpointer=ENDPOINTER)
    expected = push_all(session, pushes)
    said = push_all(asr.session(), [push.numpy() for push in pushes])
    heard = sum(len(transcript.words) for transcript in said)
    # pushes need not end with a step: text may come with the next one
    assert committed(said) == committed(expected)
    assert said[-1].segment == expected[-1].segment > 2
    assert heard > 8
    assert_same_at_the_end(said, expected)


def assert_same_at_the_end(said, expected):
    ours, theirs = (
        [word for each in many for word in each.final_words]
        for many in (said, expected)
    )
    assert [vars(word) | {"confidence": 0} for word in ours] == [
        vars(word) | {"confidence": 0} for word in theirs
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_snapshots_batches_and_processes(asr):
    """A stream goes on in another session, in a batch, and in a recogniser
    that was pickled."""
    signal = make_signal(40000).numpy()
    session = asr.session()
    session.push(signal[:17001])
    snapshot = session.snapshot()
    copied = pickle.loads(pickle.dumps(asr))
    others = [asr.session(snapshot), copied.session(snapshot), session.fork()]
    batcher = asr.batcher(slots=2)
    batched = batcher.session(snapshot=snapshot)
    batched.push(signal[17001:])
    batched.finish()
    while batcher.step():
        pass
    expected = push_all(session, [signal[17001:]])
    for other in others:
        for one, two in zip(
            push_all(other, [signal[17001:]]), expected, strict=True
        ):
            assert_same(one, two)
    assert batched.text == session.text


def test_graphs_of_8_bits_run(exported):
    """And what they give is near."""
    model, folder = exported
    int8 = OnnxStreamingASR.from_folder(folder, threads=1)
    signal = make_signal(30000)
    with torch.no_grad():
        expected = model(signal[None])[0][0].numpy()
    context = int8.model.make_streaming_context()
    frames, _ = int8.model.stream(signal.numpy(), context, final=True)
    error = np.sqrt(np.mean((frames - expected) ** 2))
    assert 0 < error < 0.2 * expected.std()
    session = int8.session()
    session.push(signal.numpy())
    assert session.finish() is not None


def test_graphs_of_predictor_and_joiner(exported):
    """A greedy search by hand with three graphs finds the labels."""
    model, folder = exported
    predictor = OnnxGraph(folder / "predictor.onnx", 1)
    joiner = OnnxGraph(folder / "joiner.onnx", 1)
    with torch.no_grad():
        frames = model(make_signal(30000)[None])[0][0]
    search = model.greedy_search()
    expected = search.advance(frames, search.make_streaming_context())
    labels, (predicted,) = [], predictor.run({"labels": np.array([[-1, 0]])})
    for frame in frames.numpy():
        for _ in range(model.decoder.max_symbols):
            feeds = {"frames": frame[None], "predicted": predicted}
            label = int(joiner.run(feeds)[0].argmax())
            if label == 0:
                break
            labels.append(label)
            history = [0, 0, *labels][-2:]
            (predicted,) = predictor.run({"labels": np.array([history])})
    assert labels == [token.label for token in expected]
    assert len(labels) > 20


def test_another_decoder_has_another_fingerprint(exported, tmp_path):
    _, folder = exported
    other = make_transducer()
    with torch.no_grad():
        other.decoder.output.bias[2] += 0.5
    changed = export_model(tmp_path / "other", other, DECODER)
    ours, theirs = (
        OnnxStreamingASR.from_folder(each, "fp32", threads=1)
        for each in (folder, changed)
    )
    assert ours.model.fingerprint() != theirs.model.fingerprint()


@pytest.mark.parametrize(
    "file", ["decoder.safetensors", "predictor.onnx", "joiner.onnx"]
)
def test_a_missing_file_is_named(exported, tmp_path, file):
    folder = shutil.copytree(exported[1], tmp_path / "copy")
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"which holds no {file}"):
        OnnxStreamingASR.from_folder(folder)


def test_damaged_weights_are_named(exported, tmp_path):
    folder = shutil.copytree(exported[1], tmp_path / "copy")
    path = folder / "decoder.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="its SHA-256 is another"):
        OnnxStreamingASR.from_folder(folder)
    description = json.loads((folder / "model.json").read_text())
    description["transducer"]["sha256"] = file_checksum(path)
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"decoder\.safetensors is damaged"):
        OnnxStreamingASR.from_folder(folder)


def test_triton_takes_none(tmp_path):
    """Its clients have no predictor."""
    with pytest.raises(ValueError, match="model must be a CTC model"):
        export_triton_model(tmp_path / "a", make_transducer(), DECODER)
