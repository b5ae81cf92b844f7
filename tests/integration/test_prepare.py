"""Manifests of LibriSpeech: contents, staleness, missing and bad files."""

import csv
import json
import logging
import os

import numpy as np
import pytest
import soundfile
from speechbrain.dataio.dataset import DynamicItemDataset

from headers import UNKNOWN_LENGTHS, encoded, with_number


@pytest.fixture
def prepare():
    from librispeech_prepare import prepare_librispeech

    return prepare_librispeech


def add_chapter(folder, split, speaker, seconds, transcripts=True, chapter=1):
    """Writes a chapter of noise; returns its folder."""
    place = folder / split / speaker / str(chapter)
    place.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    lines = []
    for index, duration in enumerate(seconds):
        name = f"{speaker}-{chapter}-{index:04d}"
        samples = generator.standard_normal(int(16000 * duration)) * 0.1
        soundfile.write(place / f"{name}.flac", samples, 16000)
        lines.append(f"{name} WORD {index}\n")
    if transcripts:
        (place / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return place


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    add_chapter(folder, "train-clean-100", "19", [0.5, 1.25])
    add_chapter(folder, "train-clean-100", "26", [0.75])
    add_chapter(folder, "train-other-500", "40", [0.25])
    add_chapter(folder, "dev-clean", "84", [1.0])
    return folder


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_manifest(prepare, corpus, tmp_path):
    """A manifest has SpeechBrain's columns, seconds, absolute paths, speakers
    and words, and SpeechBrain's dataset loads it."""
    save = tmp_path / "save"
    paths = prepare(corpus, save, ["train-clean-100", "dev-clean"])
    assert list(paths) == ["train-clean-100", "dev-clean"]
    rows = read(paths["train-clean-100"])
    assert list(rows[0]) == ["ID", "duration", "wav", "spk_id", "wrd"]
    assert [row["ID"] for row in rows] == [
        "19-1-0000",
        "19-1-0001",
        "26-1-0000",
    ]
    assert [float(row["duration"]) for row in rows] == [0.5, 1.25, 0.75]
    assert [row["spk_id"] for row in rows] == ["19", "19", "26"]
    assert rows[1]["wrd"] == "WORD 1"
    assert all(os.path.isabs(r["wav"]) for r in rows)
    assert all(soundfile.info(r["wav"]).samplerate == 16000 for r in rows)
    dataset = DynamicItemDataset.from_csv(paths["train-clean-100"])
    assert dataset.data["19-1-0001"]["duration"] == 1.25


def test_parent_folder(prepare, corpus, tmp_path):
    """The folder above LibriSpeech/ does as well."""
    (tmp_path / "all").mkdir()
    corpus.rename(tmp_path / "all" / "LibriSpeech")
    paths = prepare(tmp_path / "all", tmp_path / "save", ["dev-clean"])
    assert read(paths["dev-clean"])[0]["ID"] == "84-1-0000"


def test_merged(prepare, corpus, tmp_path):
    """Several splits merge into one manifest beside their own."""
    train = ["train-clean-100", "train-other-500"]
    paths = prepare(
        corpus,
        tmp_path,
        [*train, "dev-clean"],
        merge_splits=train,
        merge_name="train",
    )
    assert list(paths) == [*train, "dev-clean", "train"]
    assert read(paths["train"]) == [
        row for split in train for row in read(paths[split])
    ]
    prepare(corpus, tmp_path / "x", [], merge_splits=train, merge_name="both")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        "both.csv",
        "both.manifest.json",
    ]


def test_merged_twice(prepare, corpus, tmp_path):
    """An utterance in two merged splits is an error."""
    add_chapter(corpus, "train-copy", "19", [0.5])
    with pytest.raises(ValueError, match="19-1-0000"):
        prepare(
            corpus,
            tmp_path / "save",
            [],
            merge_splits=["train-clean-100", "train-copy"],
            merge_name="all",
        )


def test_without_transcripts(prepare, corpus, tmp_path, caplog):
    """Audio without transcripts has an empty wrd, or is an error where
    transcripts are required."""
    add_chapter(corpus, "unlabelled", "7", [0.5, 0.5], transcripts=False)
    paths = prepare(corpus, tmp_path / "save", ["unlabelled"])
    assert [row["wrd"] for row in read(paths["unlabelled"])] == ["", ""]
    assert "no transcript" not in caplog.text
    with pytest.raises(ValueError, match=r"2 bad: .*7-1-0000.flac has no t"):
        prepare(
            corpus, tmp_path / "save", ["unlabelled"], transcripts_required=True
        )
    add_chapter(corpus, "unlabelled", "8", [0.5])
    prepare(corpus, tmp_path / "save", ["unlabelled"])
    assert "2 of 3 utterances have no transcript" in caplog.text


def changes_of(corpus):
    """Ways in which the data can change under a manifest."""
    chapter = corpus / "dev-clean" / "84" / "1"

    def longer():
        soundfile.write(chapter / "84-1-0000.flac", np.zeros(9999), 16000)

    def touched():
        os.utime(chapter / "84-1-0000.flac", (1, 1))

    return {
        "added": lambda: add_chapter(corpus, "dev-clean", "99", [0.5]),
        "longer": longer,
        "touched": touched,
        "other words": lambda: (chapter / "84-1.trans.txt").write_text(
            "84-1-0000 OTHER WORDS\n"
        ),
        "removed": lambda: (chapter / "84-1.trans.txt").unlink(),
    }


def test_used_again(prepare, corpus, tmp_path, caplog):
    """A manifest of the same data is used again, untouched."""
    caplog.set_level(logging.INFO)
    path = prepare(corpus, tmp_path, ["dev-clean"])["dev-clean"]
    before = os.stat(path).st_mtime_ns
    caplog.clear()
    prepare(str(corpus), str(tmp_path), ["dev-clean", "train-clean-100"])
    assert os.stat(path).st_mtime_ns == before
    assert "dev-clean.csv is up to date" in caplog.text
    assert "train-clean-100.csv is written: it does not exist" in caplog.text


@pytest.mark.parametrize(
    "change", ["added", "longer", "touched", "other words", "removed"]
)
def test_changed_data(prepare, corpus, tmp_path, caplog, change):
    """Changed data are noticed, and the log says what has changed."""
    caplog.set_level(logging.INFO)
    prepare(corpus, tmp_path, ["dev-clean"])
    changes_of(corpus)[change]()
    path = prepare(corpus, tmp_path, ["dev-clean"])["dev-clean"]
    assert "the files of dev-clean have changed" in caplog.text
    fresh = prepare(corpus, tmp_path / "fresh", ["dev-clean"])["dev-clean"]
    assert read(path) == read(fresh)


def test_other_folder_or_options(prepare, corpus, tmp_path, caplog):
    """Another data folder, other options, another composition, and damage
    to the manifest or its description are noticed."""
    caplog.set_level(logging.INFO)
    other = tmp_path / "other"
    add_chapter(other, "dev-clean", "84", [1.0])
    save = tmp_path / "save"
    splits = ["dev-clean"]
    path = prepare(corpus, save, splits)["dev-clean"]
    prepare(other, save, splits)
    assert "the data folder or the splits have changed" in caplog.text
    assert str(other) in read(path)[0]["wav"]
    prepare(other, save, splits, on_bad_file="skip")
    assert "the options have changed" in caplog.text
    good = read(path)
    description = save / "dev-clean.manifest.json"
    for damage, message in (
        (lambda: os.truncate(path, 40), "not as it was written"),
        (description.unlink, "is missing"),
        (lambda: description.write_text("{"), "cannot be read"),
        (lambda: description.write_text("[]"), "cannot be read"),
        (lambda: description.write_text("{}"), "the format"),
    ):
        damage()
        caplog.clear()
        prepare(other, save, splits, on_bad_file="skip")
        assert message in caplog.text
        assert read(path) == good
    assert json.loads(description.read_text())["utterances"] == 1


def test_missing_splits(prepare, corpus, tmp_path):
    """All missing splits are named at once, with those that exist."""
    with pytest.raises(
        FileNotFoundError,
        match="dev-other, test-other not found, there are dev-clean, train-c",
    ):
        prepare(corpus, tmp_path, ["dev-other", "dev-clean", "test-other"])
    with pytest.raises(FileNotFoundError, match="data_folder must be an exis"):
        prepare(corpus / "nowhere", tmp_path, ["dev-clean"])
    assert not list(tmp_path.glob("*.csv"))


def spoil(corpus):
    """One bad file of each kind in dev-clean, and one good one."""
    chapter = add_chapter(corpus, "dev-clean", "84", [1.0] * 5)
    (chapter / "84-1-0001.flac").write_bytes(b"")
    (chapter / "84-1-0002.flac").write_bytes(b"no audio at all")
    os.truncate(chapter / "84-1-0003.flac", 9000)
    (chapter / "84-1-0004.flac").unlink()
    return {
        "84-1-0001.flac is empty",
        "84-1-0002.flac cannot be read",
        "84-1-0003.flac is truncated",
        "84-1.trans.txt has a transcript of 84-1-0004, which has no audio",
    }


def test_bad_files_are_errors(prepare, corpus, tmp_path):
    """Bad files are counted and named in one error; nothing is written."""
    faults = spoil(corpus)
    with pytest.raises(ValueError, match="got 4 bad") as caught:
        prepare(corpus, tmp_path / "save", ["dev-clean"])
    for fault in faults:
        assert fault in str(caught.value)
    assert not list((tmp_path / "save").iterdir())


def test_bad_files_are_skipped(prepare, corpus, tmp_path, caplog):
    """With "skip" they are left out, and named in a warning."""
    faults = spoil(corpus)
    save = tmp_path / "save"
    path = prepare(corpus, save, ["dev-clean"], on_bad_file="skip")["dev-clean"]
    assert [row["ID"] for row in read(path)] == ["84-1-0000"]
    assert "4 bad, left out" in caplog.text
    for fault in faults:
        assert fault in caplog.text


@pytest.mark.parametrize("format", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF"])
def test_truncated_uncompressed_files(prepare, corpus, tmp_path, format):
    """Are named, as FLAC is, whatever hides behind the name."""
    path = corpus / "dev-clean" / "84" / "1" / "84-1-0001.wav"
    content = encoded(np.zeros(16000), format)
    path.write_bytes(content[: len(content) * 31 // 100])
    words = r"got 1 bad: .*84-1-0001\.wav is truncated: 32000 bytes"
    with pytest.raises(ValueError, match=words):
        prepare(corpus, tmp_path / "save", ["dev-clean"])


@pytest.mark.parametrize("row", UNKNOWN_LENGTHS, ids=str)
def test_lengths_that_were_not_known(prepare, corpus, tmp_path, row):
    """The duration is that of the samples that are there."""
    format, *change = row
    content = with_number(encoded(np.zeros(12000), format), *change)
    path = corpus / "dev-clean" / "84" / "1" / "84-1-0000.wav"
    path.with_suffix(".flac").unlink()
    path.write_bytes(content)
    paths = prepare(corpus, tmp_path / "save", ["dev-clean"])
    (found,) = read(paths["dev-clean"])
    assert (found["ID"], float(found["duration"])) == ("84-1-0000", 0.75)


def test_nothing_good(prepare, corpus, tmp_path):
    """A split without audio in place, or with bad audio alone, is an error."""
    (corpus / "empty").mkdir()
    with pytest.raises(
        ValueError, match="split empty must hold audio as SPEAK"
    ):
        prepare(corpus, tmp_path, ["empty"])
    soundfile.write(corpus / "empty" / "a.flac", np.zeros(99), 16000)
    with pytest.raises(ValueError, match="1 audio files elsewhere"):
        prepare(corpus, tmp_path, ["empty"])
    chapter = corpus / "empty" / "1" / "1"
    chapter.mkdir(parents=True)
    (chapter / "1-1-0.flac").write_bytes(b"")
    with pytest.raises(ValueError, match="must hold a good audio file"):
        prepare(corpus, tmp_path, ["empty"], on_bad_file="skip")


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        ({"splits": "dev-clean"}, TypeError, "list of folder names"),
        ({"splits": [1]}, TypeError, "list of folder names"),
        ({"splits": []}, ValueError, "at least one folder"),
        ({"splits": ["../x"]}, ValueError, "right in the data folder"),
        ({"splits": [""]}, ValueError, "right in the data folder"),
        ({"merge_name": "all"}, ValueError, "given together"),
        ({"merge_splits": ["dev-clean"]}, ValueError, "given together"),
        (
            {"merge_splits": ["dev-clean"], "merge_name": "dev-clean"},
            ValueError,
            "must differ",
        ),
        (
            {"merge_splits": ["dev-clean"], "merge_name": "a/b"},
            ValueError,
            "plain name",
        ),
        ({"on_bad_file": "ignore"}, ValueError, '"error" or "skip"'),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
    ],
)
def test_bad_arguments(prepare, corpus, tmp_path, wrong, error, message):
    """Arguments out of range are named."""
    arguments = {"splits": ["dev-clean"], **wrong}
    with pytest.raises(error, match=message):
        prepare(corpus, tmp_path, **arguments)


TRANSCRIPTS = {"84-1-0000": "ONE É", "84-1-0001": "TWO", "84-1-0002": "A B"}


@pytest.mark.parametrize(
    "write",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.removesuffix("\n").encode(),
        lambda text: text.replace(" ", "\t").encode(),
        lambda text: text.replace("A B", "A\u2028B").encode(),
        lambda text: text.replace("A B", "A\x85B").encode(),
        lambda text: text.replace("A B", "A\x0bB\x1c").encode(),
        lambda text: text.replace("0 ", "0.flac ").encode(),
        lambda text: text.replace("0 ", "0.WAV ").encode(),
    ],
    ids=[
        "mark",
        "carriage returns",
        "no last line end",
        "tabs",
        "line separator",
        "next line",
        "other separators",
        "flac",
        "wav",
    ],
)
def test_transcripts_of_other_editors(prepare, tmp_path, write):
    """A byte order mark, other blanks, line separators within a line, and
    names of files instead of utterances give the same manifest; as do the
    evaluation and the n-grams."""
    from ngrams.sources import read_transcripts
    from speechbrain_llsa.evaluation.corpus import read_split

    corpus = tmp_path / "corpus"
    chapter = add_chapter(corpus, "dev-clean", "84", [0.1] * 3)
    text = "".join(f"{name} {words}\n" for name, words in TRANSCRIPTS.items())
    (chapter / "84-1.trans.txt").write_bytes(write(text))
    path = prepare(
        corpus, tmp_path / "save", ["dev-clean"], transcripts_required=True
    )["dev-clean"]
    assert {row["ID"]: row["wrd"] for row in read(path)} == TRANSCRIPTS
    utterances = read_split(corpus, "dev-clean")
    assert {each.identity: each.transcript for each in utterances} == (
        TRANSCRIPTS
    )
    transcripts = read_transcripts(corpus, ["dev-clean"])
    assert transcripts == list(TRANSCRIPTS.values())


@pytest.mark.parametrize(
    ("encoding", "fault"),
    [
        ("latin-1", "must be UTF-8, got the byte 0xc9 in line 1"),
        ("utf-16", "must be UTF-8, got UTF-16"),
    ],
)
def test_transcripts_in_other_encodings(prepare, tmp_path, encoding, fault):
    """Named with file and line, by preparation and n-grams."""
    from ngrams.sources import read_transcripts

    corpus = tmp_path / "corpus"
    chapter = add_chapter(corpus, "dev-clean", "84", [0.1])
    path = chapter / "84-1.trans.txt"
    path.write_bytes("84-1-0000 ONE É\n".encode(encoding))
    with pytest.raises(ValueError, match=f"{path} {fault}"):
        prepare(corpus, tmp_path / "save", ["dev-clean"])
    with pytest.raises(ValueError, match=f"{path} {fault}"):
        read_transcripts(corpus, ["dev-clean"])


def test_command_line(prepare, corpus, tmp_path, capsys):
    """The command line writes manifests and answers mistakes in a sentence."""
    from librispeech_prepare import main

    folders = ["--data_folder", str(corpus), "--save_folder", str(tmp_path)]
    main([*folders, "--splits", "dev-clean", "train-clean-100"])
    assert len(read(tmp_path / "train-clean-100.csv")) == 3
    with pytest.raises(SystemExit):
        main([*folders, "--splits", "test-clean"])
    assert "test-clean not found" in capsys.readouterr().err


def test_synthetic_corpus(prepare, digits_corpus, tmp_path):
    """What synthesize.py makes is a corpus to prepare."""
    paths = prepare(
        digits_corpus,
        tmp_path,
        ["train", "valid", "test"],
        transcripts_required=True,
    )
    rows = read(paths["train"])
    assert len(rows) == 12
    assert len({row["spk_id"] for row in rows}) == 2


def test_docstrings(prepare, request):
    """The example in the docstring holds."""
    import doctest

    import librispeech_prepare

    result = doctest.testmod(
        librispeech_prepare,
        extraglobs={"getfixture": request.getfixturevalue},
    )
    assert result.attempted > 0
    assert result.failed == 0
