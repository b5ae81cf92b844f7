"""Model folders of strangers: nothing of theirs runs, and nothing that they
declare takes memory, unless they are trusted."""

import io
import pickle
import pydoc
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAMLError
from speechbrain.utils.fetching import FetchConfig
from tiny_model import make_model, make_signal, make_tokenizer

from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder import load as loading
from speechbrain_llsa.model_folder.hyperparameters import (
    ACTIVATIONS,
    LARGEST_FILE_BYTES,
    check_hyperparameters,
    check_overrides,
)
from speechbrain_llsa.model_folder.weights import load_weights
from speechbrain_llsa.model_folder.write import write_streaming_folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A written folder. Not to be written to."""
    path = tmp_path_factory.mktemp("model") / "streaming"
    return write_streaming_folder(path, make_model(), make_tokenizer())


@pytest.fixture
def folder(written, tmp_path):
    """A copy to play with."""
    return shutil.copytree(written, tmp_path / "copy")


HARMFUL = {
    "new": ("a: !new:subprocess.Popen [ls]", "tag '!new:subprocess.Popen'"),
    "new of ours, spelled otherwise": (
        "a: !new:speechbrain_llsa.inference.asr.StreamingASR",
        "tag '!new:",
    ),
    "new further down": ("a: {b: !new:torch.nn.Linear {}}", "tag '!new:"),
    "new of what may be named": ("a: !new:torch.nn.GELU", "tag '!new:"),
    "name": ("a: !name:os.system", "tag '!name:os.system'"),
    "name of what may be built": ("a: !name:torch.nn.Linear", "tag '!name:"),
    "name with arguments": ("a: !name:torch.nn.GELU {b: 1}", "arguments of"),
    "apply": ("a: !apply:os.system [ls]", "tag '!apply:os.system'"),
    "applyref": ("a: !applyref:os.system [ls]", "tag '!applyref:"),
    "module": ("a: !module:os", "tag '!module:os'"),
    "include": ("a: !include:/etc/passwd", "tag '!include:"),
    "copy": ("a: 1\nb: !copy <a>", "tag '!copy'"),
    "tuple": ("a: !tuple (1, 2)", "tag '!tuple'"),
    "placeholder": ("a: !PLACEHOLDER", "tag '!PLACEHOLDER'"),
    "python object": (
        "a: !!python/object/apply:os.system [ls]",
        "python/object/apply:os.system",
    ),
    "python name": ("a: !!python/name:os.system", "python/name:os.system"),
    "tag in full": ("a: !<!new:os.system> [ls]", "tag '!new:os.system'"),
    "tag in percent": ("a: !new:os%2Esystem [ls]", "tag '!new:os.system'"),
    "tag by directive": ("%TAG !n! !new:\n---\na: !n!os.system", "a directive"),
    "version": ("%YAML 1.1\n---\na: 1", "a directive"),
    "tag of a key": ("? !new:os.system [ls]\n: 1", "odd name of an entry"),
    "list as a key": ("? [1, 2]\n: 1", "odd name of an entry"),
    # a tag once HyperPyYAML has been used in the process, before that a text
    "code in brackets": (
        "a: (!!python/object/apply:os.system [ls])",
        "line 1: got the t",
    ),
    "code in brackets and quotes": (
        'a: "(!!python/object/apply:os.system [ls])"',
        "the text '",
    ),
    "code in brackets as a key": (
        '"(!!python/object/apply:os.system [ls])": 1',
        "odd name of an entry",
    ),
    "attribute of a reference": (
        "a: 1\nb: !ref <a.__class__>",
        "the reference '<a.__class__>'",
    ),
    "arithmetic": ("a: 9\nb: !ref <a> ** 9 ** 9", "the reference"),
    "text of references": ("a: x\nb: !ref <a><a>", "the reference"),
    "reference to itself": ("a: [!ref <a>]", "the reference '<a>'"),
    "reference to what follows": ("a: !ref <b>\nb: 1", "the reference"),
    "reference to nothing": ("a: !ref <b>", "the reference"),
    "reference in a mapping": ("a: !ref {b: 1}", "the reference"),
    "anchor": ("a: &a [1]\nb: *a", "an anchor or alias"),
    "merge": ("a: {<<: {b: 1}}", "odd name of an entry"),
    "laughs": (
        "a: &a [x, x]\n" + "\n".join(f"b{i}: [*a, *a]" for i in range(9)),
        "an anchor or alias",
    ),
    "deep": ("a: " + "[" * 50_000, "a deeper"),
    "deep in blocks": (
        "\n".join(" " * i + "a:" for i in range(200)),
        "a deeper",
    ),
    "many": ("a: [" + "1," * 5000 + "1]", "got more"),
    "path": ("a: ../../secret", "the text '../../secret'"),
    "date": ("a: 2001-01-01", "timestamp"),
    "binary": ("a: !!binary aGk=", "binary"),
    "list": ("[1, 2]", "allowed is a mapping"),
    "nothing": ("", "allowed is a mapping"),
    "layers": (
        "a: !new:speechbrain_llsa.hparams.StreamingTransformerEncoder\n"
        "  num_layers: 999999999",
        "num_layers: got '999999999'",
    ),
    "layers by reference": (
        "n: 99999999\n"
        "a: !new:speechbrain_llsa.hparams.StreamingTransformerEncoder\n"
        "  num_layers: !ref <n>",
        "num_layers: got '<n>'",
    ),
    "arguments without names": (
        "a: !new:torch.nn.Linear [1, 2]",
        "arguments of !new:torch.nn.Linear without names",
    ),
}


@pytest.mark.parametrize(("text", "message"), HARMFUL.values(), ids=HARMFUL)
def test_harmful_hyperparameters_are_refused(text, message):
    """Whatever HyperPyYAML gives a meaning, but plain descriptions."""
    with pytest.raises((ValueError, YAMLError)) as caught:
        check_hyperparameters(text)
    assert message in str(caught.value)


def test_two_documents_are_no_yaml():
    """A second document is no way around the check of the first."""
    with pytest.raises(YAMLError):
        check_hyperparameters("a: 1\n---\na: !apply:os.system [ls]")


WAYS = {
    "new": "b: !new:zipfile.ZipFile {file: ran, mode: w}",
    "brackets": "b: (!!python/object/apply:os.mkdir [ran])",
    "include": "b: !include:other.yaml",
}


@pytest.mark.parametrize("way", ["new", "brackets", "include"])
def test_nothing_of_theirs_runs(folder, tmp_path, monkeypatch, way):
    """The same file that runs code when trusted runs none without."""
    monkeypatch.chdir(tmp_path)
    (folder / "other.yaml").write_text(WAYS["new"])
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text() + WAYS[way] + "\n")
    with pytest.raises(ValueError, match="allowed without trust"):
        StreamingASR.from_hparams(folder)
    assert not (tmp_path / "ran").exists()
    StreamingASR.from_hparams(folder, trust=True)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("trust", [1, "no", None])
def test_trust_is_said_plainly(folder, trust):
    """A text that says no does not mean yes."""
    with pytest.raises(TypeError, match="trust: got"):
        StreamingASR.from_hparams(folder, trust=trust)


def test_a_fetched_file_is_checked(folder, tmp_path, monkeypatch):
    """What comes from a hub is checked as it was fetched, before it builds;
    a good one loads."""
    fetched = []

    def fetch(name, source, **options):
        fetched.append((source, name))
        assert isinstance(options["fetch_config"], FetchConfig)
        return folder / name

    def collect_files(self, source, *args, **kwargs):
        files = {n: folder / f for n, f in self.file_names.items()}
        self.paths = {name: str(path) for name, path in files.items()}
        self.is_local = list(files)
        return files

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "fetch", fetch)
    monkeypatch.setattr(
        "speechbrain_llsa.model_folder.write.FolderPretrainer.collect_files",
        collect_files,
    )
    asr = StreamingASR.from_hparams("owner/name")
    assert asr.transcribe_batch(make_signal(16000)[None])[0]
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text() + WAYS["new"])
    with pytest.raises(ValueError, match="allowed without trust"):
        StreamingASR.from_hparams("owner/name")
    assert fetched == [("owner/name", "hyperparams.yaml")] * 2
    assert not (tmp_path / "ran").exists()


def test_a_large_file_is_not_read(folder):
    """The size of a hyperparameter file is bounded."""
    path = folder / "hyperparams.yaml"
    path.write_text("#" * LARGEST_FILE_BYTES + path.read_text())
    with pytest.raises(ValueError, match="more than 65536 bytes"):
        StreamingASR.from_hparams(folder)


def test_overrides_are_plain(folder):
    """Overrides reach the model, and bring no tags with them."""
    asr = StreamingASR.from_hparams(folder, overrides={"encoder": {"hop": 4}})
    assert asr.model.latency_report().geometry.hop == 4
    with pytest.raises(ValueError, match="overrides: got the text"):
        check_overrides({"a": ["(!!python/name:os.system )"]})
    with pytest.raises(TypeError, match="overrides: got object"):
        check_overrides({"a": object()})
    with pytest.raises(ValueError, match="overrides: got the text"):
        StreamingASR.from_hparams(folder, overrides="a: !name:os.system")
    with pytest.raises(ValueError, match="Override 'unknown' not found"):
        StreamingASR.from_hparams(folder, overrides={"unknown": 1})


def test_all_activations_can_be_written():
    """What the writer writes for any activation of PyTorch is on the list,
    and can be built from it."""
    written = 0
    for name in sorted(ACTIVATIONS):
        check_hyperparameters(f"a:\n  activation: !name:{name}")
        kind = pydoc.locate(name)
        written += f"{kind.__module__}.{kind.__qualname__}" in ACTIVATIONS
        assert issubclass(kind, torch.nn.Module)
    assert written == len(ACTIVATIONS) > 50


@pytest.mark.parametrize(
    ("old", "new", "file"),
    [
        ("d_ffn: 32", "d_ffn: 900000000", "encoder_wrapper.ckpt"),
        ("d_ffn: 32", "d_ffn: 999999999999999999999", "TransformerEncoder"),
        ("out_features: 9", "out_features: 100000000", "head.ckpt"),
        ("[8, 8, 8, 8, 8, 8, 8]", "[8, 8, 8, 8, 8, 8, 80000]", "extractor"),
        ("modules:", "x: !new:torch.nn.Linear\n    in_features: 99999\n"
         "    out_features: 99999\nmodules:", "their files"),
    ],
)  # fmt: skip
def test_declared_sizes_take_no_memory(folder, old, new, file):
    """A model larger than the files of its weights is refused before there
    is memory for it."""
    path = folder / "hyperparams.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError) as caught:
        StreamingASR.from_hparams(folder)
    assert file in str(caught.value)


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    """Writes a checkpoint again, its records changed by a function of name
    and content."""
    with zipfile.ZipFile(path) as archive:
        records = {r: archive.read(r) for r in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, change(name, content))


def unchanged(name, content):
    return content


class Allocate:
    """Pickled as a call that takes a gigabyte, which PyTorch allows."""

    def __reduce__(self):
        return bytearray, (1 << 30,)


def index_of(thing):
    """A change that makes the index of a checkpoint name a thing."""
    index = pickle.dumps(thing, protocol=2)
    return lambda name, content: index if name.endswith("data.pkl") else content


def first_number(name, content):
    """The index as it was, and records of one number."""
    return content[:4] if "/data/" in name else content


CHECKPOINTS = {
    "compressed": (
        lambda path: rewrite(path, unchanged, zipfile.ZIP_DEFLATED),
        "are compressed",
    ),
    "a gigabyte": (
        lambda path: rewrite(path, index_of({"weight": Allocate()})),
        "it holds",
    ),
    "numbers": (
        lambda path: rewrite(path, index_of({"weight": 1})),
        "besides tensors",
    ),
    "a list": (lambda path: rewrite(path, index_of([1])), "holds a list"),
    "more than there is": (
        lambda path: (
            torch.save({"weight": torch.zeros(1_000_000)}, path),
            rewrite(path, first_number),
        ),
        "",
    ),
    "the format of old": (
        lambda path: torch.save(
            load_weights(path), path, _use_new_zipfile_serialization=False
        ),
        "not a zip file",
    ),
    "another archive": (
        lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"),
        "",
    ),
}


@pytest.mark.parametrize(
    ("damage", "message"), CHECKPOINTS.values(), ids=CHECKPOINTS
)
def test_harmful_checkpoints_are_refused(folder, damage, message):
    """What ``torch.load`` would believe, and should not."""
    damage(folder / "head.ckpt")
    with pytest.raises(ValueError) as caught:
        StreamingASR.from_hparams(folder)
    assert message in str(caught.value)
    assert "head.ckpt" in str(caught.value)


def test_one_changed_bit_is_found(folder):
    """Weights that are not as they were written are refused."""
    path = folder / "head.ckpt"
    content = bytearray(path.read_bytes())
    weights = load_weights(path)["weight"].numpy().tobytes()
    place = bytes(content).index(weights)
    content[place + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data/\d+' has changed"):
        StreamingASR.from_hparams(folder)


def test_weights_of_half_precision_load(folder):
    """Weights of two bytes are not taken for too few."""
    for path in folder.glob("*.ckpt"):
        weights = load_weights(path)
        torch.save({k: v.half() for k, v in weights.items()}, path)
    asr = StreamingASR.from_hparams(folder)
    assert asr.model.head.weight.dtype == torch.float32


EXTRAS = "================\n'starting_index' => 0\n"

LABELS = {
    "no extras": ("'A' => 0\n'B' => 1\n", "KeyError: 'starting_index'"),
    "gap": ("'A' => 0\n'B' => 5\n" + EXTRAS, "gaps between their numbers"),
    "no number": ("'A' => x\n", "label_encoder.txt"),
    "no literal": ("__import__('os') => 0\n", "label_encoder.txt"),
    "unhashable": ("[1] => 0\n", "label_encoder.txt"),
    "deep": ("(" * 900 + " => 0\n", "label_encoder.txt"),
    "deep signs": ("-" * 900 + "1 => 0\n", "label_encoder.txt"),
    "long": ("'" + "A" * 2000 + "' => 0\n", "more than 1000 characters"),
    "number of many digits": ("'A' => " + "9" * 900 + "\n" + EXTRAS, "gaps"),
}


@pytest.mark.parametrize(("text", "message"), LABELS.values(), ids=LABELS)
def test_bad_labels_are_refused(folder, text, message):
    """Files of labels that the host's reader stumbles over, or accepts."""
    (folder / "label_encoder.txt").write_text(text)
    with pytest.raises(ValueError) as caught:
        StreamingASR.from_hparams(folder)
    assert message in str(caught.value)


def test_the_command_asks_for_trust(folder, tmp_path, monkeypatch, capsys):
    """``transcribe`` refuses as well, and ``--trust`` says otherwise."""
    import soundfile

    from speechbrain_llsa.__main__ import main

    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", make_signal(16000).numpy(), 16000)
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text() + WAYS["new"])
    command = ["transcribe", "--model", str(folder), "a.wav"]
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "trust" in captured.err
    assert main([*command, "--trust"]) == 0
    assert Path("ran").exists()


def test_saved_bytes_are_as_before(written):
    """The check of weights accepts exactly what ``torch.save`` makes."""
    content = io.BytesIO((written / "head.ckpt").read_bytes())
    expected = torch.load(content, weights_only=True)
    loaded = load_weights(written / "head.ckpt")
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[k], expected[k]) for k in expected)
