"""Sessions are values: snapshots, forks, resets; and untrusted ones."""

import copy
import hashlib
import json
import random
import subprocess
import sys
import textwrap
import tracemalloc
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snapshot_files import WRONG, close_up, open_up
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.lobes.expected_layout import to_arrays
from speechbrain_llsa_runtime import snapshot as snapshots
from speechbrain_llsa_runtime.dataio.resampling import StreamingResampler
from speechbrain_llsa_runtime.geometry import StreamGeometry, TrainedGeometries
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from tiny_model import CONFORMER, make_model, make_signal, make_tokenizer

TESTS = Path(__file__).parents[1]
ATTENTIONS = ["llsa", "sa", "maa"]
DECODER = TextDecoder(make_tokenizer())
MODELS = {
    **{attention: make_model(attention) for attention in ATTENTIONS},
    "conformer": make_model(**CONFORMER),
    "conformer, sa": make_model("sa", **CONFORMER),
}


@pytest.fixture(scope="module", params=[*ATTENTIONS, "conformer"])
def model(request):
    return MODELS[request.param]


@pytest.fixture(scope="module")
def llsa():
    return make_model()


def pushed(model, samples=30000, sample_rate=44100):
    session = Session(model, DECODER)
    session.push(make_signal(samples), sample_rate)
    return session


def rest_of(session, samples=20000):
    """All that a session says from here on."""
    said = [session.push(part) for part in make_signal(samples, 7).split(3001)]
    return [*said, session.finish(), session.text]


def remembered(value, path="state"):
    """Every value in a state, by path: no rule of the snapshot's own."""
    if is_dataclass(value):
        for item in fields(value):
            name = f"{path}.{item.name}"
            yield from remembered(getattr(value, item.name), name)
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from remembered(each, f"{path}.{index}")
    else:
        yield path, value


def same_states(one, other):
    one, other = dict(remembered(one)), dict(remembered(other))
    assert one.keys() == other.keys()
    for path, value in one.items():
        assert type(value) is type(other[path]), path
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[path].dtype, path
            assert torch.equal(value, other[path]), path
        elif isinstance(value, np.ndarray):
            assert value.dtype == other[path].dtype, path
            assert np.array_equal(value, other[path]), path
        else:
            assert value == other[path], path


# -- sessions are values


@pytest.mark.parametrize("samples", [None, 0, 1, 700, 3000, 50000])
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_everything_is_in_a_snapshot(model, samples, sample_rate):
    """Every field of the state comes back bit by bit, of the same type, and
    the session goes on exactly, its provisional text included."""
    session = Session(model, DECODER)
    if samples is not None:
        session.push(make_signal(samples), sample_rate)
    restored = Session(model, DECODER, session.snapshot())
    same_states(restored._state, session._state)
    assert restored.snapshot() == session.snapshot()
    assert rest_of(restored) == rest_of(session)


@pytest.mark.parametrize("precision", ["float64", "bfloat16", "float16"])
def test_other_precisions(precision):
    """bfloat16, which NumPy does not know, goes through as well."""
    model = make_model().to(getattr(torch, precision))
    session = pushed(model)
    restored = Session(model, DECODER, session.snapshot())
    same_states(restored._state, session._state)
    assert rest_of(restored) == rest_of(session)


def test_a_finished_session_is_its_text(model):
    """It takes no more, and is as small as its text."""
    session = pushed(model)
    session.finish()
    data = session.snapshot()
    restored = Session(model, DECODER, data)
    assert restored.finished
    assert restored.text == session.text != ""
    assert len(data) < 2000
    with pytest.raises(ValueError, match="a call after finish"):
        restored.push(make_signal(10))


@pytest.mark.parametrize("samples", [None, 3000, 20000])
@pytest.mark.parametrize("finish", [False, True])
def test_a_snapshot_has_its_geometry(samples, finish):
    """It goes on with it, and begins again with it; another is refused."""
    model = make_model(hop=[2, 5], look_ahead=[4, 7])
    session = Session(model, DECODER, hop=5, look_ahead=7)
    if samples is not None:
        session.push(make_signal(samples))
    if finish:
        session.finish()
    data = session.snapshot()
    restored = Session(model, DECODER, data)
    assert restored.geometry == session.geometry == StreamGeometry(12, 7, 5)
    same_states(restored._state, session._state)
    Session(model, DECODER, data, hop=5, look_ahead=7)
    for choice in ({"hop": 2}, {"look_ahead": 4}, {"hop": 5, "look_ahead": 4}):
        with pytest.raises(ValueError, match="with which the session of the"):
            Session(model, DECODER, data, **choice)
    if not finish:
        assert rest_of(restored) == rest_of(session)
    restored.reset()
    assert restored.geometry == session.geometry
    assert restored.fork().geometry == session.geometry


@pytest.mark.parametrize("finish", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("geometry.hop", 5),
        ("geometry.hop", 3),
        ("geometry.hop", True),
        ("geometry.hop", None),
        ("geometry.look_ahead", 10**9),
        ("geometry.look_back", 13),
    ],
)
def test_an_untrusted_geometry_is_refused(name, value, finish):
    """One that the model is not trained for, or that the state is not of. A
    finished session holds no state, and may be of any."""
    model = make_model(hop=[2, 5], look_ahead=[4, 7])
    session = pushed(model)
    if finish:
        session.finish()
    about, arrays = open_up(session.snapshot())
    about["values"][name] = value
    if finish and value == 5:
        assert Session(model, DECODER, close_up(about, arrays)).finished
        return
    refused(model, close_up(about, arrays), "damaged or other")


def test_another_process_goes_on(llsa, tmp_path):
    """A snapshot is read by a process that shares nothing but the weights."""
    session = pushed(llsa)
    (tmp_path / "snapshot").write_bytes(session.snapshot())
    program = """
        import sys
        sys.path.insert(0, {tests!r})
        import torch
        torch.set_num_threads(1)
        from pathlib import Path
        from tiny_model import make_model, make_signal, make_tokenizer
        from speechbrain_llsa_runtime.inference.session import Session
        from speechbrain_llsa.decoders.tokenizers import TextDecoder
        data = Path({path!r}).read_bytes()
        session = Session(make_model(), TextDecoder(make_tokenizer()), data)
        session.push(make_signal(20000, 7))
        session.finish()
        print("TEXT:" + session.text)
    """
    program = textwrap.dedent(program).format(
        tests=str(TESTS), path=str(tmp_path / "snapshot")
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=TESTS.parent,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    session.push(make_signal(20000, 7))
    session.finish()
    assert result.stdout.split("TEXT:")[1].rstrip("\n") == session.text


def test_forks_do_not_share_state(model):
    """What one fork is given, the others do not notice, in any order."""
    session = pushed(model)
    before = session.snapshot()
    first, second = session.fork(), session.fork()
    for seed in range(8):
        first.push(make_signal(9000, seed))
        assert session.snapshot() == second.snapshot() == before
    first.finish()
    assert session.snapshot() == second.snapshot() == before
    expected = rest_of(Session(model, DECODER, before))
    assert rest_of(second) == expected
    assert not session.finished
    assert rest_of(session) == expected


def test_forks_of_a_new_session(model):
    """Neither its rate nor that there is text gets to the others."""
    session = Session(model, DECODER)
    before = session.snapshot()
    forked = session.fork()
    forked.push(make_signal(30000), 44100)
    assert forked.text
    assert session.snapshot() == before
    session.push(make_signal(100), 8000)


def test_no_call_writes_into_a_tensor(model):
    """A fork shares tensors, so nothing may write to them."""
    session = pushed(model)
    held = dict(remembered(session._state))
    copies = copy.deepcopy(held)
    rest_of(session.fork())
    for path, value in held.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, copies[path]), path
        elif isinstance(value, np.ndarray):
            assert np.array_equal(value, copies[path]), path


@pytest.mark.parametrize("finish", [False, True])
def test_reset_equals_new(model, finish):
    """Also another rate may follow."""
    session = pushed(model)
    if finish:
        session.finish()
    session.reset()
    new = Session(model, DECODER)
    same_states(session._state, new._state)
    assert session.text == ""
    session.push(make_signal(5000), 8000)
    new.push(make_signal(5000), 8000)
    assert rest_of(session) == rest_of(new)


def test_a_snapshot_does_not_grow_with_the_audio(llsa):
    """But for its text."""
    sizes = []
    for samples in (60000, 300000):
        session = pushed(llsa, samples, 16000)
        text = len(session.text)
        sizes.append(len(session.snapshot()) - text)
    assert abs(sizes[0] - sizes[1]) < 2000


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from([*ATTENTIONS, "conformer", "conformer, sa"]),
    look_back=st.integers(0, 7),
    look_ahead=st.integers(0, 5),
    hop=st.integers(1, 5),
    samples=st.integers(0, 9000),
)
def test_the_form_is_that_of_the_state(
    name, look_back, look_ahead, hop, samples
):
    """Shapes, types and counters follow from the samples alone."""
    model = copy.deepcopy(MODELS[name])
    encoder = model.encoder_wrapper.latent_encoder
    encoder.geometries = TrainedGeometries(look_back, look_ahead, hop)
    context = model.make_streaming_context()
    for part in make_signal(samples).split(2000):
        model.stream(part.numpy(), context)
    if not samples:
        model.stream(np.zeros(0, np.float32), context)
    given = snapshots.flatten(to_arrays(context))
    form = snapshots.flatten(model.context_form(samples))
    assert given.keys() == form.keys()
    for name, value in form.items():
        if isinstance(value, np.ndarray):
            assert given[name].dtype == value.dtype, name
            assert given[name].shape == value.shape, name
        else:
            assert given[name] == value, name


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([1000, 8000, 11025, 16000, 22050, 44100, 44056]),
    pushes=st.lists(st.integers(0, 900), max_size=5),
)
def test_the_form_of_resampling(rate, pushes):
    """The same of the resampler."""
    resampler = StreamingResampler(rate, 16000)
    state = resampler.make_streaming_context()
    given = [
        resampler.push(np.zeros(n, np.float32), state).shape[0] for n in pushes
    ]
    form = resampler.context_form(sum(pushes))
    assert state.kept.shape == form.kept.shape
    assert state.kept.dtype == form.kept.dtype
    assert replace(state, kept=None) == replace(form, kept=None)
    assert form.given == sum(given)


# -- what is refused


def refused(model, data, message="", error=ValueError):
    with pytest.raises(error, match=f"^snapshot must .*{message}"):
        Session(model, DECODER, data)


def test_another_model_is_refused(llsa):
    """One that differs in one weight, in geometry, or in its labels."""
    data = pushed(llsa).snapshot()
    changed = make_model()
    with torch.no_grad():
        changed.head.bias[3] += 1e-6
    refused(changed, data, "this model .*got one of '")
    for geometry in (
        {"look_back": 11},
        {"look_ahead": 3},
        {"hop": 1},
        {"hop": [2, 1]},
    ):
        refused(make_model(**geometry), data, "this model")
    refused(make_model("sa"), data, "this model")
    refused(make_model().double(), data, "this model")
    tokenizer = make_tokenizer()
    tokenizer.lab2ind, tokenizer.ind2lab = {}, {}
    tokenizer.update_from_iterable("GFEDCBA ")
    tokenizer.insert_blank(index=0)
    with pytest.raises(ValueError, match=r"^snapshot must .*got one of"):
        Session(llsa, TextDecoder(tokenizer), data)


def test_weights_that_change_make_another_model(llsa):
    """The digest is kept, but not past a change."""
    model = make_model()
    before = model.fingerprint()
    assert before == llsa.fingerprint() == model.fingerprint()
    with torch.no_grad():
        model.head.bias[0] += 1
    assert model.fingerprint() != before
    model.load_state_dict(llsa.state_dict())
    assert model.fingerprint() == before


@pytest.mark.parametrize(
    "data", ["text", 7, [1], torch.zeros(3), np.zeros(3, np.uint8)]
)
def test_no_bytes_are_refused(llsa, data):
    refused(llsa, data, "be bytes", TypeError)


def test_buffers_are_bytes(llsa):
    session = pushed(llsa)
    data = session.snapshot()
    for kind in (bytearray, memoryview):
        assert Session(llsa, DECODER, kind(data)).text == session.text


def truncated(data, generator):
    return data[: generator.randrange(len(data))]


def flipped(data, generator):
    damaged = bytearray(data)
    damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(damaged)


def lengthened(data, generator):
    return data + generator.randbytes(generator.randrange(1, 9))


def scrambled(data, generator):
    start = generator.randrange(len(data))
    junk = generator.randbytes(generator.randrange(1, 64))
    damaged = data[:start] + junk + data[start + len(junk) :]
    return damaged if damaged != data else data[:-1]


DAMAGES = [truncated, flipped, lengthened, scrambled]


def damage_many(model, count, samples):
    session = pushed(model, samples, 8000)
    data, generator = session.snapshot(), random.Random(0)
    other = pushed(model, 9000, 8000)
    before = other.snapshot()
    for index in range(count):
        refused(model, DAMAGES[index % len(DAMAGES)](data, generator))
    assert other.snapshot() == before
    assert rest_of(Session(model, DECODER, data)) == rest_of(session)


def test_damaged_snapshots_are_refused(model):
    """Truncated, a bit flipped, lengthened, scrambled: by name, and neither
    the model nor its sessions notice."""
    damage_many(model, count=400, samples=5000)


@pytest.mark.slow
@pytest.mark.long
def test_damaged_snapshots_are_refused_long(model):
    damage_many(model, count=20000, samples=20000)


@pytest.mark.slow
@pytest.mark.long
def test_every_bit_counts(llsa):
    """Each single bit of a small snapshot, flipped, is noticed."""
    data = pushed(llsa, 700, 16000).snapshot()
    for index in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[index] ^= 1 << bit
            refused(llsa, bytes(damaged))


# -- untrusted snapshots: their checksum is right


def test_a_right_checksum_is_accepted(model):
    """Opened and closed again it is the same: the tests below test what they
    say."""
    data = pushed(model).snapshot()
    assert close_up(*open_up(data)) == data


@pytest.mark.parametrize("version", [1, 2, 3, 5, -1, "1", 1.0, None, True, [1]])
def test_another_version_is_refused(llsa, version):
    about, arrays = open_up(pushed(llsa).snapshot())
    about["version"] = version
    refused(llsa, close_up(about, arrays), "be of format .* in version .* got")


def test_another_format_is_refused(llsa):
    about, arrays = open_up(pushed(llsa).snapshot())
    about["format"] = "another"
    refused(llsa, close_up(about, arrays), "got 'another'")


AS_GOOD = {
    "transcriber.search.label": ("1", "5"),
    "transcriber.search.start": ("0", "1", "5"),
    "transcriber.search.confidence": ("0.5",),
    "transcriber.word.start": ("0", "1", "5"),
    "transcriber.word.end": ("1", "5"),
    "transcriber.word.confidence": ("0.5",),
}
"""What the audio may as well have given, as far as counters tell."""


def test_every_value_is_checked(model):
    """Each counter, size and flag, replaced by something else, is refused;
    only other text of the same emptiness, and what the label and the word that
    go on may be as well, are as good."""
    about, arrays = open_up(pushed(model).snapshot())
    count = 0
    for name, value in about["values"].items():
        for wrong in WRONG:
            if repr(wrong) == repr(value):
                continue
            if name == "transcriber.text" and isinstance(wrong, str) and wrong:
                continue
            if repr(wrong) in AS_GOOD.get(name, ()):
                continue
            changed = {**about["values"], name: wrong}
            data = close_up({**about, "values": changed}, arrays)
            refused(model, data)
            count += 1
    assert count > 300


@pytest.mark.parametrize("samples", [700, 9000, 30000])
def test_segments_are_checked(llsa, samples):
    """The counters of endpoints fit each other and the frames, or else are
    refused; those that fit go on."""
    endpointer = Endpointer(
        after_speech=EndpointRule(True, 0.04),
        maximum_length=EndpointRule(length_seconds=0.2),
    )
    session = Session(llsa, DECODER, endpointer=endpointer)
    session.push(make_signal(samples))
    about, arrays = open_up(session.snapshot())
    place = "transcriber.segment"
    segment = session._state.transcriber.segment
    frames = session._state.transcriber.frames
    wrong = {
        "number": [-1, segment.start + 1, True, 0.5, None, "1"],
        "start": [-1, frames + 1, True, 1.5, None],
        "silence": [-1, frames + 1, False, 0.5, None],
        "speech": [not segment.speech, 0, 1, None, 2],
        "label": [-2, 9, None, 0.0, True],
    }
    if frames:
        wrong["label"].append(-1)
    if segment.number:
        wrong["number"].append(0)
    for name, values in wrong.items():
        for value in values:
            changed = {**about["values"], f"{place}.{name}": value}
            data = close_up({**about, "values": changed}, arrays)
            with pytest.raises(ValueError, match=r"^snapshot must .*got"):
                Session(llsa, DECODER, data, endpointer=endpointer)
    restored = Session(llsa, DECODER, session.snapshot(), endpointer=endpointer)
    assert rest_of(restored) == rest_of(session)


def test_a_search_that_cannot_be_written_is_named(llsa):
    """A snapshot of its session is refused, taken or given."""

    class Search:
        def make_streaming_context(self):
            return None

        def look_ahead(self, log_probs, state):
            return []

    session = Session(llsa, DECODER, search=Search())
    with pytest.raises(ValueError, match=r"search must .*got Search"):
        session.snapshot()
    with pytest.raises(ValueError, match=r"search must .*got Search"):
        Session(llsa, DECODER, pushed(llsa).snapshot(), search=Search())


def test_values_may_not_be_missing_or_more(model):
    about, arrays = open_up(pushed(model).snapshot())
    for name in about["values"]:
        values = dict(about["values"])
        del values[name]
        refused(model, close_up({**about, "values": values}, arrays))
    values = {**about["values"], "more": 1}
    refused(model, close_up({**about, "values": values}, arrays), "more is 1")
    for key in about:
        if key != "checksum":
            part = {k: v for k, v in about.items() if k != key}
            refused(model, close_up(part, arrays))


def test_every_array_is_checked(model):
    """Another shape, type or content that is not finite, a missing and an
    additional one."""
    about, arrays = open_up(pushed(model).snapshot())
    assert len(arrays) > 10
    for name, array in arrays.items():
        wrong = [
            array[None],
            array[..., None],
            array.reshape(-1)[: array.size // 2],
            np.concatenate([array, array]),
            array.astype(np.float16),
            array.astype(np.float64),
            array.astype(np.int32),
        ]
        if array.size and array.dtype.kind == "f":
            wrong += [
                np.full_like(array, number) for number in (np.nan, -np.inf)
            ]
        for other in wrong:
            refused(model, close_up(about, {**arrays, name: other}))
        rest = {n: a for n, a in arrays.items() if n != name}
        refused(model, close_up(about, rest))
    more = {**arrays, "more": np.zeros(0, np.float32)}
    refused(model, close_up(about, more))


@pytest.mark.parametrize("label", [-2, -1, 9, 2**62])
def test_the_last_label_is_checked(llsa, label):
    about, arrays = open_up(pushed(llsa).snapshot())
    about["values"]["transcriber.search.label"] = label
    refused(llsa, close_up(about, arrays), f"a run of label {label} ")


def header_only(header):
    header = json.dumps(header).encode() if isinstance(header, dict) else header
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        bytes(8),
        b"\xff" * 8,
        b"\xff" * 100,
        header_only(b"[" * 100000),
        header_only(b'{"__metadata__": ' + b'{"a":' * 50000),
        header_only({"__metadata__": {"session": "[" * 100000}}),
        header_only({"__metadata__": {"session": 1}}),
        header_only({"__metadata__": {"session": "[]"}}),
        header_only({"__metadata__": {"session": "\ud800"}}),
        header_only({}),
        header_only(b"\x80\x04\x95 pickle"),
    ],
    ids=range(13),
)
def test_other_bytes_are_refused(llsa, data):
    refused(llsa, data, "damaged or other")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", 10**9 + 7),
        ("sample_rate", 767999),
        ("signal.received", 2**62),
        ("signal.received", 2**42),
        ("model.encoder.signature.1.look_back", 10**9),
        ("model.front_end.samples", 10**12),
    ],
)
def test_no_snapshot_takes_much_memory(llsa, name, value):
    """What it says of its size is not believed: below 200 MB, and a named
    error. Tables of the highest rate are the most."""
    about, arrays = open_up(pushed(llsa).snapshot())
    about["values"][name] = value
    data = close_up(about, arrays)
    tracemalloc.start()
    try:
        refused(llsa, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200e6


def test_a_promise_of_a_gigabyte_is_refused(llsa):
    """An array that the header says is large, and that is not there."""
    about, arrays = open_up(pushed(llsa).snapshot())
    data = close_up(about, arrays)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["more"] = {
        "dtype": "F32",
        "shape": [1 << 30],
        "data_offsets": [len(data) - 8 - size, len(data) - 8 - size + 2**32],
    }
    text = json.dumps(header)
    checksum = about["checksum"]
    blank = text.replace(checksum, snapshots.CHECKSUM_PLACEHOLDER, 1).encode()
    blank = len(blank).to_bytes(8, "little") + blank + data[8 + size :]
    digest = hashlib.sha256(blank).hexdigest().encode()
    refused(
        llsa, blank.replace(snapshots.CHECKSUM_PLACEHOLDER.encode(), digest, 1)
    )


def test_text_with_the_blank_checksum_in_it(llsa):
    """Text that looks like what stands for the checksum does no harm."""
    session = pushed(llsa)
    session._state.transcriber.text = (
        snapshots.CHECKSUM_PLACEHOLDER + 'ä"\\\n' + "é" * 70
    )
    restored = Session(llsa, DECODER, session.snapshot())
    assert restored.text == session.text


def test_text_beyond_a_snapshot_is_refused_when_taken(llsa):
    """Before bytes are given that nobody can read."""
    session = pushed(llsa)
    session._state.transcriber.text = "A" * (snapshots.HEADER_BYTES + 1)
    with pytest.raises(ValueError, match=r"session must .*bytes of text"):
        session.snapshot()


def test_a_model_that_cannot_stream_is_refused_first(llsa):
    """Not blamed on the snapshot."""
    with pytest.raises(ValueError, match=r"attention must .*got 'aa'"):
        Session(make_model("aa"), DECODER, pushed(llsa).snapshot())
