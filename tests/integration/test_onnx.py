"""Exported models: the same as in PyTorch, without PyTorch."""

import copy
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forking import run_forking
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
from speechbrain_llsa.nnet.packed import pack_linears
from speechbrain_llsa_runtime.__main__ import main as run_runtime
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.inference import onnx_graph
from speechbrain_llsa_runtime.inference.onnx import (
    MODEL_FILE,
    OnnxStreamingASR,
    read_exported,
)
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from tiny_model import (
    CONFORMER,
    IMPORTED,
    make_front_end,
    make_model,
    make_signal,
    make_tokenizer,
    split,
)
from transcripts import assert_same, push_all

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from speechbrain_llsa.inference import onnx_export
from speechbrain_llsa.inference.onnx_export import export_model

ROOT = Path(__file__).parents[2]
ENDPOINTER = Endpointer(
    after_speech=EndpointRule(speech=True, silence_seconds=0.02),
    maximum_length=EndpointRule(length_seconds=0.2),
)
OFFSETS = WordOffsets(-0.03, 0.11)


@pytest.fixture(scope="module")
def decoder():
    return TextDecoder(make_tokenizer())


@pytest.fixture(scope="module")
def exported(tmp_path_factory, decoder):
    """A model, and the folder that it was exported to."""
    model = make_model()
    folder = tmp_path_factory.mktemp("onnx") / "exported"
    folder = export_model(
        folder,
        model,
        decoder,
        precisions=("fp32", "int8"),
        endpointer=ENDPOINTER,
        word_offsets=OFFSETS,
    )
    return model, folder


@pytest.fixture(scope="module")
def int8_folder(exported, tmp_path_factory, decoder):
    """The same model with its graph in 8 bits alone."""
    folder = tmp_path_factory.mktemp("int8") / "exported"
    return export_model(folder, exported[0], decoder, ["int8"])


@pytest.fixture(scope="module")
def endpointing(exported):
    """With endpoints and offsets, as the folder says."""
    return OnnxStreamingASR.from_folder(exported[1], "fp32", threads=1)


@pytest.fixture(scope="module")
def asr(endpointing):
    """Without."""
    return OnnxStreamingASR(endpointing.model, endpointing.text_decoder)


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def text_of(asr, signal):
    session = asr.session()
    session.push(signal)
    session.finish()
    return session.text


def run_example(folder, wav):
    """What examples/stream_onnx.py prints."""
    return subprocess.run(
        [sys.executable, "examples/stream_onnx.py", str(folder), str(wav)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout


def stream(model, signal, lengths):
    """All log-probabilities, (frames, labels), pushed in pieces."""
    context = model.make_streaming_context()
    pushes = split(signal.numpy(), lengths)
    given = [model.stream(samples, context)[0] for samples in pushes]
    given.append(model.stream(signal.numpy()[:0], context, final=True)[0])
    return np.concatenate(given)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    samples=st.integers(0, 30000),
    lengths=st.lists(st.integers(0, 9000), max_size=8),
)
def test_any_split_gives_what_pytorch_gives(exported, asr, samples, lengths):
    """Log-probabilities to 1e-4 of PyTorch offline, for any split."""
    model, _ = exported
    signal = make_signal(samples)
    with torch.no_grad():
        expected, _ = model(signal[None])
    streamed = stream(asr.model, signal, lengths)
    assert streamed.shape == expected[0].shape
    assert np.abs(streamed - expected[0].numpy()).max(initial=0) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attention", "geometry", "step_frames"),
    [
        ("llsa", {"hop": 1, "look_ahead": 3}, None),
        ("llsa", {"hop": 4, "look_ahead": 0}, None),
        ("llsa", {"hop": 3, "look_back": 0, "look_ahead": 2}, None),
        ("sa", {"look_ahead": 3}, 4),
        ("maa", {"look_ahead": 0}, 1),
    ],
)
def test_other_geometries(tmp_path, decoder, attention, geometry, step_frames):
    """Also where parts of the state hold nothing, and for maa and sa."""
    model = make_model(attention, **geometry)
    folder = export_model(
        tmp_path / "out", model, decoder, step_frames=step_frames
    )
    written = OnnxStreamingASR.from_folder(folder).model
    signal = make_signal(21000)
    with torch.no_grad():
        expected, _ = model(signal[None])
    streamed = stream(written, signal, [1, 5000, 77])
    assert np.abs(streamed - expected[0].numpy()).max() < 1e-4


@pytest.mark.slow
def test_a_model_in_training(tmp_path, decoder):
    """In half precision, too: it stays so, and its copy is exported."""
    model = make_model().bfloat16().train()
    folder = export_model(tmp_path / "out", model, decoder)
    assert model.training and model.head.weight.dtype == torch.bfloat16
    written = OnnxStreamingASR.from_folder(folder).model
    signal = make_signal(8000)
    with torch.no_grad():
        expected, _ = model.float().eval()(signal[None])
    streamed = stream(written, signal, [5000])
    assert np.abs(streamed - expected[0].numpy()).max() < 1e-4


@pytest.mark.slow
def test_a_packed_model(tmp_path, decoder):
    """Its packed weights are no part of the graph."""
    model = make_model().requires_grad_(False)
    pack_linears(model)
    folder = export_model(tmp_path / "out", model, decoder)
    written = OnnxStreamingASR.from_folder(folder).model
    signal = make_signal(8000)
    with torch.no_grad():
        expected, _ = make_model()(signal[None])
    streamed = stream(written, signal, [5000])
    assert np.abs(streamed - expected[0].numpy()).max() < 1e-4


@pytest.mark.slow
def test_one_geometry_of_many(tmp_path, decoder, capsys):
    """--hop and --look_ahead choose that of the graph, which has no other."""
    model = make_model(hop=[2, 1, 5], look_ahead=[4, 0, 7])
    write_streaming_folder(tmp_path / "model", model, make_tokenizer())
    line = ["export", "--model", str(tmp_path / "model")]
    line += ["--out", str(tmp_path / "out"), "--hop=5", "--look_ahead=7"]
    assert main(line) == 0
    asr = OnnxStreamingASR.from_folder(tmp_path / "out")
    geometry = model.geometries.choose(5, 7)
    assert asr.latency_report().geometry == geometry
    signal = make_signal(21000)
    with torch.no_grad():
        expected, _ = model(signal[None], geometry=geometry)
    streamed = stream(asr.model, signal, [1, 5000, 77])
    assert np.abs(streamed - expected[0].numpy()).max() < 1e-4
    session = asr.session(hop=5, look_ahead=7)
    session.push(signal.numpy())
    data = session.snapshot()
    assert asr.session(data).geometry == geometry
    with pytest.raises(ValueError, match=r"hop must be 5, which.*got 2"):
        asr.session(hop=2)
    assert main([*line[:-1], "--look_ahead=1"]) == 2
    error = capsys.readouterr().err
    assert "look_ahead must be one of 4, 0, 7" in error and "got 1\n" in error


def test_words_and_segments_are_the_same(exported, endpointing, decoder):
    """The folder carries endpoint rules and word offsets: words, times and
    segments are those of a session in PyTorch."""
    model, _ = exported
    ours, theirs = (
        push_all(session, make_signal(40000).split(640))
        for session in (
            endpointing.session(),
            Session(
                model, decoder, endpointer=ENDPOINTER, word_offsets=OFFSETS
            ),
        )
    )
    for our, their in zip(ours, theirs, strict=True):
        assert_same(our, their)
    assert ours[-1].segment > 3
    plain = push_all(endpointing.session(endpointer=Endpointer()), [])
    assert plain[-1].segment == 0
    none = push_all(
        endpointing.session(endpointer=False), make_signal(40000).split(640)
    )
    assert none[-1].segment == 0
    assert endpointing.endpointer.to_dict() == ENDPOINTER.to_dict()


def test_sessions_are_the_same(exported, asr, decoder):
    """Committed and provisional text, push by push, at another rate."""
    model, _ = exported
    ours, theirs = asr.session(), Session(model, decoder)
    signal = make_signal(66150)
    assert signal.abs().max() > 0
    provisional = set()
    for samples in signal.split(1234):
        pushed = ours.push(samples.numpy(), 22050)
        assert_same(pushed, theirs.push(samples, 22050))
        provisional.add(pushed.provisional)
    assert_same(ours.finish(), theirs.finish())
    assert ours.text == theirs.text != ""
    assert len(provisional) > 2


def test_a_channel(asr):
    """One of two, as that one alone."""
    left, right = (make_signal(20000, seed).numpy() for seed in (0, 1))
    session, expected = asr.session(channel=1), asr.session()
    for each, samples in (
        (session, np.stack([left, right], axis=1)),
        (expected, right),
    ):
        each.push(samples)
        each.finish()
    assert session.text == expected.text != ""


@settings(max_examples=30, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(0, 5000), max_size=5))
def test_sessions_are_values(exported, endpointing, lengths):
    """A snapshot goes on exactly, also in a model that is loaded anew; a fork
    does not notice; reset equals new."""
    again = OnnxStreamingASR.from_folder(exported[1], "fp32", threads=1)
    session = endpointing.session()
    for samples in split(make_signal(20000), lengths)[:-1]:
        session.push(samples, 44100)
    data = session.snapshot()
    restored, forked = again.session(data), session.fork()
    assert restored.snapshot() == forked.snapshot() == data
    rest = make_signal(9000, 7)
    said = [session.push(rest), session.finish(), session.text]
    assert [restored.push(rest), restored.finish(), restored.text] == said
    assert forked.snapshot() == data
    session.reset()
    assert session.snapshot() == endpointing.session().snapshot()


def test_snapshots_of_other_models_are_refused(exported, asr, decoder):
    """Of another graph, of PyTorch, or damaged: by name."""
    model, folder = exported
    session, other = asr.session(), Session(model, decoder)
    for each in (session, other):
        each.push(make_signal(9000))
    int8 = OnnxStreamingASR.from_folder(folder, "int8", threads=1)
    data = session.snapshot()
    for start, snapshot in ((int8, data), (asr, other.snapshot())):
        with pytest.raises(ValueError, match=r"snapshot must .*got one of"):
            start.session(snapshot)
    for damaged in (data[:-1], data + b"0", data[:-1] + b"x"):
        with pytest.raises(ValueError, match=r"snapshot must .*got damaged"):
            asr.session(damaged)


def test_beam_search(exported, asr, decoder):
    """An exported model takes one; its text is that of PyTorch."""
    search = BeamSearch(asr.text_decoder, beam_size=4, hotwords=["ABBA"])
    sessions = [
        asr.session(search=search),
        Session(exported[0], decoder, search=search),
    ]
    for session in sessions:
        session.push(make_signal(30000))
        session.finish()
    greedy = asr.session()
    greedy.push(make_signal(30000))
    assert sessions[0].text == sessions[1].text != greedy.text


def test_sessions_do_not_know_of_each_other(asr):
    """Two at once give what each gives alone, and errors change nothing."""
    signals = [make_signal(20000, seed) for seed in (1, 2)]
    alone = []
    for signal in signals:
        session = asr.session()
        session.push(signal)
        session.finish()
        alone.append(session.text)
    sessions = [asr.session() for _ in signals]
    for start in range(0, 20000, 700):
        for session, signal in zip(sessions, signals, strict=True):
            session.push(signal[start : start + 700])
            with pytest.raises(ValueError, match="NaN"):
                session.push(np.array([np.nan], np.float32))
    for session in sessions:
        session.finish()
    assert [session.text for session in sessions] == alone


def test_int8_is_close(exported):
    """Weights in 8 bits change log-probabilities a little, and the graph is
    what is taken by default."""
    model, folder = exported
    quantised = OnnxStreamingASR.from_folder(folder).model
    signal = make_signal(30000)
    with torch.no_grad():
        expected, _ = model(signal[None])
    error = np.abs(stream(quantised, signal, []) - expected[0].numpy())
    assert 1e-4 < error.max() < 1.0


def test_a_folder_with_int8_alone(exported, int8_folder, tmp_path, capsys):
    """Its graph is the one that lies beside fp32 elsewhere, and is taken
    wherever no precision is said, by commands and the example too."""
    files = {path.name for path in int8_folder.iterdir()}
    assert files == {MODEL_FILE, "step.int8.onnx"}
    assert list(read_exported(int8_folder)["graphs"]) == ["int8"]
    signal = make_signal(40000)
    wav = str(tmp_path / "a.wav")
    soundfile.write(wav, signal.numpy(), 16000, "FLOAT")
    given = [
        stream(OnnxStreamingASR.from_folder(*named).model, signal, [])
        for named in (
            (exported[1], "int8"),
            (int8_folder, "int8"),
            (int8_folder,),
        )
    ]
    assert (given[0] == given[1]).all() and (given[0] == given[2]).all()
    text = text_of(OnnxStreamingASR.from_folder(int8_folder), signal)
    command = ["transcribe", "--model", str(int8_folder), wav]
    assert main(command) == run_runtime(command) == 0
    assert capsys.readouterr().out == f"{text}\n" * 2
    for folder in (exported[1], int8_folder):
        assert run_example(folder, wav) == f"{text}\n"


def test_a_graph_that_is_not_there(exported, int8_folder, tmp_path, capsys):
    """Is named, with those that are."""
    fp32 = shutil.copytree(exported[1], tmp_path / "fp32")
    change(fp32, graphs={"fp32": "step.onnx"})
    for folder, present, asked in (
        (int8_folder, "int8", "fp32"),
        (fp32, "fp32", "int8"),
        (exported[1], "int8 or fp32", "fp64"),
    ):
        message = (
            f"precision must be {present} for the folder {str(folder)!r}, "
            f"which holds no other graph, got {asked!r}"
        )
        with pytest.raises(ValueError) as refused:
            OnnxStreamingASR.from_folder(folder, asked)
        assert str(refused.value) == message
    chapter = tmp_path / "corpus" / "test" / "7" / "1"
    chapter.mkdir(parents=True)
    soundfile.write(chapter / "7-1-0000.wav", make_signal(9000), 16000)
    (chapter / "7-1.trans.txt").write_text("7-1-0000 A\n")
    command = ["evaluate", "--model", str(int8_folder), "--split", "test"]
    command += ["--data", str(tmp_path / "corpus"), "--runs", "1"]
    assert main([*command, "--precision", "fp32"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "precision must be int8 for" in error
    assert main(command) == 0


def check_weights(path):
    """Those of convolutions and matrices are of 8 bits; what is left in
    float32 is a number for each channel or label."""
    import onnx

    graph = onnx.load(path).graph
    whole = {each.name for each in graph.initializer if each.data_type == 1}
    made_by = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        assert not (node.op_type == "MatMul" and node.input[1] in whole)
        if node.op_type == "Conv":
            scaled = made_by[node.input[1]]
            cast = made_by[scaled.input[0]]
            assert (scaled.op_type, cast.op_type) == ("Mul", "Cast")
    for constant in graph.initializer:
        if constant.name in whole:
            assert np.prod(constant.dims) == max([1, *constant.dims])


def test_all_weights_are_in_8_bits(exported):
    check_weights(exported[1] / "step.int8.onnx")


@pytest.mark.parametrize("options", [IMPORTED, CONFORMER])
def test_a_model_with_other_convolutions(tmp_path, decoder, options):
    """With a front end of another kind, biases, and positions from a
    convolution of groups; a Conformer."""
    model = make_model(extractor=make_front_end(), **options)
    folder = export_model(tmp_path / "out", model, decoder, ["int8"])
    check_weights(folder / "step.int8.onnx")
    quantised = OnnxStreamingASR.from_folder(folder).model
    signal = make_signal(30000)
    with torch.no_grad():
        expected, _ = model(signal[None])
    error = np.abs(stream(quantised, signal, [7000]) - expected[0].numpy())
    assert 1e-4 < error.max() < 2.0


@pytest.mark.parametrize("shape", [(5, 3, 1, 7), (5, 3, 7)])
def test_weights_lose_half_a_step(shape):
    """At most: a step is a 127th of the largest weight of the channel. Also
    of channels without any weight, or with the smallest ones that there
    are."""
    weight = np.random.default_rng(0).normal(size=shape)
    for channel, factor in enumerate([1, 0, 1e-45, 1e5, 1e-9]):
        weight[channel] *= factor
    weight = weight.astype(np.float32)
    integers, scale = onnx_export._in_8_bits(weight)
    assert integers.dtype == np.int8 and integers.shape == shape
    assert scale.dtype == np.float32 and scale.size == 5
    error = np.abs(integers * scale - weight).reshape(5, -1).max(axis=1)
    largest = np.abs(weight).reshape(5, -1).max(axis=1)
    assert (error <= largest / 127 * 0.5001 + 1e-44).all()


def test_a_session_scales_convolutions_once(exported, tmp_path):
    """When ONNX Runtime loads the graph in 8 bits: in the one that it runs,
    weights of convolutions are constants."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = onnx_graph.ERRORS
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    onnxruntime.InferenceSession(exported[1] / "step.int8.onnx", options)
    graph = onnx.load(tmp_path / "run.onnx").graph
    constants = {constant.name for constant in graph.initializer}
    weights = [n.input[1] for n in graph.node if n.op_type.endswith("Conv")]
    assert len(weights) == 7 and constants.issuperset(weights)


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("int8", 1)])
def test_rows_of_a_batch(exported, precision, bound):
    """Are what each is alone; in 8 bits nearly, since the rows of a step
    share its ranges."""
    import onnxruntime

    folder, clock = exported[1], OnnxStreamingASR.from_folder(exported[1])
    clock = clock.model.clock
    description = read_exported(folder)
    step = onnxruntime.InferenceSession(
        folder / description["graphs"][precision]
    )

    def outputs(rows):
        state = {
            part["name"]: np.zeros([len(rows), *part["shape"][1:]], np.float32)
            for part in description["state"]
        }
        position = np.full(len(rows), clock.first_frame)
        given = []
        for samples in np.split(rows, 8, axis=1):
            end = np.full(len(rows), description["never"])
            feeds = {"samples": samples, "position": position, "end": end}
            log_probs, _, *new = step.run(None, {**feeds, **state})
            state = dict(zip(state, new, strict=True))
            position = position + clock.step_frames
            given.append(log_probs)
        return np.concatenate(given, axis=1)

    rows = make_signal(3 * 8 * clock.step_samples).numpy().reshape(3, -1)
    alone = np.concatenate([outputs(row[None]) for row in rows])
    difference = np.abs(outputs(rows) - alone).max()
    assert difference < bound


def test_graphs_hold_no_notes(exported):
    """Of the exporter, which name files of this machine."""
    import onnx

    for name in ("step.onnx", "step.int8.onnx"):
        assert str(ROOT).encode() not in (exported[1] / name).read_bytes()
        graph = onnx.load(exported[1] / name).graph
        for part in (graph, *graph.node, *graph.value_info, *graph.input):
            assert not part.metadata_props


@pytest.mark.slow
def test_size_in_8_bits(tmp_path):
    """A quarter of 32 bits, for a model of 7.8 million parameters, a fifth of
    them in convolutions; its folder has less than 10 MB."""
    torch.manual_seed(0)
    model = StreamingCTC(
        StreamingLatentExtractor([288, 576, 288], [127, 7, 3], [64, 3, 2]),
        StreamingEncoderWrapper(
            288,
            288,
            StreamingTransformerEncoder(
                num_layers=6,
                nhead=6,
                d_ffn=1152,
                d_model=288,
                attention="llsa",
                look_back=64,
                look_ahead=8,
                hop=8,
            ),
        ),
        torch.nn.Linear(288, 30),
    ).eval()
    decoder = PieceDecoder(["", *"A" * 29], ["", *"A" * 29])
    both = export_model(tmp_path / "out", model, decoder, ["int8", "fp32"])
    sizes = {path.name: path.stat().st_size for path in both.iterdir()}
    assert 0.25 < sizes["step.int8.onnx"] / sizes["step.onnx"] < 0.26
    assert sizes["step.int8.onnx"] + sizes[MODEL_FILE] < 10e6


def test_it_needs_no_pytorch(exported, tmp_path):
    """The runtime and the example import neither PyTorch nor SpeechBrain, and
    give the text."""
    model, folder = exported
    signal = make_signal(32000)
    soundfile.write(tmp_path / "x.wav", signal.numpy(), 16000, "FLOAT")
    code = (
        "import sys, numpy as np, soundfile\n"
        "from speechbrain_llsa import OnnxStreamingASR\n"
        f"asr = OnnxStreamingASR.from_folder({str(folder)!r}, 'fp32')\n"
        "session = asr.session()\n"
        f"samples = soundfile.read({str(tmp_path / 'x.wav')!r})[0]\n"
        "said = [session.push(samples), session.finish()]\n"
        "assert not {'torch', 'speechbrain'} & set(sys.modules)\n"
        "print(''.join(transcript.committed for transcript in said))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout
    session = Session(model, TextDecoder(make_tokenizer()))
    session.push(signal)
    session.finish()
    plain = shutil.copytree(folder, tmp_path / "fp32")
    change(plain, graphs={"fp32": "step.onnx"})
    example = run_example(plain, tmp_path / "x.wav")
    assert printed == example == session.text + "\n"
    lines = (ROOT / "examples" / "stream_onnx.py").read_text().splitlines()
    assert len(lines) <= 60


@pytest.mark.slow
def test_command(tmp_path, capsys):
    """The command writes what loads, and says what it wrote."""
    source = write_streaming_folder(
        tmp_path / "streaming", make_model(), make_tokenizer()
    )
    out = tmp_path / "out"
    command = ["export", "--model", str(source), "--out", str(out)]
    assert main(command) == 0
    assert "step.onnx" in capsys.readouterr().out
    assert list(read_exported(out)["graphs"]) == ["fp32"]
    OnnxStreamingASR.from_folder(out)
    for options, graphs in (
        (["--precision", "int8"], ["int8"]),
        (["--precision", "int8", "fp32"], ["fp32", "int8"]),
        (["--int8"], ["fp32", "int8"]),
    ):
        assert main([*command, *options]) == 0
        given = read_exported(out)["graphs"]
        assert list(given) == graphs
        assert {path.name for path in out.iterdir()} == {
            MODEL_FILE,
            *given.values(),
        }
    capsys.readouterr()
    assert main([*command, "--precision", "int8", "int8"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "got ['int8', 'int8']" in error
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    assert main([*command[:-1], str(other)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert list(other.iterdir()) == [other / "precious"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--search", "greedy"],
        ["--beam_size", "4"],
        ["--hotword", "ABBA", "--endpoint"],
    ],
    ids=" ".join,
)
def test_commands_take_exported_folders(tmp_path, capsys, options):
    """transcribe prints what it prints of the model that was exported, and so
    does the program without PyTorch, which has greedy search alone."""
    source = write_streaming_folder(
        tmp_path / "streaming", make_model(), make_tokenizer()
    )
    out, wav = tmp_path / "out", str(tmp_path / "a.wav")
    assert main(["export", "--model", str(source), "--out", str(out)]) == 0
    soundfile.write(wav, make_signal(40000).numpy(), 16000, "FLOAT")
    capsys.readouterr()
    printed = []
    for folder in (source, out):
        arguments = ["--model", str(folder), *options, wav]
        assert main(["transcribe", *arguments]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and len(printed[0]) > 20
    if not options:
        assert run_runtime(["transcribe", *arguments]) == 0
        assert capsys.readouterr().out == printed[0]


def test_options_that_an_exported_folder_refuses(exported, tmp_path, capsys):
    """Another geometry than its own, and a search that does not exist."""
    _, folder = exported
    wav = str(tmp_path / "a.wav")
    soundfile.write(wav, make_signal(4000).numpy(), 16000)
    command = ["transcribe", "--model", str(folder)]
    assert main([*command, "--hop", "7", wav]) == 2
    assert "hop must be 2, which the model" in capsys.readouterr().err
    assert main([*command, "--search=greedy", "--beam_size=3", wav]) == 2
    assert "--search must be beam with beam_size" in capsys.readouterr().err


DAMAGES = {
    "no json": lambda folder: (folder / MODEL_FILE).unlink(),
    "not json": lambda folder: (folder / MODEL_FILE).write_text("{"),
    "no graph": lambda folder: (folder / "step.onnx").unlink(),
    "short graph": lambda folder: (folder / "step.onnx").write_bytes(
        (folder / "step.onnx").read_bytes()[:5000]
    ),
    "empty graph": lambda folder: (folder / "step.onnx").write_bytes(b""),
    "format": lambda folder: change(folder, format="another"),
    "version": lambda folder: change(folder, format_version=99),
    "hop": lambda folder: change(folder, hop=3),
    "step": lambda folder: change(folder, hop=3, step_frames=3),
    "huge": lambda folder: change(folder, look_back=1 << 40),
    "attention": lambda folder: change(folder, attention="aa"),
    "pieces": lambda folder: change(folder, pieces=[1]),
    "fewer pieces": lambda folder: change(
        folder, pieces=["", "A"], first_pieces=["", "A"]
    ),
    "graph outside": lambda folder: change(
        folder, graphs={"fp32": "../step.onnx"}
    ),
    "no graphs": lambda folder: change(folder, graphs={}),
    "no step": lambda folder: change_graph(folder),
    "rules": lambda folder: change(folder, endpointer=[1]),
    "unknown rule": lambda folder: change(folder, endpointer={"a": None}),
    "endless rule": lambda folder: change(
        folder, endpointer={"after_speech": {"silence_seconds": 1e400}}
    ),
    "runtime": lambda folder: change(folder, onnxruntime=[1]),
    "offsets": lambda folder: change(folder, word_offsets={"end_seconds": ""}),
    "unknown": lambda folder: change(folder, unknown=1),
    "kind": lambda folder: change(folder, kind="ctc"),
    "delay": lambda folder: change(folder, delay_frames=9),
    "state": lambda folder: change(folder, state=[{}]),
    "no offsets": lambda folder: change(folder, word_offsets=None),
}


def change(folder, **values):
    path = folder / MODEL_FILE
    description = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**description, **values}), encoding="utf-8")


def change_graph(folder):
    """A graph that loads, and whose first convolution cannot be run."""
    import onnx

    graph = onnx.load(folder / "step.onnx")
    node = next(n for n in graph.graph.node if n.op_type == "Conv")
    (shape,) = (a for a in node.attribute if a.name == "kernel_shape")
    shape.ints[-1] = 1
    graph.graph.ClearField("value_info")
    onnx.save(graph, folder / "step.onnx")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders_are_refused(exported, tmp_path, damage):
    """By name, and before anything large is made."""
    folder = shutil.copytree(exported[1], tmp_path / "copy")
    DAMAGES[damage](folder)
    with pytest.raises((ValueError, FileNotFoundError), match=r"folder must"):
        OnnxStreamingASR.from_folder(folder, "fp32")


def test_an_older_runtime_is_named(exported, tmp_path, monkeypatch):
    """By what the folder needs, as its model.json says."""
    import onnxruntime

    before = shutil.copytree(exported[1], tmp_path / "before")
    description = read_exported(before)
    description["onnxruntime"] = "1.29"
    (before / MODEL_FILE).write_text(json.dumps(description))
    OnnxStreamingASR.from_folder(before)
    for folder, oldest, version in (
        (exported[1], "1.14", "1.13.1"),
        (before, "1.29", "1.17.3"),
    ):
        monkeypatch.setattr(onnxruntime, "__version__", version)
        message = f"needs onnxruntime {oldest} or newer, got {version}"
        with pytest.raises(ImportError, match=message):
            OnnxStreamingASR.from_folder(folder)
    monkeypatch.setattr(onnxruntime, "__version__", "1.14.0")
    OnnxStreamingASR.from_folder(exported[1])


def test_a_runtime_that_does_not_load(exported, tmp_path):
    """One that was built for NumPy 1 is not called missing."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('')")
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from speechbrain_llsa import OnnxStreamingASR\n"
        f"OnnxStreamingASR.from_folder({str(exported[1])!r})\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert "onnxruntime must be one that loads here" in process.stderr
    assert f"NumPy {np.__version__}" in process.stderr


def test_graphs_are_of_the_lowest_versions(exported):
    """Of opset and IR, and without a cosine of float64, which onnxruntime
    has had since 1.29 alone."""
    import onnx

    for name in read_exported(exported[1])["graphs"].values():
        model = onnx.load(exported[1] / name)
        assert model.ir_version == 8
        assert [(each.domain, each.version) for each in model.opset_import] == [
            ("", 18)
        ]
        assert not [n for n in model.graph.node if n.op_type == "Cos"]


def test_a_day_of_positions(asr):
    """The graph's rotation is as exact after 24 hours as at the start: what
    it gives for noise does not depend on where it begins."""
    model, signal, given = asr.model, make_signal(32000).numpy(), []
    for steps in (1000, 2_160_000):
        state = model.make_streaming_context()
        state.steps = steps
        given.append(model.stream(signal, state)[0])
    assert np.abs(given[0] - given[1]).max() < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_opens_the_graph_anew(exported):
    """Its text is that of its parent, also where it is forked while another
    thread runs a step; and it can drop the model."""
    given = run_forking(str(exported[1]))
    assert len(given) == 12
    assert set(given.values()) == {"right"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_no_session_of_the_runtime_crosses_a_fork(exported):
    """It is kept, since its end would wait for threads that are not there,
    and another is opened for the first push."""
    graph = OnnxStreamingASR.from_folder(exported[1], "fp32").model._graph
    before = graph._session
    pid = os.fork()
    if not pid:
        opened = graph._session is None and graph.inputs()
        kept = sys.getrefcount(before) > 2
        os._exit(0 if opened and kept and graph._session != before else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert graph._session is before


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_model_can_be_sent(endpointing, copied):
    """With precision, threads, endpointer and offsets; its sessions too."""
    sent = copied(endpointing)
    assert sent.endpointer.to_dict() == ENDPOINTER.to_dict()
    assert sent.word_offsets == OFFSETS
    assert sent.model.threads == 1
    assert sent.model.fingerprint() == endpointing.model.fingerprint()
    session = endpointing.session()
    session.push(make_signal(20000))
    same = [copied(session), sent.session(session.snapshot())]
    tail = session.finish()
    assert tail.words
    for each in same:
        assert_same(each.finish(), tail)


def test_a_spawned_process_opens_the_graph_anew(endpointing):
    """And gives the text."""
    signal = make_signal(20000).numpy()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        text = pool.submit(text_of, endpointing, signal).result(120)
    assert text == text_of(endpointing, signal) != ""


def test_another_graph_is_not_taken_for_the_one_sent(exported, tmp_path):
    """Where the folder was written anew, or is gone."""
    folder = shutil.copytree(exported[1], tmp_path / "copy")
    data = pickle.dumps(OnnxStreamingASR.from_folder(folder, "fp32"))
    shutil.copy(folder / "step.int8.onnx", folder / "step.onnx")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"must hold the step\.onnx that"):
            pickle.loads(data)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("cpus", [1, 3])
@pytest.mark.parametrize("asked", [None, 1, 2, 64])
def test_threads_are_those_of_the_affinity(exported, monkeypatch, cpus, asked):
    """At most, by default and where more are asked for; and errors of ONNX
    Runtime are not hidden."""
    import onnxruntime

    given = []
    real = onnxruntime.InferenceSession

    def open_graph(path, options, **others):
        given.append((options.intra_op_num_threads, options.log_severity_level))
        return real(path, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_graph)
    monkeypatch.setattr(onnx_graph, "available_cpus", lambda: cpus)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    model = OnnxStreamingASR.from_folder(exported[1], threads=asked).model
    expected = min(asked or cpus, cpus)
    assert given == [(expected, 3)]
    assert model.threads == expected
    monkeypatch.setattr(onnx_graph, "available_cpus", lambda: 4)
    model = OnnxStreamingASR.from_folder(exported[1], threads=asked).model
    assert model.threads == (asked and min(asked, 4))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_one_cpu(exported, tmp_path):
    """As by ``taskset -c 0``: neither the runtime nor the example makes
    threads for a step, or complains."""
    soundfile.write(tmp_path / "x.wav", make_signal(16000).numpy(), 16000)
    code = (
        "import os, runpy, sys\n"
        "cpu = min(os.sched_getaffinity(0))\n"
        "os.sched_setaffinity(0, {cpu})\n"
        "import onnxruntime\n"
        "threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = threads()\n"
        "from speechbrain_llsa import OnnxStreamingASR\n"
        "asr = OnnxStreamingASR.from_folder(sys.argv[1], 'fp32', 8)\n"
        "assert threads() == before\n"
        "runpy.run_path('examples/stream_onnx.py')\n"
        "assert threads() == before\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(exported[1]), tmp_path / "x.wav"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (process.returncode, process.stderr) == (0, "")


def test_bad_arguments_are_refused(exported, tmp_path):
    """Threads out of range, a missing folder, what cannot be exported."""
    folder = exported[1]
    with pytest.raises(ValueError, match=r"threads must .*got 0"):
        OnnxStreamingASR.from_folder(folder, threads=0)
    with pytest.raises(FileNotFoundError, match="folder must be"):
        OnnxStreamingASR.from_folder(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"attention must .*got 'aa'"):
        export_model(tmp_path / "x", make_model("aa"), None)
    for precisions in (
        True,
        None,
        "int8",
        [],
        [["int8"]],
        ["int8", "fp16"],
        ["int8", "int8"],
    ):
        with pytest.raises(ValueError) as refused:
            export_model(tmp_path / "x", make_model(), None, precisions)
        assert str(refused.value) == (
            "precisions must be a list of int8 or fp32, or of both, got "
            f"{precisions!r}"
        )
    assert not (tmp_path / "x").exists()


def test_the_graph_is_checked(exported, tmp_path, decoder, monkeypatch):
    """A graph that gives the same within is never written."""
    write = onnx_export._write_graph

    def write_another(step, path):
        write(step, path)
        torch.nn.init.normal_(step.model.head.bias)

    monkeypatch.setattr(onnx_export, "_write_graph", write_another)
    with pytest.raises(ValueError, match="gives the same within"):
        export_model(tmp_path / "out", make_model(), decoder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["order", "scale", "overflow", "NaN"])
def test_the_graph_in_8_bits_is_checked(tmp_path, decoder, monkeypatch, damage):
    """Channels in another order, scales of other channels, integers that
    overflow, or no numbers."""
    from onnx import numpy_helper

    quantise = onnx_export._quantise_convolutions

    def quantise_badly(graph):
        quantise(graph)
        for constant in graph.initializer:
            array = numpy_helper.to_array(constant)
            integers, scale = array.dtype == np.int8, "_scale" in constant.name
            if damage == "order" and integers:
                array = np.roll(array, 1, axis=0)
            elif damage == "overflow" and integers:
                array = (2 * array.astype(int)).astype(np.int8)
            elif damage == "scale" and scale:
                array = np.resize(array.max(), array.shape)
            elif damage == "NaN" and scale:
                array = array * np.float32("nan")
            constant.CopyFrom(numpy_helper.from_array(array, constant.name))

    monkeypatch.setattr(onnx_export, "_quantise_convolutions", quantise_badly)
    with pytest.raises(ValueError, match="in 8 bits gives the same within"):
        export_model(tmp_path / "out", make_model(), decoder, ["int8"])
    assert not list(tmp_path.iterdir())


def test_a_description_of_another_editor(exported, tmp_path):
    """A byte order mark and carriage returns in model.json change nothing;
    other encodings are named."""
    folder = shutil.copytree(exported[1], tmp_path / "a")
    path = folder / "model.json"
    content = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    read_exported(folder)
    path.write_bytes(content.decode().encode("utf-16"))
    with pytest.raises(ValueError, match=r"model\.json must be UTF-8, got"):
        read_exported(folder)
