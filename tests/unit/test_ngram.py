"""N-grams of transcripts: probabilities, and the file that holds them."""

import itertools
import math
import re

import pytest

SENTENCES = ["A B", "B A A", "C", "A B A B", "C C A"]


def read_arpa(path):
    """N-grams of a file: (log-probability, back-off weight)."""
    ngrams = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if "\t" in line:
            logarithm, words, *back_off = line.split("\t")
            left = float(back_off[0]) if back_off else 0.0
            ngrams[tuple(words.split())] = float(logarithm), left
    return ngrams


def log_probability(ngrams, history, word):
    """Of a word after a history, as ARPA defines it."""
    found = ngrams.get((*history, word))
    if found is not None:
        return found[0]
    _, left = ngrams.get(history, (0.0, 0.0))
    return left + log_probability(ngrams, history[1:], word)


@pytest.fixture(scope="module", params=[2, 3, 4])
def model(request, tmp_path_factory):
    """A file of some order, and its n-grams."""
    from ngram import estimate_ngrams, write_arpa

    path = tmp_path_factory.mktemp("arpa") / "a.arpa"
    write_arpa(path, estimate_ngrams(SENTENCES, request.param))
    return path, read_arpa(path)


def test_probabilities_sum_to_one(model):
    """After every history, seen or not."""
    _, ngrams = model
    words = ["A", "B", "C", "</s>", "<unk>"]
    for history in itertools.product(["<s>", "A", "B", "C"], repeat=3):
        total = sum(10 ** log_probability(ngrams, history, w) for w in words)
        assert total == pytest.approx(1.0, abs=1e-5)


def test_counts(model):
    """By hand: A is 6 of 18 words and ends, which are of 4 kinds, and of 5
    with the unknown word. It began 2 of 5 sentences, 3 kinds of word did."""
    _, ngrams = model
    alone = 18 / 22 * 6 / 18 + 4 / 22 / 5
    expected = 5 / 8 * 2 / 5 + 3 / 8 * alone
    given = 10 ** log_probability(ngrams, ("<s>",), "A")
    assert given == pytest.approx(expected, abs=1e-6)


def test_kenlm_reads_it(model):
    """And gives what the file says."""
    kenlm = pytest.importorskip("kenlm")
    path, ngrams = model
    config = kenlm.Config()
    config.show_progress = False
    scorer = kenlm.Model(str(path), config)
    longest = max(map(len, ngrams)) - 1
    for words in itertools.product("ABCX", repeat=3):
        expected, history = 0.0, ("<s>",)
        for word in (*words, "</s>"):
            word = "<unk>" if word == "X" else word
            expected += log_probability(ngrams, history[-longest:], word)
            history = (*history, word)
        given = scorer.score(" ".join(words))
        assert math.isclose(given, expected, abs_tol=1e-4)


def test_command(tmp_path, capsys):
    """From a folder of transcripts, or from made up text."""
    from ngram import main

    chapter = tmp_path / "data" / "train" / "7" / "1"
    chapter.mkdir(parents=True)
    lines = [f"7-1-000{i} {text}\n" for i, text in enumerate(SENTENCES)]
    (chapter / "7-1.trans.txt").write_text("".join(lines))
    out = tmp_path / "a.arpa"
    main([str(out), "--data", str(tmp_path / "data"), "--order", "2"])
    assert "6, " in capsys.readouterr().out
    assert ("A", "B") in read_arpa(out)
    main([str(out), "--text", "sentences", "--lines", "20", "--seed", "3"])
    assert len(read_arpa(out)) > 100


def test_transcripts_of_another_form(tmp_path):
    """Words are those that a model writes: composed, with straight
    apostrophes, and in capitals where that is wanted."""
    from ngram import main

    chapter = tmp_path / "data" / "train" / "7" / "1"
    chapter.mkdir(parents=True)
    path = chapter / "7-1.trans.txt"
    path.write_text("7-1-0000 don’t e\u0301te\u0301\n", encoding="utf-8")
    out, data = str(tmp_path / "a.arpa"), str(tmp_path / "data")
    main([out, "--data", data])
    assert ("don't", "été") in read_arpa(tmp_path / "a.arpa")
    main([out, "--data", data, "--transcript_case", "upper"])
    assert ("DON'T", "ÉTÉ") in read_arpa(tmp_path / "a.arpa")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], r"splits must .*got 'train'"),
        (["--text", "digits", "--order", "1"], r"order must .*got 1"),
        (
            ["--text", "digits", "--lines", "0"],
            r"transcripts must .*got none",
        ),
        ([], "one of the arguments --data --text is required"),
    ],
)
def test_bad_commands(tmp_path, capsys, arguments, message):
    """One line each."""
    from ngram import main

    with pytest.raises(SystemExit):
        main([str(tmp_path / "a.arpa"), *arguments])
    assert re.search(message, capsys.readouterr().err)
