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


@pytest.fixture(scope="module", params=["witten_bell", "kneser_ney"])
def smoothing(request):
    """How unseen words get their probabilities."""
    return request.param


@pytest.fixture(scope="module", params=[2, 3, 4])
def levels(request, smoothing):
    """A model of some order."""
    from ngrams.estimation import estimate_ngrams

    return estimate_ngrams(SENTENCES, request.param, smoothing)


@pytest.fixture(scope="module", params=[0.0, 0.01, 0.02])
def model(request, levels, tmp_path_factory):
    """A file, pruned or not, and its n-grams."""
    from ngrams.arpa import write_arpa
    from ngrams.pruning import prune_ngrams

    path = tmp_path_factory.mktemp("arpa") / "a.arpa"
    write_arpa(path, prune_ngrams(levels, request.param))
    return path, read_arpa(path)


def test_probabilities_sum_to_one(model):
    """After every history, seen or not."""
    _, ngrams = model
    words = ["A", "B", "C", "</s>", "<unk>"]
    for history in itertools.product(["<s>", "A", "B", "C"], repeat=3):
        total = sum(10 ** log_probability(ngrams, history, w) for w in words)
        assert total == pytest.approx(1.0, abs=1e-5)


def test_counts(levels, smoothing):
    """By hand. A is 6 of 18 words and ends, which are of 4 kinds, and of 5
    with the unknown word. It began 2 of 5 sentences, 3 kinds of word did.
    It stood after 4 of the 11 pairs' first words, and the discounts of counts
    of 1, 2 and more are 0.5, 1 and 1.5."""
    if smoothing == "witten_bell":
        alone = 18 / 22 * 6 / 18 + 4 / 22 / 5
        expected = 5 / 8 * 2 / 5 + 3 / 8 * alone
    else:
        alone = (4 - 1.5) / 11 + (1 + 1 + 1.5 + 1.5) / 11 / 5
        expected = (2 - 1) / 5 + (0.5 + 1 + 1) / 5 * alone
    given, _ = levels[1]["<s>", "A"]
    assert given == pytest.approx(expected)


def test_discounts():
    """By hand: 8, 4, 2 and 2 pairs occur 1, 2, 3 and 4 times, so the discounts
    are 0.5, 1.25 and 1. Too few words do, which leaves the usual ones."""
    from ngrams.estimation import estimate_ngrams

    sentences = [*"ABCD", *"EEFF", *"GGG", *"HHHH"]
    unigrams, bigrams = estimate_ngrams(sentences, 2, "kneser_ney")
    alone = (1 - 0.5) / 16 + (8 * 0.5 + 1.5) / 16 / 10
    assert unigrams["H",][0] == pytest.approx(alone)
    left = (4 * 0.5 + 2 * 1.25 + 1 + 1) / 15
    assert bigrams["<s>", "H"][0] == pytest.approx((4 - 1) / 15 + left * alone)
    assert unigrams["<s>",][1] == pytest.approx(left)


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


def test_no_pruning(levels):
    """A threshold of 0 changes nothing."""
    from ngrams.pruning import prune_ngrams

    assert prune_ngrams(levels, 0.0) == levels


def test_what_stays(levels):
    """All words; for each n-gram its probability, its beginning and its end. A
    higher threshold leaves out more, and the highest all but words."""
    from ngrams.pruning import prune_ngrams

    before = levels
    for threshold in (0.005, 0.01, 0.02, 0.04, 1.0):
        pruned = prune_ngrams(levels, threshold)
        assert pruned[0].keys() == levels[0].keys()
        for shorter, longer in itertools.pairwise(pruned):
            assert {ngram[:-1] for ngram in longer} <= shorter.keys()
            assert {ngram[1:] for ngram in longer} <= shorter.keys()
        for level, lesser, full in zip(pruned, before, levels, strict=True):
            assert level.keys() <= lesser.keys()
            assert all(level[each][0] == full[each][0] for each in level)
        before = pruned
    assert not any(before[1:])


def test_what_is_pruned(smoothing):
    """Pairs without which the perplexity grows by less than the threshold,
    computed from all words after all histories."""
    from ngrams.estimation import estimate_ngrams
    from ngrams.pruning import prune_ngrams

    unigrams, bigrams = estimate_ngrams(SENTENCES, 2, smoothing)
    single = {word: p for (word,), (p, _) in unigrams.items() if p}

    def after(history, pairs):
        """Distribution of the next word, with some pairs alone."""
        seen = {w: p for (h, w), (p, _) in pairs.items() if h == history}
        rest = sum(p for word, p in single.items() if word not in seen)
        left = (1 - sum(seen.values())) / rest
        return {word: seen.get(word, left * p) for word, p in single.items()}

    growths = {}
    for pair in bigrams:
        history = pair[0]
        full = after(history, bigrams)
        others = after(history, {p: bigrams[p] for p in bigrams if p != pair})
        divergence = sum(p * math.log(p / others[w]) for w, p in full.items())
        frequency = single["</s>" if history == "<s>" else history]
        growths[pair] = math.exp(frequency * divergence) - 1
    for threshold in growths.values():
        _, kept = prune_ngrams([unigrams, bigrams], threshold * 1.000001)
        expected = {pair for pair in growths if growths[pair] > threshold}
        assert kept.keys() == expected


@pytest.mark.parametrize("threshold", [-1e-9, math.nan, math.inf])
def test_bad_thresholds(threshold):
    """Are named."""
    from ngrams.pruning import prune_ngrams

    with pytest.raises(ValueError, match=f"prune must be .*got {threshold}"):
        prune_ngrams([{}, {}], threshold)


def add_chapter(data, split, speaker, transcripts):
    """Adds a file of transcripts to a folder in LibriSpeech layout."""
    chapter = data / split / speaker / "1"
    chapter.mkdir(parents=True)
    name = f"{speaker}-1"
    lines = [f"{name}-{i:04} {words}\n" for i, words in enumerate(transcripts)]
    (chapter / f"{name}.trans.txt").write_text("".join(lines), encoding="utf-8")


def words_of(path):
    """The words of a file, without the three that are marks."""
    words = {ngram[0] for ngram in read_arpa(path) if len(ngram) == 1}
    return words - {"<s>", "</s>", "<unk>"}


def test_command(tmp_path, capsys):
    """From a folder of transcripts, or from made up text."""
    from ngram import main

    add_chapter(tmp_path / "data", "train", "7", SENTENCES)
    out = tmp_path / "a.arpa"
    main([str(out), "--data", str(tmp_path / "data"), "--order", "2"])
    assert "6, " in capsys.readouterr().out
    assert ("A", "B") in read_arpa(out)
    made_up = [str(out), "--text", "sentences", "--lines", "20", "--seed", "3"]
    main(made_up)
    ngrams = read_arpa(out)
    assert len(ngrams) > 100
    main([*made_up, "--smoothing", "kneser_ney"])
    assert read_arpa(out).keys() == ngrams.keys()
    assert read_arpa(out) != ngrams
    main([*made_up, "--prune", "1e-3"])
    assert 0 < len(ngrams) - len(read_arpa(out)) < len(ngrams)


def test_transcripts_of_another_form(tmp_path):
    """Words are those that a model writes: composed, with straight
    apostrophes, and in capitals where that is wanted."""
    from ngram import main

    add_chapter(tmp_path / "data", "train", "7", ["don’t e\u0301te\u0301"])
    out, data = str(tmp_path / "a.arpa"), str(tmp_path / "data")
    main([out, "--data", data])
    assert ("don't", "été") in read_arpa(tmp_path / "a.arpa")
    main([out, "--data", data, "--transcript_case", "upper"])
    assert ("DON'T", "ÉTÉ") in read_arpa(tmp_path / "a.arpa")


def test_many_sources(tmp_path):
    """All are counted: folders, each with its splits or all with the same,
    text files, and made up text."""
    from ngram import main

    one, two = tmp_path / "one", tmp_path / "two"
    add_chapter(one, "x", "7", ["A"])
    add_chapter(one, "y", "8", ["B"])
    add_chapter(two, "x", "9", ["C"])
    texts = [tmp_path / "d.txt", tmp_path / "e.txt"]
    texts[0].write_text("d\n")
    texts[1].write_text("e\n")
    out = tmp_path / "a.arpa"
    arguments = [str(out), "--data", str(one), "--data", str(two), "--splits"]
    main([*arguments, "x", "y", "--splits", "x"])
    assert words_of(out) == set("ABC")
    main([*arguments, "x", "--text_files", *map(str, texts)])
    assert words_of(out) == set("ACDE")
    main([*arguments, "x", "--text", "digits", "--lines", "50"])
    assert words_of(out) > {"A", "C", "SEVEN"}


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("Don’t — she'd said 'no'!", "DON'T SHE'D SAID NO"),
        (
            "The felons' twenty-one cells (all).",
            "THE FELONS TWENTY ONE CELLS ALL",
        ),
        ("Mr. Müller, of the U.S. Army", "MR MULLER OF THE U S ARMY"),
        (
            "In 1865 the 2nd cost $3.50: no_one paid...it",
            "IN THE COST NO ONE PAID IT",
        ),
        ("mu μ, ﬁre and 第", "MU FIRE AND"),
        ("1, 2, 3.", ""),
    ],
)
def test_text_is_spelled_as_transcripts_are(text, spelled):
    """Capitals, and apostrophes within words; no word with a digit or with a
    letter of another alphabet."""
    from ngrams.sources import spell

    assert spell(text) == spelled


def test_sentences_of_speakers_are_left_out(tmp_path):
    """Theirs, and the same or nearly the same from others and from files."""
    from ngram import main

    line = "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT"
    data, text = tmp_path / "data", tmp_path / "text.txt"
    add_chapter(data, "x", "7", ["LEFT", "NO ONE'S", line + " OUT"])
    add_chapter(data, "y", "7", ["ALSO LEFT"])
    add_chapter(data, "x", "8", ["KEPT", "NO ONE'S", "NO ONE'S WORD"])
    part = line.removesuffix(" EIGHT").lower()
    text.write_text(
        f"Left.\nWhat’s left?\nZero, {line.lower()} -- nine.\n"
        f"Zero, {part}.\n\nNo one’s.\n",
        encoding="utf-8",
    )
    out = tmp_path / "a.arpa"
    arguments = [str(out), "--data", str(data), "--splits", "x", "y"]
    arguments += ["--text_files", str(text)]
    main([*arguments, "--without_speakers", "7"])
    kept = f"KEPT NO ONE'S WORD WHAT'S LEFT ZERO {part.upper()}"
    assert words_of(out) == set(kept.split())
    begun = {
        ngram[1] for ngram in read_arpa(out) if ngram[0] == "<s>" and ngram[1:]
    }
    assert begun == {"KEPT", "NO", "WHAT'S", "ZERO"}
    main(arguments)
    assert {"ALSO", "OUT", "NINE"} < words_of(out)


def test_unknown_smoothing():
    """Is named."""
    from ngrams.estimation import estimate_ngrams

    message = "smoothing must be witten_bell or kneser_ney, got 'none'"
    with pytest.raises(ValueError, match=message):
        estimate_ngrams(SENTENCES, 2, "none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], r"splits must .*got 'train'"),
        (["--text", "digits", "--order", "1"], r"order must .*got 1"),
        (
            ["--text", "digits", "--lines", "0"],
            r"transcripts must .*got none",
        ),
        ([], "one of the arguments --data --text_files --text is required"),
        (
            ["--data", "a", "--splits", "b", "--splits", "c"],
            "splits must be given once, or once for each --data, got 2 for 1",
        ),
        (["--text_files", "nowhere"], "No such file .*nowhere"),
        (
            ["--text", "digits", "--without_speakers", "8", "7"],
            "without_speakers must be speakers of the splits, got 7, 8",
        ),
    ],
)
def test_bad_commands(tmp_path, capsys, arguments, message):
    """One line each."""
    from ngram import main

    with pytest.raises(SystemExit):
        main([str(tmp_path / "a.arpa"), *arguments])
    assert re.search(message, capsys.readouterr().err)
