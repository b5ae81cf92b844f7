"""The script that writes a model as it ships, at toy size."""

from difflib import SequenceMatcher

import pytest
import release
import torch

from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder import shipped
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from tiny_model import make_model, make_signal, make_tokenizer

pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Where both packages lie, and the model before its release."""
    place = tmp_path_factory.mktemp("release")
    model = make_model().eval()
    write_streaming_folder(place / "streaming", model, make_tokenizer())
    release.main(
        [str(place / "streaming"), "--name", "tiny", "--packages", str(place)]
    )
    return place, model


def test_weights_have_half_the_bits(released):
    """The released model is the trained one but for rounding."""
    place, model = released
    folder = place / "speechbrain_llsa" / "models" / "tiny"
    written = StreamingASR.from_hparams(folder).model
    for name, weight in written.state_dict().items():
        assert weight.dtype == torch.float32
        expected = model.state_dict()[name].half().float()
        assert torch.equal(weight, expected), name
    for path in folder.glob("*.safetensors"):
        full = (place / "streaming" / path.name).stat().st_size
        assert path.stat().st_size < 0.75 * full


def test_the_graph_is_of_the_same_weights(released):
    """In 8 bits, and nothing else."""
    place, _ = released
    weights = place / "speechbrain_llsa" / "models" / "tiny"
    folder = place / "runtime" / "speechbrain_llsa_runtime" / "models" / "tiny"
    assert [path.name for path in folder.glob("*.onnx")] == ["step.int8.onnx"]
    signal = make_signal(16000)
    texts = []
    for asr in (
        StreamingASR.from_hparams(weights),
        OnnxStreamingASR.from_folder(folder),
    ):
        session = asr.session()
        session.push(signal.numpy(), 16000)
        session.finish()
        texts.append(session.text)
    # of random weights: near ties fall either way in 8 bits
    assert texts[0] and SequenceMatcher(None, *texts).ratio() > 0.8


def test_card_and_licences_lie_beside_both(released):
    place, _ = released
    for part in ("speechbrain_llsa", "runtime/speechbrain_llsa_runtime"):
        for file in release.CARD.iterdir():
            copied = place / part / "models" / "tiny" / file.name
            assert copied.read_bytes() == file.read_bytes()


def test_a_released_model_has_a_name(released, monkeypatch):
    place, _ = released
    monkeypatch.setattr(shipped, "MODELS", place / "speechbrain_llsa/models")
    assert StreamingASR.from_hparams("tiny").model.labels > 0


def test_a_name_is_not_a_path(capsys):
    with pytest.raises(SystemExit):
        release.main(["folder", "--name", "../english"])
    assert "--name must be letters, digits and _" in capsys.readouterr().err
