"""The comparison with other recognisers: its clock, its scores, its table; the
other recognisers are not needed."""

import doctest
import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from speechbrain_llsa.evaluation.corpus import read_split
from speechbrain_llsa.evaluation.utterance import SpokenWord

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Imports a benchmark as if it were run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


class Clock:
    """Each call of a recogniser takes its cost."""

    def __init__(self, costs):
        self.seconds = 0.0
        self.costs = iter(costs)
        self.running = False

    def __call__(self):
        if self.running:
            self.seconds += next(self.costs)
        self.running = not self.running
        return self.seconds


class Lengths:
    """Shows how many samples each call was given."""

    step_seconds = 1.0

    def __init__(self, skips):
        self.skips = skips

    def begin(self):
        self.given = []

    def push(self, samples):
        self.given.append(len(samples))
        return " ".join(map(str, self.given))

    finish = push


def test_a_late_stream_catches_up(load):
    """What waits is done in order; the last chunk is what is left."""
    stream = load("peer_stream").stream
    recognizer = Lengths(skips=False)
    clock = Clock([2.5, 0.25, 0.25, 0.25])
    shown, work = stream(recognizer, np.zeros(3 * 16000 + 1), clock)
    assert recognizer.given == [16000, 16000, 16000, 1]
    assert [each.seconds for each in shown] == [3.5, 3.75, 4.0, 4.25]
    assert [each.at_end for each in shown] == [False, False, False, True]
    assert work == 3.25


def test_a_late_window_takes_all_that_has_come(load):
    """Not whole steps alone; the next step begins where it ended."""
    stream = load("peer_stream").stream
    recognizer = Lengths(skips=True)
    shown, work = stream(
        recognizer, np.zeros(5 * 16000), Clock([2.5, 0.5, 0.25, 0.5])
    )
    assert recognizer.given == [16000, 40000, 16000, 8000]
    assert [each.seconds for each in shown] == [3.5, 4.0, 4.75, 5.5]
    assert [each.at_end for each in shown] == [False, False, False, True]
    assert work == 3.75


def test_examples(load):
    """Those in the docstrings."""
    for name in ("peer_stream", "peers"):
        result = doctest.testmod(load(name))
        assert result.attempted and not result.failed


def test_score(load):
    """A word that comes and goes is final when it stays; one that is wrong
    has no delay, and neither has an utterance that is not aligned."""
    peers = load("peers")
    utterances = [
        SimpleNamespace(identity=str(i), transcript="ONE TWO THREE FOUR")
        for i in range(2)
    ]
    shown = [
        {"seconds": seconds, "text": text, "at_end": text.endswith(".")}
        for seconds, text in [
            (1.0, "One"),
            (2.0, "Won two"),
            (3.0, "One, two free"),
            (4.0, "One, two, free four."),
        ]
    ]
    rate, delay = peers.score(
        utterances,
        [[SpokenWord("", 0, end) for end in (0.5, 1.0, 2.0, 3.0)], None],
        {"shown": [shown, shown]},
        normalise=lambda text: " ".join(peers.words_of(text)),
    )
    assert (rate.errors, rate.total) == (2, 8)
    assert (delay.words, delay.at_end) == (2, 1)
    assert delay.median_seconds == pytest.approx((2.5 + 1.0) / 2)


def write_split(folder):
    """Two utterances of dev, in silence."""
    chapter = folder / "dev" / "7" / "1"
    chapter.mkdir(parents=True)
    for number in range(2):
        soundfile.write(chapter / f"7-1-{number}.flac", np.zeros(16000), 16000)
    (chapter / "7-1.trans.txt").write_text("7-1-0 ONE TWO\n7-1-1 KRONK\n")


def test_word_times_are_written(load, tmp_path, monkeypatch, capsys):
    """Beside the transcripts, for evaluations; of an utterance that cannot be
    aligned there are none."""
    alignment = load("word_alignment")
    write_split(tmp_path)
    words = (SpokenWord("ONE", 0.25, 0.5), SpokenWord("TWO", 0.5, 0.75))
    aligner = SimpleNamespace(
        words=lambda _, text: words if text == "ONE TWO" else None
    )
    monkeypatch.setattr(alignment, "WordAligner", lambda: aligner)
    alignment.main(["--data", str(tmp_path), "--splits", "dev"])
    assert "dev: 1 of 2 utterances are aligned" in capsys.readouterr().out
    one, other = read_split(tmp_path, "dev")
    assert one.words == words and other.words is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--utterances", "0"], "--utterances must be a number of at least 1"),
        (["--utterances", "-1"], "--utterances must be a number of at least 1"),
        (["--threads", "0"], "--threads must be a number of at least 1"),
        (["--threads", "-1"], "--threads must be a number of at least 1"),
        (["--models", "nameless"], "--models must be NAME=FOLDER"),
        (["--models", "=x"], "--models must be NAME=FOLDER, got '=x'"),
        (["--models", "x="], "--models must be NAME=FOLDER, got 'x='"),
        (["--splits", "dev", "nope"], "nope not found"),
        (["--data", "/nope"], "must be an existing folder, got /nope"),
    ],
)
def test_peers_refuses_bad_input(load, tmp_path, capsys, options, message):
    """In one sentence, before any work."""
    write_split(tmp_path)
    peers, out = load("peers"), tmp_path / "new" / "peers.md"
    line = ["--data", str(tmp_path), "--splits", "dev", "--out", str(out)]
    with pytest.raises(SystemExit, match="2"):
        peers.main([*line, *options])
    assert message in capsys.readouterr().err
    assert not out.parent.exists()


def test_word_alignment_refuses_a_split_that_is_missing(load, tmp_path, capsys):
    """Before any other is aligned."""
    write_split(tmp_path)
    alignment = load("word_alignment")
    with pytest.raises(SystemExit, match="2"):
        alignment.main(["--data", str(tmp_path), "--splits", "dev", "nope"])
    assert "nope not found" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ctm"))


def test_a_recogniser_needs_its_files(load, monkeypatch, capsys):
    """The program of one recogniser says what it takes."""
    monkeypatch.setattr("sys.argv", ["peer_systems.py"])
    with pytest.raises(SystemExit, match="2"):
        load("peer_systems").main()
    assert "required: job, result" in capsys.readouterr().err


@pytest.mark.slow
def test_the_english_model_takes_part(
    load, digits_corpus, tmp_path, monkeypatch
):
    """From the command line to a table and a picture, without the peers."""
    peers = load("peers")
    monkeypatch.setattr(
        peers,
        "WordAligner",
        lambda: SimpleNamespace(
            words=lambda samples, text: [
                SpokenWord(word, 0, 0.1) for word in text.split()
            ]
        ),
    )
    monkeypatch.setattr(peers, "normaliser", lambda: str.upper)
    every = peers.recognizers

    def ours(*arguments):
        return [
            each
            for each in every(*arguments)
            if each.family == "english" and each.system == "onnx"
        ]

    monkeypatch.setattr(peers, "recognizers", ours)
    out = tmp_path / "new" / "peers.md"
    line = ["--data", str(digits_corpus), "--splits", "test", "--out", str(out)]
    peers.main([*line, "--utterances", "1", "--threads", "1"])
    text = out.read_text(encoding="utf-8")
    assert "1 utterances" in text and "words of 1 of them have ends" in text
    rows = [row for row in text.splitlines() if row.startswith("| english")]
    assert len(rows) == 2
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert cells[2] == "0.19 s ahead, hop 0.19 s"
        assert float(cells[7]) > 0 and float(cells[8]) > 50
    assert (out.parent / "peers_test.png").stat().st_size > 1000
