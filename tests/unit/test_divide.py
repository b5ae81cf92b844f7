"""Recordings of a speaker, divided for adaptation."""

import divide
import pytest
import soundfile

from tiny_model import make_signal

SENTENCES = ["ONE", "TWO", "ONE", "THREE", "four", "FOUR"]


@pytest.fixture
def speaker(tmp_path):
    """Six recordings of six seconds, in two chapters."""
    folder = tmp_path / "recordings" / "9"
    for number, sentence in enumerate(SENTENCES):
        chapter = folder / str(number // 3)
        chapter.mkdir(parents=True, exist_ok=True)
        name = f"9-{number // 3}-{number:04}"
        soundfile.write(
            chapter / f"{name}.flac", make_signal(6 * 1000).numpy(), 1000
        )
        with open(chapter / f"9-{number // 3}.trans.txt", "a") as file:
            file.write(f"{name} {sentence}\n")
    return folder


def read(split):
    return [
        line.split()
        for path in sorted(split.glob("9/*/*.trans.txt"))
        for line in path.read_text().splitlines()
    ]


def test_no_sentence_is_in_two(speaker, tmp_path, capsys):
    """The last ones are measured on, with what repeats them."""
    out = tmp_path / "own"
    minutes = ["--test_minutes", "0.25", "--valid_minutes", "0.15"]
    divide.main([str(speaker), "--out", str(out), *minutes])
    assert capsys.readouterr().out.splitlines() == [
        "test: 0.2 minutes",
        "valid: 0.1 minutes",
        "adapt: 0.3 minutes",
    ]
    assert [sentence for _, sentence in read(out / "test")] == ["four", "FOUR"]
    assert read(out / "valid") == [["9-1-0003", "THREE"]]
    assert read(out / "adapt") == [
        ["9-0-0000", "ONE"],
        ["9-0-0001", "TWO"],
        ["9-0-0002", "ONE"],
    ]
    for name, _ in read(out / "test"):
        chapter = out / "test" / "9" / name.split("-")[1]
        assert soundfile.info(chapter / f"{name}.flac").frames == 6000


@pytest.mark.parametrize(
    "minutes, empty",
    [((0, 0.2), "test"), ((0.2, 0.05), "valid"), ((0.2, 100), "adapt")],
)
def test_every_split_has_speech(minutes, empty, speaker, tmp_path):
    with pytest.raises(ValueError, match=f"minutes must be .*split {empty}"):
        divide.divide(speaker, tmp_path / "own", *minutes)
    assert not (tmp_path / "own").exists()


def test_bad_input(speaker, tmp_path):
    with pytest.raises(ValueError, match="SPEAKER must be"):
        divide.divide(tmp_path / "no", tmp_path / "own", 0.2, 0.1)
    with pytest.raises(FileExistsError, match="--out must be"):
        divide.divide(speaker, tmp_path)
    (speaker / "0" / "9-0-0001.flac").write_bytes(b"no audio")
    with pytest.raises(ValueError, match=r"9-0-0001\.flac"):
        divide.divide(speaker, tmp_path / "own", 0.2, 0.1)
    (speaker / "0" / "9-0-0001.flac").unlink()
    with pytest.raises(FileNotFoundError, match=r"must be of recordings.*0001"):
        divide.divide(speaker, tmp_path / "own", 0.2, 0.1)
