"""Transcripts that Moonshine makes up for speech that has none."""

import numpy as np
import pseudo_label
import pytest
import soundfile

from speechbrain_llsa.evaluation.librispeech import list_split, read_rows


@pytest.fixture
def split(tmp_path):
    """Three utterances of two speakers, told apart by their levels."""
    for place, level in (
        ("7/1/7-1-0000", 0.125),
        ("7/1/7-1-0001", 0.25),
        ("8/1/8-1-0000", 0.5),
    ):
        path = tmp_path / "train" / f"{place}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(800, level, np.float32), 16000)
    return tmp_path / "train"


def moonshine(**heard):
    """A stand-in, which knows what each level says."""
    return lambda samples: heard[f"{samples[0]:.3f}"]


HEARD = {"0.125": "Don’t - well, stop!", "0.250": "In 1850.", "0.500": "Yes."}


def test_the_new_split_has_audio_and_words(split, tmp_path):
    """What has digits is left out; words are as LibriSpeech has them."""
    out = tmp_path / "labelled"
    found = pseudo_label.pseudo_label(split, out, moonshine(**HEARD))
    assert found == (2, 1)
    rows = read_rows("labelled", list_split(out), transcripts_required=True)
    assert [(row[0], row[3], row[4]) for row in rows] == [
        ("7-1-0000", "7", "DON'T WELL STOP"),
        ("8-1-0000", "8", "YES"),
    ]


def test_the_command_says_how_many(split, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        pseudo_label, "make_transcriber", lambda: (moonshine(**HEARD), None)
    )
    pseudo_label.main([str(split), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out == "2 utterances with words, 1 left out\n"


def test_damaged_audio_is_left_out(split, tmp_path, capsys):
    """And named, and nothing else is lost."""
    damaged = split / "7/1/7-1-0001.flac"
    damaged.write_bytes(b"fLaC")
    found = pseudo_label.pseudo_label(
        split, tmp_path / "out", moonshine(**HEARD)
    )
    assert found == (2, 1)
    assert "7-1-0001.flac" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["'", "He said 'yes'.", "", "naïve", "1st"])
def test_what_is_no_word_is_left_out(text):
    assert pseudo_label.words_of(text) is None


@pytest.mark.parametrize(
    "source, out, text, words",
    [
        ("train", "out", "12", "SPLIT must be speech with words, .* 3 files"),
        ("no", "out", "Yes.", "SPLIT must be a folder of speech"),
        ("train", ".", "Yes.", "--out must be a path where nothing lies"),
    ],
)
def test_bad_input(source, out, text, words, split, tmp_path):
    """Nothing to hear, no such folder, or something in the way."""
    with pytest.raises((OSError, ValueError), match=words):
        pseudo_label.pseudo_label(
            tmp_path / source, tmp_path / out, lambda samples: text
        )
    assert not (tmp_path / "out").exists()
