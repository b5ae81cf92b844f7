"""Folders of the version before become folders of this one, by one command;
untrusted ones are checked as they always were."""

import json
import pickle
import pydoc
import re
import zipfile

import pytest
import torch
from ruamel.yaml import YAMLError

from model_data import model_folder
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.model_folder.convert import convert_folder
from speechbrain_llsa.model_folder.version_0 import (
    ACTIVATIONS,
    LARGEST_FILE_BYTES,
    check_hyperparameters,
    read_torch_weights,
)
from speechbrain_llsa_runtime.model_folder.description import MODEL_FILE


@pytest.fixture
def folder(tmp_path):
    """A folder of the version before, to play with."""
    return model_folder(0, "ctc", tmp_path / "old")


@pytest.fixture
def convert(folder, tmp_path):
    """Converts it, and expects an error: gives its message. Nothing is
    written."""

    def convert():
        with pytest.raises(ValueError) as caught:
            convert_folder(folder, tmp_path / "new")
        assert not (tmp_path / "new").exists()
        message = str(caught.value)
        assert message.startswith("folder must be") and "\n" not in message
        return message

    return convert


@pytest.mark.parametrize("kind", ["ctc", "pieces", "encoder", "onnx"])
def test_the_command(kind, tmp_path, capsys):
    """It gives exactly the folder of this version, twice if asked."""
    folder = model_folder(0, kind, tmp_path / "old")
    expected = model_folder(1, kind, tmp_path / "expected")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command = ["convert", str(folder), str(tmp_path / "new")]
    for _ in range(2):
        assert main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(list(expected.iterdir()))
    for path in expected.iterdir():
        assert (tmp_path / "new" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "new").iterdir())) == len(lines)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["ctc", "onnx"])
def test_places_are_checked(kind, tmp_path, capsys):
    """Nothing to convert, nothing old, no place to write to: one line."""
    old = model_folder(0, kind, tmp_path / "old")
    new = model_folder(1, kind, tmp_path / "new")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    for command, words in (
        ([old, old], "other than folder"),
        ([new, tmp_path / "a"], "is of this version"),
        ([old, tmp_path / "other"], "holds something else"),
        ([tmp_path / "other", tmp_path / "a"], "with a hyperparams.yaml or"),
        ([tmp_path / "no", tmp_path / "a"], "with a hyperparams.yaml or"),
    ):
        assert main(["convert", *map(str, command)]) == 2
        error = capsys.readouterr().err
        assert re.search(words, error) and error.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_missing_files_are_named(folder, tmp_path):
    """Each file of the old folder."""
    for name in ("head.ckpt", "label_encoder.txt", "extractor.ckpt"):
        (folder / name).rename(tmp_path / name)
        with pytest.raises(FileNotFoundError, match=f"holds no {name}"):
            convert_folder(folder, tmp_path / "new")
        (tmp_path / name).rename(folder / name)


def test_a_type_of_few_bits_is_kept(folder, tmp_path):
    """Weights are copied as they are."""
    from safetensors.torch import load_file

    path = folder / "head.ckpt"
    weights = {k: v.half() for k, v in read_torch_weights(path).items()}
    torch.save(weights, path)
    new = convert_folder(folder, tmp_path / "new")
    given = load_file(new / "head.safetensors")
    assert given["weight"].dtype == torch.float16
    assert all(torch.equal(given[name], weights[name]) for name in weights)


def test_a_language_model_is_copied(folder, tmp_path):
    """It is a file of the folder, and nothing else."""
    path = folder / "hyperparams.yaml"
    text = path.read_text()
    path.write_text(text.replace("beam_size: 4", "language_model: a.arpa"))
    (folder / "a.arpa").write_text("words")
    new = convert_folder(folder, tmp_path / "new")
    assert (new / "a.arpa").read_text() == "words"
    search = json.loads((new / MODEL_FILE).read_text())["search"]
    assert search == {"language_model": "a.arpa", "hotwords": ["ABBA"]}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("d_ffn: 8", "d_ffn: 900000000", "encoder.d_ffn must be"),
        ("d_ffn: 8", "d_ffn: 80", r"must be of shape \[80, 4\]"),
        ("num_layers: 1", "num_layers: 2", "it lacks tensor"),
        ("out_features: 6", "out_features: 7", r"weight' must be of shape \[7"),
        ("    nhead: 2\n", "", "encoder lacks the entry 'nhead'"),
        ("    nhead: 2\n", "    nhead: 2\n    dropout: 0.1\n", "'dropout'"),
        ("hop: [2, 1]", "hop: []", r"hop must .*got a list of 0"),
        ("hop: [2, 1]", "hop: [2, 9999]", r"hop must .*got '9999'"),
        ("hop: [2, 1]", "hop: [[2], 1]", r"hop must .*got 'something else'"),
        ("latent_encoder: !ref <encoder>", "latent_encoder: !ref <extractor>",
         "encoder must be '<encoder>'"),
        ("head: head.ckpt", "head: hyperparams.yaml", "is damaged, or is no"),
        ("head: head.ckpt", "head: ../head.ckpt", "../head.ckpt"),
        ("head: head.ckpt", "head: [1]", "which is a path"),
        ("pretrainer:", "trainer:", "'pretrainer'"),
        ("beam_size: 4", "beam_size: 9999", "beam_size"),
    ],
)  # fmt: skip
def test_changed_files_are_refused(folder, convert, old, new, words):
    """What describes another model, or none."""
    path = folder / "hyperparams.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    assert re.search(words, convert())


@pytest.mark.parametrize(
    "way",
    [
        "b: !new:zipfile.ZipFile {file: ran, mode: w}",
        "b: (!!python/object/apply:os.mkdir [ran])",
        "b: !include:other.yaml",
    ],
)
def test_nothing_of_theirs_runs(folder, convert, tmp_path, monkeypatch, way):
    """Whatever HyperPyYAML would run."""
    monkeypatch.chdir(tmp_path)
    (folder / "other.yaml").write_text(
        "b: !new:zipfile.ZipFile {file: ran, mode: w}"
    )
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text() + "\n" + way + "\n")
    assert "line" in convert()
    assert not (tmp_path / "ran").exists()


def test_a_large_file_is_not_read(folder, convert):
    """The size of a hyperparameter file is bounded."""
    path = folder / "hyperparams.yaml"
    path.write_text("#" * LARGEST_FILE_BYTES + path.read_text())
    assert "more than 65536 bytes" in convert()


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
        r"line 1 must .*got the t",
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
    "list": ("[1, 2]", "must have a mapping"),
    "nothing": ("", "must have a mapping"),
    "layers": (
        "a: !new:speechbrain_llsa.nnet.encoder.StreamingTransformerEncoder\n"
        "  num_layers: 999999999",
        r"num_layers must .*got '999999999'",
    ),
    "layers by reference": (
        "n: 99999999\n"
        "a: !new:speechbrain_llsa.nnet.encoder.StreamingTransformerEncoder\n"
        "  num_layers: !ref <n>",
        r"num_layers must .*got '<n>'",
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
    assert re.search(message, str(caught.value))


def test_two_documents_are_no_yaml():
    """A second document is no way around the check of the first."""
    with pytest.raises(YAMLError):
        check_hyperparameters("a: 1\n---\na: !apply:os.system [ls]")


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
            read_torch_weights(path), path, _use_new_zipfile_serialization=False
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
def test_harmful_checkpoints_are_refused(folder, convert, damage, message):
    """What ``torch.load`` would believe, and should not."""
    damage(folder / "head.ckpt")
    given = convert()
    assert re.search(message, given) and "head.ckpt" in given


def test_one_changed_bit_is_found(folder, convert):
    """Weights that are not as they were written are refused."""
    path = folder / "head.ckpt"
    content = bytearray(path.read_bytes())
    weights = read_torch_weights(path)["weight"].numpy().tobytes()
    place = bytes(content).index(weights)
    content[place + 10] ^= 1
    path.write_bytes(content)
    assert "has changed" in convert()


EXTRAS = "================\n'starting_index' => 0\n"

LABELS = {
    "no extras": ("'A' => 0\n'B' => 1\n", "KeyError: 'starting_index'"),
    "gap": ("'A' => 0\n'B' => 5\n" + EXTRAS, "gaps between them"),
    "no number": ("'A' => x\n", "label_encoder.txt"),
    "no literal": ("__import__('os') => 0\n", "label_encoder.txt"),
    "unhashable": ("[1] => 0\n", "label_encoder.txt"),
    "deep": ("(" * 900 + " => 0\n", "label_encoder.txt"),
    "deep signs": ("-" * 900 + "1 => 0\n", "label_encoder.txt"),
    "long": ("'" + "A" * 2000 + "' => 0\n", "more than 1000 characters"),
    "number of many digits": ("'A' => " + "9" * 900 + "\n" + EXTRAS, "gaps"),
}


@pytest.mark.parametrize(("text", "message"), LABELS.values(), ids=LABELS)
def test_bad_labels_are_refused(folder, convert, text, message):
    """Files of labels that SpeechBrain's reader stumbles over, or accepts."""
    (folder / "label_encoder.txt").write_text(text)
    assert re.search(message, convert())
