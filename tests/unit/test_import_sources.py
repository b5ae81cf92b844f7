"""What a source is, and what its labels stand for."""

import json
import sys
from importlib.util import find_spec
from urllib.error import URLError

import pytest
import torch
import torchaudio
from safetensors.torch import save_file

from speechbrain_llsa.pretrained import hub, import_source
from speechbrain_llsa.pretrained.moonshine_folder import read_sizes
from tiny_model import make_signal
from tiny_speechbrain import write_experiment
from tiny_transformers import make_transformers, write_folder
from tiny_wav2vec2 import fake_bundle, make_torchaudio

LABELS = ["-", "|", "A", "B", "C"]


def logits_of(model, signal):
    with torch.no_grad():
        embeddings = model.encoder_wrapper(model.extractor(signal))
        return model.head(embeddings["embeddings"])


def test_a_bundle(monkeypatch):
    """Without labels where it was not fine-tuned."""
    source = make_torchaudio(large=False)
    fake_bundle(monkeypatch, "WAV2VEC2_BASE", source)
    model = import_source("WAV2VEC2_BASE")
    assert model.labels is None
    signal = make_signal(3000)[None]
    with torch.no_grad():
        expected, _ = source(signal)
    assert (logits_of(model, signal) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (LABELS, ["<blank>", " ", "A", "B", "C"]),
        (["-", "<s>", "|", "<unk>", "A"], ["<blank>", " ", "A"]),
        ([*LABELS, "*"], ["<blank>", " ", "A", "B", "C"]),
    ],
    ids=["plain", "special", "star"],
)
def test_labels_of_a_bundle(monkeypatch, labels, expected):
    """Those that stand for no text go, with their rows; so does the star that
    a bundle for alignment has behind the others."""
    source = make_torchaudio(large=True)
    fake_bundle(monkeypatch, "HUBERT_ASR_LARGE", source, labels)
    model = import_source("HUBERT_ASR_LARGE")
    assert model.labels == expected
    kept = [i for i, label in enumerate(labels) if label[0] not in "<*"]
    assert torch.equal(model.head.weight, source.aux.weight[kept])
    assert torch.equal(model.head.bias, source.aux.bias[kept])
    left_out = [note for note in model.notes if "stand for no text" in note]
    assert len(left_out) == ("<s>" in labels)


def test_bundles_that_cannot_be_imported(monkeypatch):
    """No network; what was downloaded is damaged; WavLM, before it is
    downloaded; other kinds of bundles."""

    def fail(self):
        raise errors.pop()

    errors = [EOFError("Ran out of input"), URLError("no network")]
    bundle = type(torchaudio.pipelines.WAV2VEC2_BASE)
    monkeypatch.setattr(bundle, "get_model", fail)
    with pytest.raises(OSError, match=r"can download, got 'HUBERT_BASE': .*no"):
        import_source("HUBERT_BASE")
    with pytest.raises(OSError, match=r"got 'HUBERT_BASE': .*Ran out of in"):
        import_source("HUBERT_BASE")
    with pytest.raises(ValueError, match=r"HuBERT, got WavLM, 'WAVLM_BASE'$"):
        import_source("WAVLM_BASE")
    for name in ("TACOTRON2_WAVERNN_CHAR_LJSPEECH", "Wav2Vec2Bundle", "no"):
        with pytest.raises(FileNotFoundError, match=f"got '{name}'$"):
            import_source(name)


def test_a_folder_of_speechbrain(tmp_path):
    experiment, _ = write_experiment(tmp_path / "experiment")
    model = import_source(experiment)
    assert model.extractor.out_channels == [8, 8, 12]


@pytest.mark.parametrize("name", ["Wav2Vec2ForCTC", "HubertForCTC"])
def test_a_folder_of_transformers(tmp_path, name):
    """The blank comes first; special labels go."""
    source = make_transformers(name, large=False, pad_token_id=4)
    labels = ["<s>", "|", "A", "[UNK]", "<pad>"]
    model = import_source(write_folder(tmp_path, source, labels))
    assert model.labels == ["<blank>", " ", "A"]
    signal = make_signal(3000)[None]
    with torch.no_grad():
        expected = source(signal).logits[..., [4, 1, 2]]
    assert (logits_of(model, signal) - expected).abs().max() < 1e-5


def make_moonshine(**options):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.MoonshineConfig(
        hidden_size=20,
        intermediate_size=24,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        vocab_size=9,
        **options,
    )
    return transformers.MoonshineForConditionalGeneration(config).eval()


@pytest.mark.parametrize("part", [0.8, 0.62])
def test_a_folder_of_moonshine(tmp_path, part):
    """The whole model is in the folder, of which the encoder is taken."""
    source = make_moonshine(partial_rotary_factor=part)
    source.save_pretrained(tmp_path)
    model = import_source(tmp_path)
    assert model.labels is None and model.head is None
    signal = make_signal(6000)[None]
    with torch.no_grad():
        expected = source.model.encoder(signal).last_hidden_state
        ours = model.encoder_wrapper(model.extractor(signal))["embeddings"]
    assert (ours - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    "entry",
    [
        {"encoder_hidden_act": "relu"},
        {"attention_bias": True},
        {"encoder_num_key_value_heads": 4},
        {"rope_theta": 500.0},
        {"rope_parameters": {"rope_theta": 1.0}},
        {"rope_parameters": {"rope_type": "yarn"}},
        {"partial_rotary_factor": float("inf")},
        {"partial_rotary_factor": 1.5},
    ],
    ids=str,
)
def test_options_of_moonshine_without_counterpart(entry):
    with pytest.raises(ValueError, match=r" must be .*, got "):
        read_sizes(entry)


def test_sizes_of_moonshine():
    """In the form of older and of newer versions of transformers."""
    config = {"hidden_size": 416, "intermediate_size": 1664}
    config |= {"encoder_num_hidden_layers": 8}
    older = read_sizes({**config, "partial_rotary_factor": 0.62})
    section = {"rope_theta": 10000.0, "partial_rotary_factor": 0.62}
    assert read_sizes({**config, "rope_parameters": section}) == older
    assert (older.features, older.layers, older.rotary_features) == (416, 8, 32)
    for entry, words in (
        ({"hidden_size": "288"}, "hidden_size must be an integer"),
        ({"rope_parameters": [1]}, "rope_parameters must be"),
        ({"partial_rotary_factor": "0.9"}, "partial_rotary_factor must be"),
    ):
        with pytest.raises(TypeError, match=f"^{words}"):
            read_sizes(entry)


CONFIGURATIONS = {
    "damaged": ("{", ValueError, r"^config\.json must be JSON, got"),
    "list": ("[]", ValueError, "a JSON object, got a list"),
    "wavlm": ('{"model_type": "wavlm"}', ValueError, "got one of 'wavlm'"),
    "data2vec": (
        '{"model_type": "data2vec-audio"}',
        ValueError,
        "wav2vec2, hubert or moonshine, got one of 'data2vec-audio'",
    ),
    "none": ("{}", ValueError, "got one of None"),
    "no weights": (
        '{"model_type": "moonshine"}',
        FileNotFoundError,
        r"with a model\.safetensors",
    ),
}


@pytest.mark.parametrize(
    ("text", "error", "message"), CONFIGURATIONS.values(), ids=CONFIGURATIONS
)
def test_bad_configurations(tmp_path, text, error, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(error, match=message):
        import_source(tmp_path)


def test_bad_weights_of_moonshine(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "moonshine"}')
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"^model\.safetensors must be one"):
        import_source(tmp_path)
    save_file({"model.encoder.conv1.weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"^weights must be those of Moonsh"):
        import_source(tmp_path)


def test_other_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"with a config\.json of"):
        import_source(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ValueError, match="a model folder, which fine-tuning"):
        import_source(tmp_path)


@pytest.mark.skipif(find_spec("transformers"), reason="it is installed")
def test_a_name_of_a_hub_needs_transformers():
    """One sentence says how to install it."""
    with pytest.raises(ImportError, match=r"\[transformers\].*got 'owner/na"):
        import_source("owner/name")


def fake_hub(monkeypatch, snapshot_download):
    """A hub's client, and transformers where it is not installed."""
    pytest.importorskip("huggingface_hub")
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    if not find_spec("transformers"):
        monkeypatch.setitem(sys.modules, "transformers", hub)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_name_of_a_hub(monkeypatch, tmp_path, suffix):
    """Weights that run no code are preferred; what is not needed stays."""
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, tuple(allow_patterns)))
        if f"*.{suffix}" in allow_patterns:
            (tmp_path / f"model.{suffix}").write_bytes(b"weights")
        return str(tmp_path)

    fake_hub(monkeypatch, snapshot_download)
    assert hub.download("owner/name") == tmp_path
    assert asked[0] == ("owner/name", ("*.json", "*.safetensors"))
    assert len(asked) == 1 + (suffix == "bin")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wavlm"}))
    with pytest.raises(ValueError, match="got one of 'wavlm'"):
        import_source("owner/name")


def test_a_hub_that_cannot_be_reached(monkeypatch):
    def snapshot_download(name, allow_patterns):
        raise RuntimeError("no\nnetwork")

    fake_hub(monkeypatch, snapshot_download)
    with pytest.raises(OSError, match=r"downloaded, got 'no/such': no network"):
        import_source("no/such")
