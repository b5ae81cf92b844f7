"""TF32, which SpeechBrain allows, has no part in what is transcribed."""

import tempfile
import threading

import pytest
import soundfile
import torch
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.utils.precision import full_float32
from tiny_model import make_model, make_signal, make_tokenizer

SIGNAL = make_signal(16000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "streaming"
    return write_streaming_folder(path, make_model(), make_tokenizer())


@pytest.fixture
def untouched():
    """PyTorch's switches, as before SpeechBrain was imported."""
    before = torch.backends.cuda.matmul.allow_tf32
    reset()
    yield
    reset()
    torch.backends.cuda.matmul.allow_tf32 = before


def reset():
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.fp32_precision = "none"
    torch.backends.mkldnn.matmul.fp32_precision = "none"


def allow_tf32():
    """As SpeechBrain does."""
    torch.backends.cuda.matmul.allow_tf32 = True


@pytest.fixture
def matmul(untouched):
    """PyTorch's switch, on as SpeechBrain leaves it."""
    allow_tf32()
    return torch.backends.cuda.matmul


def stream(session):
    session.push(SIGNAL)
    session.finish()


def run_file(asr):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/signal.wav"
        soundfile.write(path, SIGNAL.numpy(), 16000)
        asr.transcript_offline(path)


def run_batcher(asr):
    batcher = asr.batcher(2)
    stream(batcher.session())
    while batcher.step():
        pass


def run_speechbrain(speechbrain_asr):
    context = speechbrain_asr.make_streaming_context(DynChunkTrainConfig(50))
    speechbrain_asr.transcribe_chunk(
        context, SIGNAL[None], torch.tensor([0.999999])
    )


WAYS = {
    "at once": (StreamingASR, lambda asr: asr.transcribe_batch(SIGNAL[None])),
    "a file at once": (StreamingASR, run_file),
    "a session": (StreamingASR, lambda asr: stream(asr.session())),
    "a batcher": (StreamingASR, run_batcher),
    "SpeechBrain": (SpeechBrainStreamingASR, run_speechbrain),
    "features": (StreamingEncoder, lambda encoder: encoder(SIGNAL[None])),
    "a stream of features": (
        StreamingEncoder,
        lambda encoder: stream(encoder.session()),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_layer_is_rounded(way, folder, matmul):
    """And the switch is left as it was."""
    kind, run = WAYS[way]
    # SpeechBrain runs each part once to find its sizes
    loaded = kind.from_hparams(source=str(folder))
    seen = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: seen.append((module, matmul.allow_tf32))
    )
    try:
        run(loaded)
    finally:
        hook.remove()
    # a module that holds others may be entered before the switch is off
    seen = [allowed for module, allowed in seen if not list(module.children())]
    assert seen and not any(seen)
    assert matmul.allow_tf32


def test_training_is_rounded(matmul):
    """As SpeechBrain has it."""
    seen = []
    model = make_model()
    model.head.register_forward_pre_hook(
        lambda module, inputs: seen.append(matmul.allow_tf32)
    )
    model(SIGNAL[None])
    assert seen == [True]


def test_threads_share_the_switch(matmul):
    """Whoever leaves first does not turn it on for the others."""
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with full_float32():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    with pytest.raises(KeyError), full_float32():
        thread.start()
        assert inside.wait(10)
        raise KeyError
    assert not matmul.allow_tf32
    leave.set()
    thread.join()
    assert matmul.allow_tf32


SWITCHES = {
    "nothing": lambda: None,
    "SpeechBrain's": allow_tf32,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "the new switch, alike": lambda: (allow_tf32(), set_new("tf32")),
    "the new switch, unlike": lambda: (allow_tf32(), set_new("ieee")),
}


def set_new(precision):
    torch.backends.cuda.matmul.fp32_precision = precision


def read_switches():
    """What each switch says; PyTorch refuses to say what disagrees."""
    readers = {
        "precision": torch.get_float32_matmul_precision,
        "old": lambda: torch.backends.cuda.matmul.allow_tf32,
        "new": lambda: torch.backends.cuda.matmul.fp32_precision,
        "on the CPU": lambda: torch.backends.mkldnn.matmul.fp32_precision,
    }
    said = {}
    for name, read in readers.items():
        try:
            said[name] = read()
        except RuntimeError:
            said[name] = "they disagree"
    return said


@pytest.mark.parametrize("switch", SWITCHES)
def test_switches_are_left_as_they_were(switch, untouched):
    """Whichever a program has used; those that disagree are not touched."""
    SWITCHES[switch]()
    before = read_switches()
    with full_float32():
        inside = read_switches()
    assert read_switches() == before
    if "unlike" in switch:
        assert inside == before
    else:
        assert "they disagree" not in inside.values()
        assert (inside["precision"], inside["old"]) == ("highest", False)


def test_what_a_program_sets_meanwhile_stays(untouched):
    """Where there was nothing to switch off."""
    with full_float32():
        torch.set_float32_matmul_precision("high")
        expected = read_switches()
    assert read_switches() == expected
    assert "they disagree" not in expected.values()
