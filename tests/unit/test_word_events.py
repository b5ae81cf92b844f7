"""Measuring word times: CTM files, pairing, errors, offsets."""

import shutil

import numpy as np
import pytest
import soundfile

import word_times
from speechbrain_llsa.evaluation.corpus import read_word_times
from speechbrain_llsa.evaluation.word_events import (
    estimate_offsets,
    find_words,
    match_words,
    time_errors,
)
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.transcripts.transcript import Word
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from tiny_model import make_model, make_tokenizer

CTM = """\
;; a comment
1-2-0000 1 0.5 0.25 ONE
1-2-0000 1 0.75 0.5 TWO 0.99

1-2-0001 A 1 1 THREE
"""


def test_ctm(tmp_path):
    """Comments and confidences are skipped; the file of an utterance is found
    beside its audio."""
    path = tmp_path / "1-2.ctm"
    path.write_text(CTM)
    words = {
        "1-2-0000": [("ONE", 0.5, 0.75), ("TWO", 0.75, 1.25)],
        "1-2-0001": [("THREE", 1.0, 2.0)],
    }
    for name, spoken in words.items():
        assert find_words(tmp_path / f"{name}.flac") == spoken
    assert find_words(tmp_path / "1-2-0002.flac") is None
    assert find_words(tmp_path / "1-3-0000.flac") is None


@pytest.mark.parametrize(
    "write",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("THREE", "TH\u2028REE").encode(),
        lambda text: text.replace("0001 A", "0001.flac A").encode(),
    ],
    ids=["mark", "carriage returns", "line separator", "name of a file"],
)
def test_ctm_of_other_editors(tmp_path, write):
    """As without the mark, for preparation and evaluation."""
    path = tmp_path / "1-2.ctm"
    path.write_bytes(write(CTM.removeprefix(";; a comment\n")))
    words = find_words(tmp_path / "1-2-0001.flac")
    assert [(start, end) for _, start, end in words] == [(1.0, 2.0)]
    assert len(find_words(tmp_path / "1-2-0000.flac")) == 2
    times = read_word_times(path)
    assert [len(times[name]) for name in ("1-2-0000", "1-2-0001")] == [2, 1]


def test_ctm_in_another_encoding(tmp_path):
    """Named with file and line."""
    path = tmp_path / "1-2.ctm"
    path.write_bytes("a 1 0 1 A\na 1 1 1 É\n".encode("latin-1"))
    with pytest.raises(ValueError, match=f"{path} must be UTF-8, .* line 2"):
        find_words(tmp_path / "1-2-0000.flac")


@pytest.mark.parametrize("line", ["a 1 0.5 0.5", "a 1 x 0.5 W", "words"])
def test_damaged_ctm(tmp_path, line):
    """File and line are named."""
    (tmp_path / "a.ctm").write_text(f"a 1 0 1 W\n{line}\n")
    with pytest.raises(ValueError, match=r"a\.ctm, line 2 must .*got"):
        find_words(tmp_path / "a-0.flac")


def words_of(text, start=0.0):
    return [
        Word(word, start + i, start + i + 0.5, 1.0)
        for i, word in enumerate(text.split())
    ]


def spoken(text):
    return [(word, i, i + 0.5) for i, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("recognised", "said", "pairs"),
    [
        ("A B C", "A B C", [(0, 0), (1, 1), (2, 2)]),
        ("A C", "A B C", [(0, 0), (1, 2)]),
        ("A B B C", "A B C", [(0, 0), (2, 1), (3, 2)]),
        ("A X C", "A B C", [(0, 0), (2, 2)]),
        ("", "A", []),
        ("A", "", []),
    ],
)
def test_pairs(recognised, said, pairs):
    """Only words that are right have a partner, in order."""
    matched = match_words(words_of(recognised), spoken(said))
    assert len(matched) == len(pairs)
    assert [said.split()[j] for _, j in matched] == [
        recognised.split()[i] for i, _ in pairs
    ]


def test_the_measure_itself():
    """Words that are late by known times have just these errors; words that
    are wrong do not count."""
    late = [
        Word(word, start + delay, end - 2 * delay, 1.0)
        for (word, start, end), delay in zip(
            spoken("A B C D E"), [0.01, 0.02, 0.03, 0.04, 0.9], strict=True
        )
    ]
    errors = time_errors([(late, spoken("A B C D X")), ([], spoken("A"))])
    assert errors == pytest.approx(
        np.array([[0.01, -0.02], [0.02, -0.04], [0.03, -0.06], [0.04, -0.08]])
    )
    assert word_times.quantiles(errors[:, 0]) == pytest.approx([25, 37])
    assert word_times.quantiles(errors[:, 1]) == pytest.approx([50, 74])
    assert time_errors([]).shape == (0, 2)


def test_offsets_are_found():
    """Of words that follow each other, or do not: those that they were made
    with; too few words give none."""
    reference, words, time = [], [], 0.3
    generator = np.random.default_rng(0)
    for index in range(200):
        duration = generator.uniform(0.3, 0.6)
        end = time + duration
        reference.append(("W", time, end))
        last = end - (0.25 if index % 2 else duration - 0.15)
        words.append(Word("W", time + 0.1, max(last, time + 0.12), 1.0))
        time = end + (0.4 if index % 2 else 0.0)
    offsets = estimate_offsets([(words, reference)])
    assert offsets == WordOffsets(-0.1, 0.25)
    assert estimate_offsets([(words[:19], reference[:19])]) is None


@pytest.fixture
def model_folder(tmp_path):
    return write_streaming_folder(
        tmp_path / "model", make_model(), make_tokenizer()
    )


def test_benchmark(model_folder, digits_corpus, tmp_path, monkeypatch, capsys):
    """The benchmark says what the offsets leave of the errors: none, for a
    model that is late by the same everywhere."""

    def stream(asr, waveform):
        offsets = asr.word_offsets or WordOffsets()
        return [
            Word(
                word,
                start + 0.06 + offsets.start_seconds,
                end - 0.11 + offsets.end_seconds,
                1.0,
            )
            for word, start, end in spoken_in[len(waveform)]
        ]

    spoken_in = {
        soundfile.info(path).frames: find_words(path)
        for path in digits_corpus.rglob("*.flac")
    }
    monkeypatch.setattr(word_times, "stream", stream)
    line = ["--model", str(model_folder), "--data", str(digits_corpus)]
    out = tmp_path / "section.md"
    word_times.main([*line, "--out", str(out)])
    words = sum(len(w) for path, w in words_in(digits_corpus / "test"))
    row = f"| test | {words} | {words} | 60 | 60 | 110 | 110 |"
    assert row in out.read_text()
    assert "is missed" in out.read_text()
    word_times.main([*line, "--split", "test", "--estimate", "train"])
    shown = capsys.readouterr().out
    assert f"| test | {words} | {words} | 0 | 0 | 0 | 0 |" in shown
    assert "is met" in shown
    assert '{"start_seconds": -0.06, "end_seconds": 0.11}' in shown


def words_in(folder):
    return [(path, find_words(path)) for path in folder.rglob("*.flac")]


def test_the_benchmark_says_what_is_missing(
    model_folder, digits_corpus, tmp_path
):
    """A model without a word that is right, and a corpus without times."""
    line = ["--model", str(model_folder), "--data", str(digits_corpus)]
    with pytest.raises(ValueError, match="no word of 'test' is right"):
        word_times.main(line)
    with pytest.raises(ValueError, match=r"--estimate must .*got 'valid'"):
        word_times.main([*line, "--estimate", "valid"])
    copy = shutil.copytree(digits_corpus, tmp_path / "copy")
    for path in copy.rglob("*.ctm"):
        path.unlink()
    with pytest.raises(ValueError, match=r"--data must .*got .* has no CTM"):
        word_times.main([*line[:3], str(copy)])
