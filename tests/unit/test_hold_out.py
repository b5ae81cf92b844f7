"""Speakers that are held out of a tree of speech."""

import hold_out
import pytest


@pytest.fixture
def speech(tmp_path):
    """Three speakers with transcripts, and two of them without."""
    tree = tmp_path / "LibriSpeech"
    for place in (
        "train-a/7/1/7-1.trans.txt",
        "train-a/8/1/8-1.trans.txt",
        "train-b/8/2/8-2.trans.txt",
        "train-b/9/1/9-1.trans.txt",
        "train-b/7/2/7-2.trans.txt",
        "unlabelled/7/3/7-3-0000.flac",
        "unlabelled/9/3/9-3-0000.flac",
    ):
        (tree / place).parent.mkdir(parents=True)
        (tree / place).write_text(place)
    return tree


def found(tree):
    return {
        path.parent.relative_to(tree).as_posix(): path.read_text()
        for path in tree.glob("*/*/*/*")
    }


def test_who_is_held_out_of_one_split_leaves_all(speech, tmp_path):
    hold_out.main([str(speech), "--out", str(tmp_path / "out"), "--speakers=7"])
    assert found(tmp_path / "out") == {
        "dev-held-out/7/1": "train-a/7/1/7-1.trans.txt",
        "dev-held-out/7/2": "train-b/7/2/7-2.trans.txt",
        "train-a/8/1": "train-a/8/1/8-1.trans.txt",
        "train-b/8/2": "train-b/8/2/8-2.trans.txt",
        "train-b/9/1": "train-b/9/1/9-1.trans.txt",
        "unlabelled/9/3": "unlabelled/9/3/9-3-0000.flac",
    }


@pytest.mark.parametrize(
    "changes, error, words",
    [
        ({"speakers": ["7", "5"]}, ValueError, "--speakers must be.*got 5"),
        ({"source": "no"}, FileNotFoundError, "source must be.*no'"),
        ({"out": "."}, FileExistsError, "--out must be.*got '.'"),
    ],
)
def test_bad_input(changes, error, words, speech, tmp_path):
    arguments = {"source": speech, "out": tmp_path / "out", "speakers": ["7"]}
    with pytest.raises(error, match=words):
        hold_out.hold_out(**{**arguments, **changes})
    assert not (tmp_path / "out").exists()
