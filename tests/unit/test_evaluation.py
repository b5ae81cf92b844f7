"""Evaluation: error rates and their intervals, delays, all of it on a tiny
model."""

import copy
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch

from speechbrain_llsa.evaluation.corpus import read_manifest
from speechbrain_llsa.evaluation.delays import PushOutput, appearance_times
from speechbrain_llsa.evaluation.error_rates import (
    ErrorRates,
    bootstrap_interval,
)
from speechbrain_llsa.evaluation.measure import evaluate, spread
from speechbrain_llsa.evaluation.utterance import SpokenWord, Utterance
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from tiny_model import make_model, make_signal, make_tokenizer

# ---- intervals


def test_equal_utterances_have_no_interval():
    """Where every utterance has the same rate, so has every resample."""
    errors, totals = np.full(30, 2), np.full(30, 8)
    assert bootstrap_interval(errors, totals) == (25.0, 25.0)


def test_the_interval_is_that_of_scipy():
    """The percentile bootstrap of someone else's program."""
    generator = np.random.default_rng(3)
    totals = generator.integers(1, 20, 60)
    errors = generator.binomial(totals, 0.2)
    theirs = scipy.stats.bootstrap(
        (errors, totals),
        lambda errors, totals, axis: errors.sum(axis) / totals.sum(axis),
        paired=True,
        n_resamples=20000,
        method="percentile",
    ).confidence_interval
    ours = bootstrap_interval(errors, totals, resamples=20000)
    assert ours == pytest.approx([100 * end for end in theirs], abs=0.3)


def test_intervals_hold_the_true_rate():
    """Of 300 simulated test sets, about 95 in 100 intervals hold the rate
    that made them."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        totals = generator.integers(3, 15, 80)
        rates = generator.beta(2, 8, 80)
        low, high = bootstrap_interval(
            generator.binomial(totals, rates), totals, resamples=300
        )
        held += low <= 20 <= high
    assert 0.90 <= held / 300 <= 0.985


def test_intervals_are_the_same_every_time():
    """And another seed gives another one."""
    errors, totals = np.arange(9), np.arange(9) + 10
    first = bootstrap_interval(errors, totals, seed=1)
    assert first == bootstrap_interval(errors, totals, seed=1)
    assert first != bootstrap_interval(errors, totals, seed=2)


def test_error_rates_by_hand():
    """A substitution, an insertion and a deletion in eight words; who is
    right, by index."""
    rates = ErrorRates()
    assert rates.append("a", "A X B D", "A B C") == [(0, 0), (2, 1)]
    assert rates.append("b", "A B", "A B") == [(0, 0), (1, 1)]
    assert rates.append("c", "A C", "A B C") == [(0, 0), (1, 2)]
    rate = rates.words_with_interval()
    assert (rate.errors, rate.total, rate.percent) == (3, 8, 37.5)
    assert 0 <= rate.low < rate.percent < rate.high
    assert rates.characters_with_interval().total == 5 + 3 + 5


# ---- delays


def test_words_appear_with_their_last_letter():
    """A word is committed with its last letter, not before it is whole; it is
    shown as soon as it stands there as it stays."""
    outputs = [
        PushOutput(1.0, "", "ON"),
        PushOutput(2.0, "O", "NE TO"),
        PushOutput(3.0, "NE", " TWO"),
        PushOutput(4.0, " TWO", " TH"),
        PushOutput(5.0, "", "REE"),
        PushOutput(6.0, " THR", "EE"),
        PushOutput(None, "EE", ""),
    ]
    committed, shown = appearance_times(outputs, ["ONE", "TWO", "THREE"])
    assert committed == [3.0, 4.0, None]
    assert shown == [2.0, 3.0, 6.0]


def test_a_word_that_grows_is_not_the_shorter_one():
    """SIX on the way to SIXTEEN does not count, nor does a SIX before it."""
    outputs = [
        PushOutput(1.0, "SIX", ""),
        PushOutput(2.0, " SIX", "TY"),
        PushOutput(3.0, "TEEN", ""),
        PushOutput(4.0, " SIX", ""),
    ]
    committed, shown = appearance_times(outputs, ["SIX", "SIXTEEN", "SIX"])
    assert committed == [1.0, 3.0, 4.0]
    assert shown == [1.0, 3.0, 4.0]


def test_appearance_times_are_those_of_every_prefix():
    """Random texts in random pieces, against counting words of every prefix
    from scratch."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        words = ["AB"[: generator.integers(1, 3)] for _ in range(6)]
        text, outputs, at = " ".join(words), [], 0
        while at < len(text):
            step = int(generator.integers(0, 4))
            ahead = int(generator.integers(0, 5))
            outputs.append(
                PushOutput(
                    float(len(outputs)),
                    text[at : at + step],
                    text[at + step : at + step + ahead],
                )
            )
            at += step
        committed, shown = appearance_times(outputs, words)
        so_far = ""
        expected = [None] * 6, [None] * 6
        for each in outputs:
            so_far += each.committed
            for moments, now in (
                (expected[0], so_far),
                (expected[1], so_far + each.provisional),
            ):
                for index in range(6):
                    whole = now.split()[: index + 1] == words[: index + 1]
                    if whole and moments[index] is None:
                        moments[index] = each.seconds
        assert committed == expected[0]
        assert shown == [
            one if other is None else min(one, other)
            for one, other in zip(expected[0], expected[1], strict=True)
        ]


# ---- a whole evaluation


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny models, one that streams and one that cannot."""
    place = tmp_path_factory.mktemp("models")
    several = make_model(hop=[2, 4], look_ahead=[4, 0])
    models = {"several": several}
    models |= {name: make_model(name) for name in ("llsa", "aa", "maa")}
    for name, model in models.items():
        folder = write_streaming_folder(place / name, model, make_tokenizer())
        models[name] = StreamingASR.from_hparams(folder)
    return models


@pytest.fixture(scope="module")
def utterances(models):
    """What the model itself says offline, but for the first utterance, with
    words that end at half a second."""
    made = []
    for index in range(3):
        signal = make_signal(16000 + 1000 * index, seed=index)
        (text,) = models["llsa"].transcribe_batch(signal[None])
        if index == 0:
            text += " MORE"
        words = tuple(SpokenWord(word, 0.2, 0.5) for word in text.split())
        made.append(
            Utterance(str(index), text, signal=signal.numpy(), words=words)
        )
    return made


@pytest.fixture(scope="module")
def found(models, utterances):
    """The evaluation of the model that streams."""
    return evaluate(models["llsa"], utterances, timing_runs=2)


def test_evaluation(models, utterances, found):
    """Error rates by construction, no text that differs, delays by hand."""
    outputs = sum(len(each.transcript.split()) for each in utterances)
    for each in (found.offline, found.streamed):
        assert (each.wer.errors, each.wer.total) == (1, outputs)
        assert each.cer.errors == len(" MORE")
        assert each.real_time_factor.best > 0
        assert each.peak_memory_bytes > 1 << 20
    assert found.different_texts == 0
    assert (found.attention, found.hop, found.look_ahead) == ("llsa", 2, 4)
    assert found.look_ahead_seconds == 0.08
    assert found.utterances == 3
    assert found.audio_seconds == (3 * 16000 + 3000) / 16000
    assert found.streamed.real_time_factor.push_seconds == 0.04
    delays = _delays_by_hand(models["llsa"], utterances)
    assert (
        found.emission_delay.words + found.emission_delay.at_end == outputs - 1
    )
    assert found.emission_delay.words == len(delays)
    assert found.emission_delay.median_seconds == pytest.approx(
        np.median(delays)
    )
    assert found.display_delay.words >= found.emission_delay.words


def _delays_by_hand(asr, utterances):
    """Of each word, from prefixes of the text after pushes of 20 ms."""
    delays = []
    for utterance in utterances:
        session, words = asr.session(), 0
        final = asr.transcribe_batch(torch.tensor(utterance.signal)[None])
        final = final[0].split()
        for end in range(320, len(utterance.signal) + 320, 320):
            session.push(utterance.signal[end - 320 : end])
            while (
                words < len(final)
                and session.text.split()[: words + 1] == final[: words + 1]
            ):
                words += 1
                seconds = min(end, len(utterance.signal)) / 16000
                delays.append(seconds - 0.5)
    return delays


def test_only_the_clock_is_moved_by_pushes(models, utterances, found):
    """Longer pushes: the same texts and rates, and words that come no
    sooner. The same pushes: the same delays."""
    again, long = (
        evaluate(
            models["llsa"],
            utterances,
            push_seconds=push_seconds,
            timing_runs=1,
            timing_seconds=0,
        )
        for push_seconds in (0.02, 0.5)
    )
    for each in (again, long):
        assert each.texts == found.texts
        assert each.streamed.wer == found.streamed.wer
        assert each.streamed.cer == found.streamed.cer
        assert each.streamed.real_time_factor.audio_seconds == 1.0
    assert again.emission_delay == found.emission_delay
    assert again.display_delay == found.display_delay
    assert long.emission_delay.at_end >= found.emission_delay.at_end


def test_references_are_folded_as_the_model_writes(models, utterances, found):
    """One that knows capitals alone is not wrong about small letters; one
    that knows both is."""
    small = [
        replace(each, transcript=f" {each.transcript.lower()}\u2028")
        for each in utterances
    ]
    again = evaluate(models["llsa"], small, timing_runs=1, timing_seconds=0)
    assert again.streamed.wer == found.streamed.wer
    assert again.texts == found.texts
    asr = copy.copy(models["llsa"])
    asr.text_decoder = PieceDecoder([*asr.text_decoder.pieces[:-1], "a"])
    wrong = evaluate(asr, small, timing_runs=1, timing_seconds=0)
    assert wrong.streamed.wer.percent > found.streamed.wer.percent


def test_some_are_streamed(models, utterances, found):
    """So many of the utterances, from the first on; all are heard at once."""
    some = evaluate(
        models["llsa"],
        utterances,
        streamed_count=2,
        timing_runs=1,
        timing_seconds=0,
    )
    texts = [each.streamed for each in found.texts]
    assert [each.streamed for each in some.texts] == [*texts[:2], None]
    assert some.different_texts == 0
    assert some.offline.wer == found.offline.wer
    outputs = sum(len(each.transcript.split()) for each in utterances[:2])
    assert some.streamed.wer.total == outputs
    assert (some.utterances, some.audio_seconds) == (3, found.audio_seconds)


@pytest.mark.parametrize(
    ("total", "count", "places"),
    [(7, None, [0, 1, 2, 3, 4, 5, 6]), (7, 3, [0, 2, 4]), (2, 5, [0, 1])],
)
def test_spread_over_all(total, count, places):
    """No speaker comes first who would be the only one."""
    assert list(spread(total, count)) == places


def test_acausal_is_offline_only(models, utterances):
    """It has no stream: no delays, no look-ahead in seconds."""
    found = evaluate(models["aa"], utterances[:1], timing_runs=1)
    assert found.streamed is None
    assert found.emission_delay is None
    assert found.different_texts is None
    assert found.look_ahead_seconds is None
    assert found.offline.wer.errors > 0
    with pytest.raises(ValueError, match=r"offline must .*got False for aa"):
        evaluate(models["aa"], utterances, offline=False)


def test_masked_acausal_streams(models, utterances):
    """Its frames wait for the look-ahead of all layers."""
    found = evaluate(models["maa"], utterances[:1], timing_runs=1)
    assert found.different_texts == 0
    assert found.look_ahead_seconds == 2 * 0.08


def test_geometries(models, utterances):
    """A model that is trained for several: each as the model of its own."""
    found = evaluate(
        models["several"], utterances[:1], hop=4, look_ahead=0, timing_runs=1
    )
    assert (found.hop, found.look_ahead) == (4, 0)
    assert found.different_texts == 0
    signal = torch.from_numpy(utterances[0].signal)[None]
    (text,) = models["several"].transcribe_batch(signal, hop=4, look_ahead=0)
    assert found.texts[0].streamed == text
    assert text != found.texts[0].transcript
    with pytest.raises(ValueError, match=r"hop must .*got 3"):
        evaluate(models["several"], utterances, hop=3)


def test_json_is_plain(utterances, found):
    """What is given comes back from JSON, with texts if wanted."""
    plain = found.to_json(texts=True)
    plain["texts"] = list(plain["texts"])
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    outputs = " ".join(utterances[0].transcript.split())
    assert plain["texts"][0]["transcript"] == outputs
    assert "texts" not in found.to_json()


def test_alignments(utterances, found, tmp_path):
    """SpeechBrain's alignments, of every utterance."""
    found.write_alignments(tmp_path / "errors.txt")
    text = (tmp_path / "errors.txt").read_text()
    assert "[ 1 / " in text
    assert all(f"\n{each.identity}, " in text for each in utterances)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"push_seconds": 0}, ValueError, r"push_seconds must .*got 0"),
        (
            {"push_seconds": math.inf},
            ValueError,
            r"push_seconds must .*got inf",
        ),
        (
            {"timing_push_seconds": 0},
            ValueError,
            r"timing_push_seconds must .*got 0",
        ),
        ({"timing_runs": 0}, ValueError, r"timing_runs must .*got 0"),
        (
            {"timing_seconds": -1},
            ValueError,
            r"timing_seconds must .*got -1",
        ),
        ({"resamples": 1.5}, TypeError, r"resamples must .*got 1.5"),
        ({"streamed_count": -1}, ValueError, r"streamed_count must .*got -1"),
    ],
)
def test_bad_numbers_are_named(models, utterances, options, error, words):
    """Before anything runs."""
    with pytest.raises(error, match=words):
        evaluate(models["llsa"], utterances, **options)


def test_bad_utterances_are_named(models, tmp_path):
    """None, none with words, and audio that is none."""
    with pytest.raises(ValueError, match=r"utterances must .*got 0"):
        evaluate(models["llsa"], [])
    silent = Utterance("1", " ", signal=np.zeros(9))
    with pytest.raises(ValueError, match="none of them with words"):
        evaluate(models["llsa"], [silent])
    (tmp_path / "a.wav").write_text("not audio")
    broken = Utterance("1-2", "A", tmp_path / "a.wav")
    with pytest.raises(ValueError, match=r"utterance 1-2: .*a\.wav"):
        evaluate(models["llsa"], [broken])


# ---- sessions that do as they are told


class ScriptedSession:
    """Says one word with each push, and when it ends; or nothing."""

    def __init__(self, words):
        self.words = list(words)

    def push(self, samples):
        word, end = self.words.pop(0)
        return SimpleNamespace(
            committed=word,
            provisional="",
            words=(
                SimpleNamespace(text=word, end=end, final=True),
                SimpleNamespace(text="?", end=99.0, final=False),
            ),
        )

    def finish(self):
        return SimpleNamespace(committed="", provisional="")


class ScriptedASR:
    """Streams ONE TWO; says something else offline."""

    model = None
    text_decoder = PieceDecoder(["", *"ENOTW "])

    def latency_report(self, hop=None, look_ahead=None):
        return make_model().latency_report()

    def session(self, hop=None, look_ahead=None):
        return ScriptedSession([("ONE", 0.1), (" TWO", 0.7)])

    def transcribe_batch(self, wavs, hop=None, look_ahead=None):
        return ["ONE TOO"]


def evaluate_script(transcript, words=None):
    utterance = Utterance("1", transcript, signal=np.zeros(16000), words=words)
    return evaluate(
        ScriptedASR(),
        [utterance],
        push_seconds=0.5,
        timing_push_seconds=0.5,
        timing_runs=1,
    )


def test_texts_that_differ_are_counted():
    """And each has its own error rate."""
    found = evaluate_script("ONE TWO")
    assert found.different_texts == 1
    assert found.streamed.wer.errors == 0
    assert found.offline.wer.errors == 1


def test_ends_of_words_come_from_the_model_where_nobody_knows():
    """Only those of right words count, and only where there is no
    reference."""
    found = evaluate_script("ONE TWO")
    assert found.word_ends == "model"
    assert found.emission_delay.words == 2
    assert found.emission_delay.median_seconds == pytest.approx((0.4 + 0.3) / 2)
    assert evaluate_script("SIX TWO").emission_delay.words == 1
    words = [SpokenWord("ONE", 0, 0.2), SpokenWord("TWO", 0.5, 0.6)]
    found = evaluate_script("ONE TWO", words)
    assert found.word_ends == "reference"
    assert found.emission_delay.median_seconds == pytest.approx((0.3 + 0.4) / 2)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_manifests_of_other_editors(tmp_path, suffix):
    """A byte order mark, carriage returns, and separators within a
    transcript change nothing; other encodings are named."""
    wav = tmp_path / "a.wav"
    wav.write_bytes(b"")
    words = "CAFÉ\u2028TWO"
    text = f'ID,duration,wav,wrd\na,0.5,{wav},"{words}"\n'
    if suffix == ".json":
        entry = {"wav": str(wav), "wrd": words}
        text = json.dumps({"a": entry}, ensure_ascii=False, indent=1)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (utterance,) = read_manifest(path)
    assert (utterance.identity, utterance.transcript) == ("a", "CAFÉ TWO")
    path.write_bytes(text.replace("\u2028", " ").encode("latin-1"))
    with pytest.raises(ValueError, match=f"{path} must be UTF-8, got the byte"):
        read_manifest(path)


def test_manifests_with_an_utterance_twice(tmp_path):
    """One of them would be lost."""
    path = tmp_path / "a.csv"
    path.write_text("ID,wav,wrd\na,a.wav,A\na,b.wav,B\n")
    with pytest.raises(ValueError, match="the utterance 'a' twice"):
        read_manifest(path)
