"""One model, many latencies: at each of its geometries a model is the one
that has this geometry alone, offline and streamed, whoever else runs."""

import inspect

import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.geometry import StreamGeometry
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.model_folder.description import read_description
from tiny_model import make_model, make_signal, make_tokenizer, split

HOPS, LOOK_AHEADS = (2, 1, 5), (4, 0, 7)
DECODER = TextDecoder(make_tokenizer())


def make_latencies(attention="llsa"):
    """With smaller logits than the tiny model's, and the same text: of those
    float32 alone is off by more than 1e-4."""
    model = make_model(attention, hop=HOPS, look_ahead=LOOK_AHEADS)
    with torch.no_grad():
        model.head.weight *= 0.25
        model.head.bias *= 0.25
    return model


def geometries_of(attention):
    return make_latencies(attention).geometries.all(attention)


EVERY = [
    pytest.param(attention, geometry, id=f"{attention}-{geometry}")
    for attention in ("llsa", "sa", "maa")
    for geometry in geometries_of(attention)
]
MODELS = {a: make_latencies(a) for a in ("llsa", "sa", "maa")}
EXACT_MODELS = {a: make_latencies(a).double() for a in MODELS}


@torch.no_grad()
def offline(model, signal, geometry):
    return model(signal[None], geometry=geometry)[0]


@torch.no_grad()
def streamed(model, pushes, geometry):
    context = model.make_streaming_context(geometry)
    parts = [model.forward_streaming(part[None], context) for part in pushes]
    return torch.cat([*parts, model.flush(context)], dim=1)


@pytest.mark.parametrize(("attention", "geometry"), EVERY)
@settings(max_examples=4, deadline=None)
@given(lengths=st.lists(st.integers(0, 6000), max_size=6))
def test_any_split_is_offline(attention, geometry, lengths):
    """Hypothesis chooses the pushes; in float64 the rest is rounding."""
    signal = make_signal(13000)
    pushes = split(signal, lengths)
    single, double = MODELS[attention], EXACT_MODELS[attention]
    error = streamed(single, pushes, geometry)
    error = (error - offline(single, signal, geometry)).abs().max()
    assert error < 1e-4
    pushes = [part.double() for part in pushes]
    error = streamed(double, pushes, geometry)
    error = (error - offline(double, signal.double(), geometry)).abs().max()
    assert error < 1e-10


@pytest.mark.parametrize(("attention", "geometry"), EVERY)
def test_it_is_the_model_of_this_geometry(attention, geometry):
    """Bit by bit, with padding and streamed: a model with this hop and this
    look-ahead alone, and the same weights."""
    model = MODELS[attention]
    alone = make_model(
        attention, hop=geometry.hop, look_ahead=geometry.look_ahead
    )
    alone.load_state_dict(model.state_dict())
    wavs = torch.stack([make_signal(13000, seed) for seed in range(2)])
    lengths = torch.tensor([1.0, 0.6])
    with torch.no_grad():
        expected, frames = alone(wavs, lengths)
        actual, _ = model(wavs, lengths, geometry=geometry)
    for row, count in enumerate(frames.tolist()):
        assert torch.equal(actual[row, :count], expected[row, :count])
    pushes = wavs[0].split(3333)
    assert torch.equal(
        streamed(model, pushes, geometry), streamed(alone, pushes, None)
    )


@pytest.mark.parametrize("attention", MODELS)
def test_geometries_differ(attention):
    """What the tests above compare depends on the geometry."""
    signal = make_signal(13000)
    all_outputs = [
        offline(MODELS[attention], signal, geometry)
        for geometry in geometries_of(attention)
    ]
    for number, one in enumerate(all_outputs):
        for other in all_outputs[:number]:
            assert (one - other).abs().max() > 0.05


def test_gradients_are_those_of_the_geometry():
    """Each geometry trains all parameters, as a model with it alone does."""
    model = make_latencies()
    wavs = make_signal(9000)[None]

    def gradients(model, geometry=None):
        log_probs, _ = model(wavs, geometry=geometry)
        used = [p for n, p in model.named_parameters() if "mask_emb" not in n]
        return torch.autograd.grad(log_probs.square().sum(), used)

    seen = []
    for geometry in model.geometries.all("llsa"):
        alone = make_model(hop=geometry.hop, look_ahead=geometry.look_ahead)
        alone.load_state_dict(model.state_dict())
        given = gradients(model, geometry)
        for one, other in zip(given, gradients(alone), strict=True):
            assert torch.equal(one, other)
            assert one.abs().max() > 0
        seen.append(given[0])
    assert not torch.equal(seen[0], seen[1])


def test_sessions_take_turns():
    """Sessions of all geometries, pushed in turn, say what each says alone,
    and no default has changed."""
    model = make_latencies()
    geometries = model.geometries.all("llsa")
    signal = make_signal(30000)

    def session(geometry):
        return Session(
            model, DECODER, hop=geometry.hop, look_ahead=geometry.look_ahead
        )

    sessions = [session(geometry) for geometry in geometries]
    together = [[] for _ in sessions]
    for part in signal.split(1777):
        for said, each in zip(together, sessions, strict=True):
            said.append(each.push(part))
    for said, each in zip(together, sessions, strict=True):
        said.append(each.finish())
    for geometry, said, each in zip(
        geometries, together, sessions, strict=True
    ):
        alone = session(geometry)
        expected = [alone.push(part) for part in signal.split(1777)]
        assert said == [*expected, alone.finish()]
        assert each.geometry == geometry
    assert len({each.text for each in sessions}) > len(sessions) // 2
    assert model.encoder_wrapper.latent_encoder.geometry == geometries[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A written folder. Not to be written to."""
    path = tmp_path_factory.mktemp("latencies") / "streaming"
    return write_streaming_folder(path, make_latencies(), make_tokenizer())


@pytest.fixture(scope="module")
def asr(folder):
    """The model of the folder, loaded without trust."""
    return StreamingASR.from_hparams(folder)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A file of two seconds."""
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    soundfile.write(path, make_signal(32000).numpy(), 16000, subtype="FLOAT")
    return path


def expected_text(geometry, samples=32000):
    """By a model with one geometry, offline."""
    alone = make_model(hop=geometry.hop, look_ahead=geometry.look_ahead)
    alone.load_state_dict(MODELS["llsa"].state_dict())
    session = Session(alone, DECODER)
    session.push(make_signal(samples))
    session.finish()
    return session.text


@pytest.mark.parametrize("geometry", geometries_of("llsa"), ids=str)
def test_every_way_to_transcribe(asr, path, geometry):
    """File and batch, offline and streamed, session and batcher."""
    text = expected_text(geometry)
    choice = {"hop": geometry.hop, "look_ahead": geometry.look_ahead}
    wavs = make_signal(32000)[None]
    assert len(text) > 15
    assert asr.transcribe_file_offline(path, **choice) == text
    assert asr.transcribe_batch(wavs, **choice) == [text]
    assert asr(wavs, **choice) == [text]
    assert asr.transcribe_file(path, **choice) == text
    pieces = asr.transcribe_file_streaming(
        path, DynChunkTrainConfig(7), **choice
    )
    assert "".join(pieces) == text
    batcher = asr.batcher(2, **choice)
    assert batcher.geometry == geometry
    assert batcher.step_seconds == pytest.approx(geometry.hop * 0.02)
    sessions = [batcher.session() for _ in range(2)]
    for session in sessions:
        session.push(wavs[0])
        session.finish()
    while batcher.step():
        pass
    assert [session.text for session in sessions] == [text, text]
    report = asr.latency_report(**choice)
    assert report.geometry == geometry
    assert report.declared_latency.look_ahead == geometry.look_ahead
    assert report.declared_latency.hop_wait == geometry.hop - 1


def test_the_default_is_the_first_of_each_list(asr, path):
    """Without a choice, everywhere."""
    geometry = StreamGeometry(12, LOOK_AHEADS[0], HOPS[0])
    assert asr.session().geometry == geometry
    assert asr.batcher(1).geometry == geometry
    assert asr.latency_report().geometry == geometry
    text = expected_text(geometry)
    assert asr.transcribe_file(path) == text
    assert asr.transcribe_file_offline(path) == text
    assert asr.session(look_ahead=7).geometry.hop == HOPS[0]


@pytest.mark.parametrize("hop", HOPS)
def test_a_chunk_of_the_host_is_a_hop(asr, folder, path, hop):
    """``DynChunkTrainConfig(chunk_size)`` chooses the hop, in SpeechBrain's
    class and in ours; its left context has no effect."""
    text = expected_text(StreamGeometry(12, LOOK_AHEADS[0], hop))
    speechbrain_asr = SpeechBrainStreamingASR.from_hparams(source=str(folder))
    for config in (DynChunkTrainConfig(hop), DynChunkTrainConfig(hop, 2)):
        assert asr.transcribe_file(path, config) == text
        assert text == speechbrain_asr.transcribe_file(
            str(path), config, use_torchaudio_streaming=False
        )


def test_another_chunk_of_the_host_is_refused(asr, folder, path):
    """Named, in SpeechBrain's class and in ours."""
    speechbrain_asr = SpeechBrainStreamingASR.from_hparams(source=str(folder))
    words = r"chunk_size must be one of 2, 1, 5, the hops that the .*got 16"
    config = DynChunkTrainConfig(16)
    with pytest.raises(ValueError, match=words):
        speechbrain_asr.transcribe_file(
            str(path), config, use_torchaudio_streaming=False
        )
    with pytest.raises(ValueError, match=words):
        asr.transcribe_file(path, config)
    with pytest.raises(TypeError, match=r"config must .*got int"):
        asr.model.encoder_wrapper.make_streaming_context(16)


def test_one_hop_takes_any_chunk():
    """Several look-aheads are no choice for SpeechBrain, nor are hops of sa."""
    model = make_model(hop=2, look_ahead=(4, 0))
    wrapper = model.encoder_wrapper
    config = DynChunkTrainConfig(16)
    context = wrapper.make_streaming_context(config)
    assert context.geometry == model.geometries.default
    wrapper = MODELS["sa"].encoder_wrapper
    context = wrapper.make_streaming_context(config)
    assert context.geometry == MODELS["sa"].geometries.default


CALLS = {
    "session": lambda asr, path, **choice: asr.session(**choice),
    "batcher": lambda asr, path, **choice: asr.batcher(**choice),
    "latency_report": lambda asr, path, **choice: asr.latency_report(**choice),
    "transcribe_batch": lambda asr, path, **choice: asr.transcribe_batch(
        torch.zeros(1, 900), **choice
    ),
    "transcribe_file": lambda asr, path, **choice: asr.transcribe_file(
        path, **choice
    ),
    "transcribe_file_offline": lambda asr, path, **choice: (
        asr.transcribe_file_offline(path, **choice)
    ),
}


@pytest.mark.parametrize(
    ("choice", "error", "words"),
    [
        ({"hop": 3}, ValueError, r"hop must be one of 2, 1, 5, .*got 3"),
        ({"hop": 0}, ValueError, r"hop must be one of 2, 1, 5, .*got 0"),
        ({"hop": True}, TypeError, r"hop must be one of.*got True .bool."),
        ({"hop": "2"}, TypeError, r"hop must be one of.*got '2' .str."),
        ({"hop": [2]}, TypeError, r"hop must be one of.*got .2. .list."),
        ({"look_ahead": 8}, ValueError, r"look_ahead must be one .*got 8"),
        ({"look_ahead": -1}, ValueError, r"look_ahead must be one.*got -1"),
        (
            {"look_ahead": 4.0},
            TypeError,
            r"look_ahead must .*got 4.0 .float.",
        ),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_what_it_is_not_trained_for_is_refused(
    asr, path, call, choice, error, words
):
    """By name, with what is allowed."""
    with pytest.raises(error, match=words):
        CALLS[call](asr, path, **choice)


def test_one_value_is_named():
    """A model with a single hop says which."""
    with pytest.raises(ValueError, match=r"hop must be 2, which .*got 4"):
        Session(make_model(), DECODER, hop=4)


@pytest.mark.parametrize(
    ("geometry", "error", "words"),
    [
        (StreamGeometry(12, 4, 3), ValueError, r"hop must .*got 3"),
        (StreamGeometry(12, 3, 2), ValueError, r"look_ahead must .*got 3"),
        (
            StreamGeometry(11, 4, 2),
            ValueError,
            r"look_back must .*got 11",
        ),
        (8, TypeError, r"geometry must .*got int"),
    ],
)
def test_calls_of_the_modules_are_checked(geometry, error, words):
    """Forward and contexts of model and encoder, alike."""
    model = MODELS["llsa"]
    encoder = model.encoder_wrapper.latent_encoder
    for call in (
        lambda: model(torch.zeros(1, 900), geometry=geometry),
        lambda: model.make_streaming_context(geometry),
        lambda: model.latency_report(geometry),
        lambda: encoder(torch.zeros(1, 4, 16), geometry=geometry),
        lambda: encoder.make_streaming_context(geometry=geometry),
    ):
        with pytest.raises(error, match=words):
            call()


def test_a_context_of_another_choice_is_refused():
    """One of a model that is trained for more."""
    context = MODELS["llsa"].make_streaming_context(StreamGeometry(12, 7, 5))
    other = make_model()
    with pytest.raises(ValueError, match=r"context must .*got that of one"):
        other.forward_streaming(torch.zeros(1, 900), context)
    assert context.front_end.samples == 0


def test_the_folder_names_the_lists(folder, tmp_path):
    """One value stays one value, which older versions read."""
    write_streaming_folder(tmp_path / "one", make_model(), make_tokenizer())
    for place, hop, look_ahead in (
        (folder, [2, 1, 5], [4, 0, 7]),
        (tmp_path / "one", 2, 4),
    ):
        encoder = read_description(place / "model.json", ("ctc",))["encoder"]
        assert (encoder["hop"], encoder["look_ahead"]) == (hop, look_ahead)
        text = (place / "hyperparams.yaml").read_text()
        assert f"    hop: {hop}\n" in text
        assert f"    look_ahead: {look_ahead}\n" in text


def test_names_and_order_are_the_same_everywhere():
    """hop comes before look_ahead, and both are None by default."""
    for owner, names in (
        (StreamingASR, CALLS),
        (Session, ["__init__"]),
    ):
        for name in names:
            signature = inspect.signature(getattr(owner, name))
            given = list(signature.parameters)
            assert given.index("hop") + 1 == given.index("look_ahead")
            assert signature.parameters["hop"].default is None
            assert signature.parameters["look_ahead"].default is None
