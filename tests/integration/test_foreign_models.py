"""Untrusted model folders: nothing of theirs runs, nothing that they declare
takes memory, and damage is found."""

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from speechbrain.utils.fetching import FetchConfig

from model_data import change_description, reseal
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.model_folder import load as loading
from speechbrain_llsa.model_folder.parts import ACTIVATIONS
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.model_folder.description import (
    LARGEST_MODEL_FILE,
    MODEL_FILE,
)
from tiny_model import make_model, make_signal, make_tokenizer


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A written folder. Not to be written to."""
    path = tmp_path_factory.mktemp("model") / "streaming"
    return write_streaming_folder(path, make_model(), make_tokenizer())


@pytest.fixture
def folder(written, tmp_path):
    """A copy to play with."""
    return shutil.copytree(written, tmp_path / "copy")


def refusal(folder):
    """What the loader says of a folder."""
    with pytest.raises(ValueError) as caught:
        StreamingASR.from_hparams(folder)
    message = str(caught.value)
    assert message.startswith("source must be a") and "\n" not in message
    return message


@pytest.mark.parametrize(
    "content",
    [
        "a: !new:zipfile.ZipFile {file: ran, mode: w}",
        "a: (!!python/object/apply:os.mkdir [ran])",
        "a: [",
        "",
    ],
)
def test_hyperparameters_are_not_read(folder, tmp_path, monkeypatch, content):
    """Whatever SpeechBrain's file says, nothing of it runs, trust or not."""
    monkeypatch.chdir(tmp_path)
    (folder / "hyperparams.yaml").write_text(content)
    expected = make_model()(make_signal(8000)[None])[0]
    for trust in (False, True):
        asr = StreamingASR.from_hparams(folder, trust=trust)
        assert torch.equal(asr.model(make_signal(8000)[None])[0], expected)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("trust", [1, "no", None])
def test_trust_is_said_plainly(folder, trust):
    """A text that says no does not mean yes."""
    with pytest.raises(TypeError, match="trust must be True or False"):
        StreamingASR.from_hparams(folder, trust=trust)


@pytest.mark.parametrize("kind", [StreamingASR, StreamingEncoder])
def test_a_fetched_folder_is_checked(kind, folder, tmp_path, monkeypatch):
    """Files of a hub are fetched by SpeechBrain's own function, one by one,
    and checked as those of a folder."""
    fetched = []

    def fetch(name, source, **options):
        fetched.append(name)
        assert source == "owner/name"
        assert options["savedir"] == tmp_path / "saved"
        assert isinstance(options["fetch_config"], FetchConfig)
        return folder / name

    monkeypatch.setattr(loading, "fetch", fetch)
    options = {"savedir": tmp_path / "saved"}
    kind.from_hparams("owner/name", **options)
    expected = [MODEL_FILE, "extractor.safetensors"]
    expected.append("encoder_wrapper.safetensors")
    if kind is StreamingASR:
        expected.append("head.safetensors")
    assert fetched == expected
    assert (
        kind.from_hparams("owner/name", download_only=True, **options) is None
    )
    change_description(folder, "encoder", hop=0)
    with pytest.raises(ValueError, match="hop must be an integer from 1"):
        kind.from_hparams("owner/name", **options)


def test_no_such_repository(monkeypatch):
    """A hub that has no such file gives the sentence of a missing folder."""

    def fetch(*arguments, **options):
        raise OSError("404")

    monkeypatch.setattr(loading, "fetch", fetch)
    with pytest.raises(FileNotFoundError, match="source must be an existing"):
        StreamingASR.from_hparams("owner/name")


def test_overrides_are_checked_as_the_file(folder):
    """They reach the model, and are held to the same ranges."""
    load = StreamingASR.from_hparams
    asr = load(folder, overrides={"encoder": {"hop": (4, 2)}})
    assert asr.model.geometries.hop == (4, 2)
    asr = load(folder, overrides={"no": 1}, overrides_must_match=False)
    assert asr.model.geometries.hop == (2,)
    for overrides, error, words in (
        ({"encoder": {"hop": 9999}}, ValueError, "encoder.hop must be"),
        ({"encoder": {"no": 1}}, ValueError, "unknown entry 'no'"),
        ({"no": 1}, ValueError, "overrides must be entries"),
        ({"encoder": object()}, ValueError, "not JSON serializable"),
        ({"encoder": {"hop": float("nan")}}, ValueError, "encoder.hop must"),
        ("encoder: !name:os.system", TypeError, r"overrides must .*got str"),
    ):
        with pytest.raises(error, match=words):
            load(folder, overrides=overrides)


def test_only_the_default_file_may_be_asked_for(folder):
    """The argument is there for SpeechBrain's signature."""
    StreamingASR.from_hparams(folder, "hyperparams.yaml")
    with pytest.raises(
        ValueError, match=r"hparams_file must be 'hyperparams\."
    ):
        StreamingASR.from_hparams(folder, "other.yaml")


SECTIONS = {
    "layers": ("encoder", {"num_layers": 999_999_999}, "an integer from 1"),
    "no integer": ("encoder", {"look_back": [12]}, "got a list of 1"),
    "true": ("encoder", {"num_layers": True}, "got True"),
    "many digits": ("encoder", {"d_ffn": 10**400}, "got a larger integer"),
    "no hops": ("encoder", {"hop": []}, "a list of 1 to 64"),
    "65 hops": ("encoder", {"hop": list(range(1, 66))}, "got a list of 65"),
    "nested hops": ("encoder", {"hop": [[2], 1]}, "encoder.hop[0] must be"),
    "equal hops": ("encoder", {"hop": [2, 2]}, "hop"),
    "attention": ("encoder", {"attention": "ab"}, "'llsa'"),
    "activation": ("encoder", {"activation": "os.system"}, "Swish"),
    "unhashable": ("encoder", {"activation": {}}, "must be text"),
    "heads": ("encoder", {"nhead": 3}, "encoder: "),
    "kind": ("encoder", {"kind": "conformer"}, "encoder.kind must be 'tra"),
    "unhashable kind": ("encoder", {"kind": []}, "encoder.kind must be"),
    "unknown": ("encoder", {"dropuot": 0.1}, "unknown entry 'dropuot'"),
    "no section": (None, {"encoder": None}, "encoder must be an object"),
    "kernel": ("extractor", {"kernel_sizes": [11, 3, 3, 3, 3, 3, 1 << 20]},
               "extractor.kernel_sizes[6] must be"),
    "strides": ("extractor", {"strides": [5, 2]}, "extractor: "),
    "widths": ("encoder_wrapper", {"embedding_dim": 17}, "encoder_wrapper: "),
    "labels": ("tokenizer", {"labels": ["<blank>", "A"]}, "labels"),
    "equal labels": ("tokenizer", {"labels": ["A"] * 9}, "different"),
    "label": ("tokenizer", {"labels": [1] * 9}, "labels[0] must be text"),
    "surrogate": ("tokenizer", {"labels": ["\ud800"] * 9}, "UTF-8"),
    "blank": ("tokenizer", {"special_labels": {"blank_label": "b"}}, "one of"),
    "rate": (None, {"sample_rate": 8000}, "sample_rate must be 16000"),
    "version": (None, {"format_version": 2}, "install a newer"),
    "huge version": (None, {"format_version": 10**99}, "install a newer"),
    "version 0": (None, {"format_version": 0}, "format_version must be 1"),
    "version text": (None, {"format_version": "1"}, "format_version must be 1"),
    "format": (None, {"format": "another"}, "format must be 'speechbrain_ll"),
    "model kind": (None, {"kind": "encoder"}, "kind must be 'ctc'"),
    "rules": (None, {"endpointer": [1]}, "endpointer must be an object"),
    "rule": (None, {"endpointer": {"a": None}}, "endpointer: "),
    "offsets": (None, {"word_offsets": {"start_seconds": 9}}, "word_offsets: "),
    "search": (None, {"search": {"beams": 3}}, "unknown entry 'beams'"),
    "beams": (None, {"search": {"beam_size": 9999}}, "search.beam_size must"),
    "path": ("weights", {"head": {"file": "../a", "sha256": "0" * 64}},
             "weights.head.file must be the name"),
    "windows": ("weights", {"head": {"file": "C:\\a", "sha256": "0" * 64}},
                "weights.head.file must be the name"),
    "sum": ("weights", {"head": {"file": "a", "sha256": ""}}, "SHA-256"),
    "weights": (None, {"weights": {}}, "weights lacks the entry"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("section", "values", "words"), SECTIONS.values(), ids=SECTIONS
)
def test_entries_are_checked(folder, section, values, words):
    """Every number by its range, every name by what there is."""
    change_description(folder, section, **values)
    assert words in refusal(folder)


FILES = {
    "empty": ("", "Expecting value"),
    "list": ("[1]", "is not an object"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "twice": ('{"format": 1, "format": 2}', "'format' twice"),
    "infinite": ('{"format": Infinity}', "must be finite"),
    "digits": ('{"format": ' + "9" * 5000 + "}", "digits"),
    "bytes": ("\x00\xff", MODEL_FILE),
    "large": (" " * (LARGEST_MODEL_FILE + 1), "at most 16777216 bytes"),
}


@pytest.mark.parametrize(("content", "words"), FILES.values(), ids=FILES)
def test_files_that_are_no_description(folder, content, words):
    """JSON, once, of bounded size and depth."""
    (folder / MODEL_FILE).write_text(content, encoding="latin-1")
    assert words in refusal(folder)


def test_all_activations_can_be_named():
    """Those of PyTorch that are modules of one input, and SpeechBrain's."""
    assert len(ACTIVATIONS) > 20
    assert all(issubclass(k, torch.nn.Module) for k in ACTIVATIONS.values())


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("encoder", {"d_ffn": 900_000}, "encoder_wrapper.safetensors"),
        ("encoder", {"num_layers": 500}, "encoder_wrapper.safetensors"),
        ("head", {"out_features": 1_000_000}, "head.safetensors"),
        ("extractor", {"out_channels": [8] * 6 + [80_000]}, "extractor"),
    ],
)
def test_declared_sizes_take_no_memory(
    folder, monkeypatch, section, values, words
):
    """A model that its weights do not fit is refused while it is a mere
    outline: nothing has been laid out in memory."""
    built = []
    build = loading.build_parts

    def build_parts(*arguments):
        built.append(torch.get_default_device().type)
        return build(*arguments)

    monkeypatch.setattr(loading, "build_parts", build_parts)
    change_description(folder, section, **values)
    assert words in refusal(folder)
    assert built == ["meta"]


def header(**tensors):
    """A file with a header, and as many numbers as it needs for the head."""
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4 * (9 * 16 + 9))


WEIGHT = {"dtype": "F32", "shape": [9, 16], "data_offsets": [0, 576]}
BIAS = {"dtype": "F32", "shape": [9], "data_offsets": [576, 612]}

HEADERS = {
    "overlap": header(weight=WEIGHT, bias={**BIAS, "data_offsets": [0, 36]}),
    "gap": header(weight=WEIGHT),
    "beyond": header(weight=WEIGHT, bias={**BIAS, "data_offsets": [576, 616]}),
    "shape": header(weight=WEIGHT, bias={**BIAS, "shape": [1 << 62]}),
    "negative": header(weight=WEIGHT, bias={**BIAS, "shape": [-9]}),
    "type": header(weight=WEIGHT, bias={**BIAS, "dtype": "I32"}),
    "no type": header(weight=WEIGHT, bias={**BIAS, "dtype": "object"}),
    "name": header(weight=WEIGHT, bais=BIAS),
    "transposed": header(weight={**WEIGHT, "shape": [16, 9]}, bias=BIAS),
    "huge header": struct.pack("<Q", 1 << 60) + bytes(999),
    "long header": struct.pack("<Q", 1 << 26) + bytes(999),
    "no header": bytes(8),
    "nothing": b"",
    "deep": struct.pack("<Q", 9999) + b"[" * 9999,
    "more": header(weight=WEIGHT, bias=BIAS) + b"1",
    "less": header(weight=WEIGHT, bias=BIAS)[:-1],
    "pickle": b"PK\x03\x04" + bytes(999),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_harmful_weights_are_refused(folder, content):
    """Files whose header is not that of the head, with the right checksum."""
    (folder / "head.safetensors").write_bytes(content)
    reseal(folder)
    assert "head.safetensors is damaged or of another model" in refusal(folder)


def test_a_good_header_loads(folder):
    """The rows above differ from this one in what they say."""
    content = header(weight=WEIGHT, bias=BIAS)
    (folder / "head.safetensors").write_bytes(content)
    reseal(folder)
    assert not StreamingASR.from_hparams(folder).model.head.weight.any()


def test_one_changed_bit_is_found(folder):
    """Weights that are not as they were written are refused."""
    path = folder / "head.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert "head.safetensors is damaged" in refusal(folder)


def test_weights_of_half_precision_load(folder):
    """Weights of two bytes are not taken for too few."""
    for path in folder.glob("*.safetensors"):
        save_file({k: v.half() for k, v in load_file(path).items()}, path)
    reseal(folder)
    asr = StreamingASR.from_hparams(folder)
    assert asr.model.head.weight.dtype == torch.float32
