"""Whatever PyTorch is set to around them, sessions and all other ways give
what they give without: autocast, default types and devices, inference mode.
"""

import contextlib
import threading

import pytest
import soundfile
import torch
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.lobes.contrastive import sample_negatives
from speechbrain_llsa.lobes.masking import SpanMasker
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.nnet.packed import pack_linears
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import make_model, make_signal, make_tokenizer

ATTENTIONS = ["llsa", "sa", "maa"]
DECODER = TextDecoder(make_tokenizer())
SIGNAL = make_signal(16000)
PARTS = tuple(part.clone() for part in SIGNAL.split(3333))
LENGTHS = torch.tensor([0.999999])
PAIR = torch.stack([SIGNAL, SIGNAL.flip(0)])
SHARES = torch.tensor([1.0, 0.6])


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def rounded_products():
    """As a program may allow on CPUs that multiply bfloat16 faster."""
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        assert matmul.fp32_precision == "bf16", "it is left as it was"
        matmul.fp32_precision = before


SURROUNDINGS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "no device by default": lambda: default_device("meta"),
    "inference mode": torch.inference_mode,
    "deterministic": deterministic,
    "rounded products": rounded_products,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    soundfile.write(path / "a.wav", SIGNAL.numpy(), 16000, subtype="FLOAT")
    return write_streaming_folder(
        path / "streaming", make_model(), make_tokenizer()
    )


@pytest.fixture(scope="module")
def loaded(folder):
    """By class, what each way of transcribing is a method of."""
    return {
        StreamingASR: StreamingASR.from_hparams(folder),
        SpeechBrainStreamingASR: SpeechBrainStreamingASR.from_hparams(
            source=str(folder)
        ),
        StreamingEncoder: StreamingEncoder.from_hparams(folder, layer="all"),
    }


def run_session(asr, folder, **options):
    """All transcripts, and a snapshot behind each push, from which the next
    one goes on."""
    session, said = asr.session(**options), []
    for part in PARTS:
        said += [session.push(part), session.snapshot()]
        session = asr.session(said[-1], **options)
    return [*said, session.finish(), session.text]


def run_beam_search(asr, folder):
    session = asr.session(search="beam", hotwords=["ABC"])
    said = [session.push(part) for part in PARTS]
    return [*said, session.finish()]


def run_batcher(asr, folder):
    batcher = asr.batcher(2)
    session, said = batcher.session(), []
    for part in PARTS:
        session.push(part)
        while batcher.step():
            said.append(session.read())
    session.finish()
    while batcher.step():
        said.append(session.read())
    assert session.finished
    return [*said, session.text]


def run_batch(asr, folder):
    return asr.transcribe_batch(PAIR, SHARES)


def run_file(asr, folder):
    path = folder.parent / "a.wav"
    return [asr.transcript_offline(path), asr.transcribe_file(path)]


def run_speechbrain(speechbrain_asr, folder):
    context = speechbrain_asr.make_streaming_context(DynChunkTrainConfig(50))
    lengths = [torch.ones(1, device="cpu")] * (len(PARTS) - 1) + [LENGTHS]
    return [
        speechbrain_asr.transcribe_chunk(context, part[None], length)
        for part, length in zip(PARTS, lengths, strict=True)
    ]


def run_features(encoder, folder):
    return encoder(SIGNAL[None])[0].tolist()


def run_encoder_session(encoder, folder):
    session = encoder.session()
    frames = [session.push(part) for part in PARTS]
    return [each.tolist() for each in [*frames, session.finish()]]


WAYS = {
    "a session": (StreamingASR, run_session),
    "a beam search": (StreamingASR, run_beam_search),
    "a batcher": (StreamingASR, run_batcher),
    "at once": (StreamingASR, run_batch),
    "a file": (StreamingASR, run_file),
    "SpeechBrain": (SpeechBrainStreamingASR, run_speechbrain),
    "features": (StreamingEncoder, run_features),
    "a stream of features": (StreamingEncoder, run_encoder_session),
}


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_around_matters(way, around, loaded, folder):
    """Every number of a state, in snapshots, included."""
    kind, run = WAYS[way]
    expected = run(loaded[kind], folder)
    with SURROUNDINGS[around]():
        given = run(loaded[kind], folder)
    assert given == expected != []


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_nothing_around_matters_to_any_attention(attention, around):
    """With packed weights as well."""
    model = make_model(attention)
    for packed in (False, True):
        if packed:
            pack_linears(model.requires_grad_(False))

        def run(model=model):
            session = Session(model, DECODER)
            said = [session.push(part) for part in PARTS]
            return [*said, session.snapshot(), session.finish()]

        expected = run()
        with SURROUNDINGS[around]():
            assert run() == expected


def test_autocast_goes_on_behind_a_push():
    """In the thread that pushes, and in no other."""
    session = Session(make_model(), DECODER)
    whole = Session(make_model(), DECODER)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        thread = threading.Thread(target=session.push, args=(SIGNAL,))
        thread.start()
        thread.join()
        with torch.autocast("cpu", enabled=False):
            whole.push(SIGNAL)
            assert not torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")
        assert (SIGNAL[None] @ SIGNAL[:, None]).dtype == torch.bfloat16
    assert session.snapshot() == whole.snapshot()


LOADED_WAYS = ("a session", "a batcher", "SpeechBrain", "a stream of features")


@pytest.mark.parametrize("way", LOADED_WAYS)
@pytest.mark.parametrize(
    "around", ["autocast", "no device by default", "inference mode"]
)
def test_models_loaded_there(way, around, loaded, folder):
    """They are as if loaded elsewhere: to be used there and outside, and to
    be trained further."""
    kind, run = WAYS[way]
    expected = run(loaded[kind], folder)
    more = {"layer": "all"} if kind is StreamingEncoder else {}
    if kind is SpeechBrainStreamingASR and around == "no device by default":
        pytest.skip("SpeechBrain's own loader builds on the default device")
    with SURROUNDINGS[around]():
        model = kind.from_hparams(source=str(folder), **more)
        assert run(model, folder) == expected
    assert run(model, folder) == expected
    if kind is not SpeechBrainStreamingASR:
        assert not any(each.is_inference() for each in model.parameters())


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("inside", [True, False])
def test_inference_mode_may_change_between_calls(attention, inside, folder):
    """What is made inside goes on outside, and the reverse: sessions, forks,
    batchers, features, streaming contexts, packed weights."""

    def modes(inside=inside):
        while True:
            yield torch.inference_mode(inside)
            inside = not inside

    def run(modes):
        model, said = make_model(attention), []
        encoder = StreamingEncoder(model.extractor, model.encoder_wrapper)
        wrapper = model.encoder_wrapper
        with next(modes):
            pack_linears(model.requires_grad_(False))
            asr = Session(model, DECODER)
            frames = encoder.session()
            context = wrapper.make_streaming_context()
        for part in PARTS:
            with next(modes):
                said += [asr.push(part), asr.snapshot()]
                asr = asr.fork()
                said.append(frames.push(part).tolist())
                latents = model.extractor(part[None])
                said.append(wrapper.forward_streaming(latents, context).sum())
        with next(modes):
            said += [asr.finish(), frames.finish().tolist()]
            return [*said, wrapper.flush(context).sum()]

    plain = iter(contextlib.nullcontext, None)
    assert run(modes()) == run(plain)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("inside", [True, False])
def test_a_batcher_may_cross_inference_mode(attention, inside):
    """Made inside and used outside, and the reverse; streams that join
    later too."""

    def run(make, use):
        with torch.inference_mode(make):
            batcher = SessionBatcher(make_model(attention), DECODER, slots=2)
            first = batcher.session()
            first.push(SIGNAL[:8000])
            batcher.step()
        with torch.inference_mode(use):
            first.push(SIGNAL[8000:])
            second = batcher.session()
            second.push(SIGNAL)
            for each in (first, second):
                each.finish()
            while batcher.step():
                pass
            third = batcher.session()
            third.push(SIGNAL)
            third.finish()
            while batcher.step():
                pass
            return first.text, second.text, third.text

    expected = run(False, False)
    assert run(inside, not inside) == expected
    assert len(set(expected)) == 1
    assert expected[0]


EXPORTS = ["autocast", "float64 by default", "no device by default"]


@pytest.mark.parametrize("around", [*EXPORTS, "inference mode"])
def test_a_model_is_exported_there(around, tmp_path):
    """And what is exported runs there."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from speechbrain_llsa.inference.onnx_export import export_model
    from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR

    model = make_model()
    with SURROUNDINGS[around]():
        export_model(tmp_path / "exported", model, DECODER)
        asr = OnnxStreamingASR.from_folder(tmp_path / "exported", threads=1)
        said = run_session(asr, tmp_path)
    assert run_session(asr, tmp_path) == said
    session = Session(model, DECODER)
    for part in PARTS:
        session.push(part)
    session.finish()
    assert said[-1] == session.text != ""


@pytest.mark.parametrize("around", [*EXPORTS, "inference mode"])
def test_a_folder_is_written_there(around, tmp_path):
    model = make_model()
    with SURROUNDINGS[around]():
        write_streaming_folder(tmp_path / "a", model, make_tokenizer())
    write_streaming_folder(tmp_path / "b", model, make_tokenizer())
    for path in (tmp_path / "b").iterdir():
        assert (tmp_path / "a" / path.name).is_file()
    asr = [StreamingASR.from_hparams(tmp_path / name) for name in "ab"]
    first, second = (run_batch(each, None) for each in asr)
    assert first == second


@pytest.mark.parametrize("attention", [*ATTENTIONS, "aa"])
def test_training_needs_no_default_device(attention):
    """Masks, negatives and gradients are where the model is."""
    masker = SpanMasker(mask_prob=0.5, mask_length=3)

    def train(around):
        model = make_model(attention).train()
        model.encoder_wrapper.latent_encoder.layerdrop_prob = 0.5
        generator = torch.Generator().manual_seed(0)
        with around:
            torch.manual_seed(0)
            log_probs, lengths = model(
                PAIR, SHARES, lambda *counts: masker(*counts, generator)
            )
            negatives = sample_negatives(lengths, 4, generator)
            log_probs[..., 1].sum().backward()
        return model.head.weight.grad.tolist(), negatives.tolist()

    expected = train(contextlib.nullcontext())
    assert train(default_device("meta")) == expected
