"""Speech synthesis: layout, sound, texts, speakers, repeatability."""

import ctypes
import doctest
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader")

ROOT = Path(__file__).parents[2]

SPLITS = {"train": (2, 12), "valid": (1, 2), "test": (1, 4)}


@pytest.fixture(scope="module")
def module():
    import synthesize

    return synthesize


def make(module, out, splits=None, **options):
    options = {"seed": 1, "progress": False, **options}
    return module.synthesize_corpus(out, splits or SPLITS, **options)


def transcripts_of(folder):
    lines = [
        line.split(maxsplit=1)
        for path in sorted(folder.rglob("*.trans.txt"))
        for line in path.read_text().splitlines()
    ]
    assert len(lines) == len(dict(lines))
    return dict(lines)


def words_of(path):
    """The words of a CTM file by utterance: each with start and end."""
    words = {}
    for line in path.read_text().splitlines():
        name, channel, start, duration, word = line.split()
        assert channel == "1"
        end = float(start) + float(duration)
        words.setdefault(name, []).append((word, float(start), end))
    return words


def contents_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def level(samples):
    return 10 * np.log10(np.mean(samples**2) + 1e-20)


def test_layout(digits_corpus):
    """The corpus is a LibriSpeech tree of 16 kHz mono FLAC files."""
    from synthesis.text import DIGITS

    for split, (voices, utterances) in SPLITS.items():
        transcripts = transcripts_of(digits_corpus / split)
        paths = sorted((digits_corpus / split).glob("*/*/*.flac"))
        assert [path.stem for path in paths] == sorted(transcripts)
        assert len(paths) == utterances
        assert len({path.parts[-3] for path in paths}) == voices
        for path in paths:
            assert path.stem.startswith(f"{path.parts[-3]}-{path.parts[-2]}-")
            info = soundfile.info(path)
            assert (info.samplerate, info.channels) == (16000, 1)
            assert (info.format, info.subtype) == ("FLAC", "PCM_16")
            words = transcripts[path.stem].split()
            assert 3 <= len(words) <= 8
            assert set(words) <= {digit.upper() for digit in DIGITS}
    assert len((digits_corpus / "SPEAKERS.TXT").read_text().split("\n")) == 6


def test_sound(digits_corpus):
    """Speech is loud where the word times say, and between low-level noise
    that is never digital silence; nothing clips."""
    for path in digits_corpus.rglob("*.ctm"):
        for name, words in words_of(path).items():
            samples, rate = soundfile.read(path.parent / f"{name}.flac")
            _, first, _ = words[0]
            assert 0.1 <= first <= 0.51
            end = round(words[-1][2] * rate)
            assert 0.1 <= (len(samples) - end) / rate <= 0.52
            assert 0.1 < np.abs(samples).max() <= 0.951
            before = samples[: round(first * rate) - 80]
            after = samples[end + 400 :]
            for silence in (before, after):
                assert np.count_nonzero(silence) > 0.8 * len(silence)
                assert -80 < level(silence) < -45
            previous = 0.0
            for _, start, end in words:
                assert previous - 1e-4 <= start < end
                previous = end
                span = slice(round(start * rate), round(end * rate))
                assert level(samples[span]) > level(before) + 15


def test_word_times_name_the_words(digits_corpus):
    """Beside each transcript are the times of its words, utterances in the
    same order."""
    for path in digits_corpus.rglob("*.trans.txt"):
        name = path.name.removesuffix(".trans.txt")
        words = words_of(path.with_name(f"{name}.ctm"))
        lines = [
            " ".join([name, *(word for word, _, _ in spoken)])
            for name, spoken in words.items()
        ]
        assert lines == path.read_text().splitlines()


def test_the_sound_of_a_seed_stays(digits_corpus):
    """Corpora can be made again: this is what seed 1 has always given, to
    within the rounding of other processors."""
    (path,) = digits_corpus.glob("test/1004/1/1004-1-0000.flac")
    samples, _ = soundfile.read(path, dtype="int16")
    assert len(samples) == 20925
    expected = [1, -330, 129, 323, -45]
    assert np.abs(samples[4000::4000] - np.array(expected)).max() <= 2


def test_repeatable_in_any_order(module, digits_corpus, tmp_path, monkeypatch):
    """The same settings give the same bytes, whatever was spoken before."""
    forward = module._run
    monkeypatch.setattr(
        module, "_run", lambda work, workers: forward(work[::-1], workers)
    )
    make(module, tmp_path / "again")
    assert contents_of(tmp_path / "again") == contents_of(digits_corpus)


@pytest.mark.slow
def test_repeatable_with_workers(module, digits_corpus, tmp_path):
    """Two worker processes write what one process writes."""
    make(module, tmp_path / "again", workers=2)
    assert contents_of(tmp_path / "again") == contents_of(digits_corpus)


def test_seeds_matter(module, digits_corpus, tmp_path):
    """Another seed gives other speech; text_seed and voice_seed hold the
    texts and the voices."""
    sizes = {"train": (2, 2), "test": (1, 1)}
    make(module, tmp_path / "a", sizes)
    make(module, tmp_path / "b", sizes, seed=2)
    make(module, tmp_path / "c", sizes, seed=2, text_seed=1, voice_seed=1)
    texts = [transcripts_of(tmp_path / name) for name in "abc"]
    assert texts[0] == texts[2] != texts[1]
    speakers = [
        re.findall(
            r"\S+\+\S+ rate.*", (tmp_path / name / "SPEAKERS.TXT").read_text()
        )
        for name in "abc"
    ]
    assert speakers[0] == speakers[2] != speakers[1]
    audio = [
        sorted(path.read_bytes() for path in (tmp_path / name).rglob("*.flac"))
        for name in "abc"
    ]
    assert not {*audio[0]} & {*audio[2]}


def test_continues(module, digits_corpus, tmp_path):
    """A repeated run makes what is missing and leaves the rest alone."""
    out = tmp_path / "corpus"
    make(module, out)
    lost = sorted(out.glob("train/*/1/*.flac"))[0]
    unfinished = next(iter(out.glob("test/*/1/*.trans.txt")))
    kept = next(iter(out.glob("valid/*/1/*.flac")))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    unfinished.unlink()
    (unfinished.parent / ".x.flac.part").write_bytes(b"half")
    report = make(module, out)
    assert {name: part["kept"] for name, part in report.items()} == {
        "train": 6,
        "valid": 2,
        "test": 0,
    }
    assert kept.stat().st_mtime_ns == before
    (unfinished.parent / ".x.flac.part").unlink()
    assert contents_of(out) == contents_of(digits_corpus)


def test_refuses_other_settings(module, digits_corpus):
    """A folder with a corpus of other settings is refused, saying which."""
    before = contents_of(digits_corpus)
    with pytest.raises(ValueError, match=r"other settings \(seed 1 there, 2"):
        make(module, digits_corpus, seed=2, text_seed=1, voice_seed=1)
    assert contents_of(digits_corpus) == before


def test_refuses_foreign_folder(module, tmp_path):
    """A folder with data of someone else is left alone."""
    (tmp_path / "train").mkdir()
    with pytest.raises(FileExistsError, match=r"train but no synthesis\.json"):
        make(module, tmp_path)


def test_noise(module, tmp_path):
    """Added noise stands at the asked ratio to the speech."""
    options = {"splits": {"test": (1, 2)}, "silence": (0.5, 0.5)}
    make(module, tmp_path / "clean", **options)
    make(module, tmp_path / "noisy", **options, noise=(10, 10))
    for clean, noisy in zip(
        sorted(tmp_path.glob("clean/**/*.flac")),
        sorted(tmp_path.glob("noisy/**/*.flac")),
        strict=True,
    ):
        speech = soundfile.read(clean)[0]
        noise = soundfile.read(noisy)[0][:8000]
        assert level(speech[:8000]) < -55
        spoken = speech[8000:-8000]
        assert level(spoken) - level(noise) == pytest.approx(10, abs=1.0)


def test_tempo(module, tmp_path):
    """The same words in less time."""
    seconds = [
        make(module, tmp_path / str(tempo), {"a": (1, 2)}, tempo=tempo)["a"][
            "seconds"
        ]
        for tempo in (1.0, 1.6)
    ]
    assert seconds[1] < 0.85 * seconds[0]
    assert transcripts_of(tmp_path / "1.0") == transcripts_of(tmp_path / "1.6")


def test_speakers():
    """Splits share no family of voices; test voices stay the same when the
    training set grows; no two speakers are the same."""
    from synthesis.speakers import FAMILIES, choose_speakers

    family = {name: index for index, f in enumerate(FAMILIES) for name in f}
    small = choose_speakers({"train": 40, "valid": 4, "test": 4}, seed=3)
    large = choose_speakers({"train": 300, "valid": 4, "test": 4}, seed=3)

    def voices(speakers):
        return [(s.language, s.variant, s.rate, s.pitch) for s in speakers]

    assert voices(small["test"]) == voices(large["test"])
    assert voices(small["valid"]) == voices(large["valid"])
    for speakers in (small, large):
        used = {
            split: {family[speaker.variant] for speaker in members}
            for split, members in speakers.items()
        }
        assert not used["train"] & used["test"]
        assert not used["train"] & used["valid"]
        assert not used["valid"] & used["test"]
        everyone = [s for members in speakers.values() for s in members]
        assert len({s.identifier for s in everyone}) == len(everyone)
        accents = Counter((s.language, s.variant) for s in everyone)
        assert max(accents.values()) == 1
    with pytest.raises(ValueError, match=r"at most \d+"):
        choose_speakers({"train": 1000}, seed=1)


def test_all_voices_exist():
    """espeak-ng has every variant and accent; they sound different."""
    from synthesis.speakers import FAMILIES, LANGUAGES
    from synthesis.voice import SpeechSynthesizer, available_variants

    variants = [name for family in FAMILIES for name in family]
    assert len(set(variants)) == len(variants) >= 60
    assert set(variants) <= available_variants()
    synthesizer = SpeechSynthesizer()
    text = "four of the boxes"
    heard = {
        synthesizer.say(text, "en-us", name).samples.tobytes()
        for name in variants
    }
    assert len(heard) == len(variants)
    heard = {
        synthesizer.say(text, name, "max").samples.tobytes()
        for name in LANGUAGES
    }
    assert len(heard) == len(LANGUAGES)
    with pytest.raises(ValueError, match="variant must be one of"):
        synthesizer.say("one", "en", "nobody")
    with pytest.raises(ValueError, match="language must be one"):
        synthesizer.say("one", "xx", "max")
    with pytest.raises(ValueError, match="text must hold a word"):
        synthesizer.say(" . ", "en", "max")


def test_merged_words_get_times():
    """Words that espeak-ng speaks as one ("of the") still get their own
    times, in order."""
    from synthesis.voice import SpeechSynthesizer

    text = "As soon as she had been out of the inn, it was all of a sudden."
    speech = SpeechSynthesizer().say(text, "en-us", "m3")
    assert [word for word, _, _ in speech.words] == re.findall(r"\w+", text)
    edges = [edge for _, *span in speech.words for edge in span]
    assert edges == sorted(edges)
    assert all(start < end for _, start, end in speech.words)
    assert edges[-1] <= len(speech.samples)


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_interrupt():
    """Ctrl-C while espeak-ng speaks is not lost, and spoils nothing after."""
    from synthesis.voice import SpeechSynthesizer

    synthesizer = SpeechSynthesizer()
    before = synthesizer.say("one two three", "en-us", "m3", seed=1)
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        for _ in range(1000):
            synthesizer.say("one two three four five six", "en-us", "f1")
    after = synthesizer.say("one two three", "en-us", "m3", seed=1)
    assert np.array_equal(before.samples, after.samples)


def test_library_in_use():
    """Where something else holds espeak-ng, its state could not be reset:
    an error says so."""
    import espeakng_loader

    from synthesis import voice

    if not hasattr(os, "RTLD_NOLOAD"):
        pytest.skip("this system cannot tell")
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    try:
        with pytest.raises(RuntimeError, match="in use already"):
            voice.SpeechSynthesizer()
    finally:
        voice._close(library)
    voice.SpeechSynthesizer().say("one", "en-us", "m3")


def test_texts():
    """No transcript occurs twice, in no split; lengths are as asked."""
    from synthesis.text import make_texts, transcript_of

    texts = make_texts("digits", {"a": 300, "b": 50}, 1, 4, 5)
    transcripts = [transcript_of(t) for split in texts.values() for t in split]
    assert len(set(transcripts)) == 350
    assert {len(t.split()) for t in transcripts} == {4, 5}
    assert texts["b"] == make_texts("digits", {"a": 900, "b": 50}, 1, 4, 5)["b"]
    few = make_texts("digits", {"a": 30}, 1, 1, 1)
    assert len(few["a"]) == 30


@pytest.fixture(scope="module")
def sentences():
    from synthesis.grammar import make_sentence

    generator = np.random.default_rng(1)
    return [make_sentence(generator) for _ in range(15000)]


def test_vocabulary(sentences):
    """The grammar reaches at least 1,000 words, and hardly repeats itself."""
    from synthesis.text import transcript_of

    transcripts = [transcript_of(sentence) for sentence in sentences]
    counts = Counter(word for t in transcripts for word in t.split())
    assert len(counts) >= 1000
    assert sum(count >= 5 for count in counts.values()) >= 1000
    assert set("".join(counts)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
    assert len(set(transcripts)) > 0.99 * len(transcripts)
    assert {len(t.split()) for t in transcripts} == set(range(4, 17))


@pytest.mark.parametrize(
    "wrong",
    [
        r"\ba (?!one\b|uni|use|euro)[aeiou]",
        r"\ban (?!hour|honest)[^aeiou]",
        r"\b(he|she|nobody|everyone|somebody) (are|were|have|do|am)\b",
        r"\b(we|you|they|these \w+|those \w+) (is|was|has|does|am)\b",
        r"\bI (is|are|has|does|were)\b",
        r"\b(these|those|many|several|some) (\w+ )?"
        r"(child|man|wolf|city|box|apple)\b",
        r"\b(this|that|a|an) (children|men|wolves|cities|boxes)\b",
        r"\b(nobody|no one) (\w+ )?not\b",
        r"\b(eated|goed|runned|childs|mans|stoped|prefered|begining)\b",
        r"  | [.,?!]|^[a-z]|[^.?!]$",
    ],
)
def test_agreement(sentences, wrong):
    """No sentence has a mistake of this kind."""
    found = [sentence for sentence in sentences if re.search(wrong, sentence)]
    assert not found, found[:5]


def test_sentences_corpus(module, tmp_path):
    """Sentences are spoken as well as digits."""
    report = make(module, tmp_path, {"test": (2, 4)}, text="sentences")
    assert report["test"]["utterances"] == 4
    assert 4 < report["test"]["seconds"] < 40
    assert len(set(transcripts_of(tmp_path).values())) == 4


def test_few_words():
    """Short lists leave some 1,000 words; runs are as long as asked, and are
    out of the sentences that come without the cut."""
    from synthesis.text import make_texts, transcript_of

    texts = make_texts("sentences", {"a": 5000}, 1, longest_list=8)["a"]
    words = {word for text in texts for word in transcript_of(text).split()}
    assert 900 < len(words) < 1100
    runs = make_texts("sentences", {"a": 300}, 1, longest_list=8, words=(1, 5))[
        "a"
    ]
    lengths = {len(transcript_of(run).split()) for run in runs}
    assert lengths == {1, 2, 3, 4, 5}


def test_numbers():
    """Some eighty words; numbers are those of their digits."""
    from synthesis.numbers import cardinal
    from synthesis.text import make_texts, transcript_of

    texts = make_texts("numbers", {"a": 3000}, 1)["a"]
    words = {word for text in texts for word in transcript_of(text).split()}
    assert 70 < len(words) < 90
    assert len({cardinal(number) for number in range(1, 10000)}) == 9999
    assert cardinal(12) == "twelve"
    assert cardinal(9040) == "nine thousand and forty"


def test_missing_library(module, tmp_path, monkeypatch):
    """Without espeakng-loader one sentence says how to get it."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(
        ImportError, match=r'pip install "speechbrain-llsa\[synthesis\]"'
    ):
        make(module, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"splits": {}}, "at least one split"),
        ({"splits": {"a/b": (1, 1)}}, "fit for folders"),
        ({"splits": {"a": (3, 2)}}, "1 <= voices <= utterances"),
        ({"splits": {"a": (0, 2)}}, "1 <= voices <= utterances"),
        ({"text": "songs"}, "text must be one of"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"digits": (5, 4)}, "1 <= fewest <= most"),
        ({"longest_list": 1}, "longest_list must be at least 2"),
        ({"words": (0, 4)}, "1 <= fewest <= most"),
        ({"silence": (0.5, 0.1)}, "shortest <= longest"),
        ({"noise": (20, 10)}, "lowest <= highest"),
        ({"tempo": 3.0}, "tempo must be from 0.6 to 2"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_bad_arguments(module, tmp_path, wrong, message):
    """Arguments out of range are named, and nothing is written."""
    with pytest.raises(ValueError, match=message):
        module.synthesize_corpus(
            tmp_path / "out", **{"splits": {"a": (1, 1)}, **wrong}
        )
    assert not list(tmp_path.iterdir())


def test_command_line(module, tmp_path, capsys):
    """The command line makes a corpus and answers mistakes in a sentence."""
    out = str(tmp_path / "out")
    module.main([out, "--split", "test:voices=1:utterances=2"])
    assert "test: 2 utterances, 0." in capsys.readouterr().out
    for arguments, message in (
        ([out, "--split", "test:2"], "must look like train:voices=60"),
        ([out, *["--split", "a:voices=1:utterances=1"] * 2], "twice"),
        ([out, "--split", "b:voices=1:utterances=2"], "other settings"),
    ):
        with pytest.raises(SystemExit):
            module.main(arguments)
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_script(tmp_path):
    """The script runs by itself from any folder, with worker processes."""
    subprocess.run(
        [
            sys.executable,
            ROOT / "recipes" / "Synthetic" / "synthesize.py",
            "out",
            "--workers",
            "2",
            "--split",
            "test:voices=2:utterances=4",
        ],
        cwd=tmp_path,
        check=True,
    )
    assert len(transcripts_of(tmp_path / "out" / "test")) == 4


@pytest.mark.parametrize(
    "name",
    [
        "synthesize",
        "synthesis.acoustics",
        "synthesis.grammar",
        "synthesis.numbers",
        "synthesis.speakers",
        "synthesis.text",
        "synthesis.voice",
    ],
)
def test_docstrings(request, name):
    """The examples in the docstrings hold."""
    from importlib import import_module

    result = doctest.testmod(
        import_module(name),
        extraglobs={"getfixture": request.getfixturevalue},
    )
    assert result.attempted > 0
    assert result.failed == 0
