"""Evaluations as a table and as a picture."""

from dataclasses import replace

import pytest

from speechbrain_llsa.evaluation.delays import Delay
from speechbrain_llsa.evaluation.error_rate_picture import (
    draw_error_rates,
    points_of,
)
from speechbrain_llsa.evaluation.error_rates import ErrorRate
from speechbrain_llsa.evaluation.measure import (
    Evaluation,
    Pass,
    RealTimeFactor,
)
from speechbrain_llsa.evaluation.table import format_table

STREAMED = Pass(
    wer=ErrorRate(5.0, 2.5, 7.75, 5, 100),
    cer=ErrorRate(1.0, 0.5, 1.5, 4, 400),
    real_time_factor=RealTimeFactor(0.1, 0.125, 3, 61.0, 0.16),
    peak_memory_bytes=700 << 20,
    peak_device_memory_bytes=None,
)
OFFLINE = replace(
    STREAMED, real_time_factor=RealTimeFactor(0.02, 0.03, 3, 61.0, None)
)
LLSA = Evaluation(
    name="results/llsa",
    attention="llsa",
    num_layers=12,
    look_back=64,
    look_ahead=8,
    hop=8,
    look_ahead_seconds=0.16,
    latency_seconds=0.34,
    device="cpu",
    threads=1,
    push_seconds=0.02,
    utterances=120,
    audio_seconds=300.0,
    offline=OFFLINE,
    streamed=STREAMED,
    different_texts=0,
    word_ends="reference",
    emission_delay=Delay(90, 10, 0.2, 0.3),
    display_delay=Delay(95, 5, -0.05, 0.1),
    texts=(),
)
AA = replace(
    LLSA,
    name="results/aa",
    attention="aa",
    look_ahead_seconds=None,
    latency_seconds=None,
    streamed=None,
    different_texts=None,
    word_ends=None,
    emission_delay=None,
    display_delay=None,
)
EXPORTED = replace(
    LLSA,
    name="exported",
    offline=None,
    different_texts=None,
    word_ends=None,
    emission_delay=None,
    display_delay=None,
)

TABLE = """\
- 120 utterances, 5.0 minutes; on cpu, 1 thread.
- Latency: look-ahead, wait for the hop and receptive field, at most.
- WER, CER: in brackets the 95 % interval of a bootstrap over utterances.
- Word committed, shown after: from the end of a word to the push that commits \
its last letter, or first shows it, maybe provisionally; median, and 90th \
percentile in brackets, of right words, in pushes of 0.02 s. Their ends are \
those of the reference. Committed only by the end of the stream, and left \
out: 10 of 100.
- Real-time factor: streamed, best of 3 runs, worst in brackets, of 61 s of \
audio, in pushes of 0.16 s.
- Peak memory: largest resident set of the process while it streamed (offline \
where it cannot), with Python, libraries and model.

| model        | attention | look-ahead      | hop | latency \
| WER % offline       \
| WER % streamed      | CER % offline       | CER % streamed      \
| texts that differ | word committed after | word shown after | \
real-time factor | peak memory |
| ------------ | --------- | --------------- | --- | ------- \
| ------------------- \
| ------------------- | ------------------- | ------------------- \
| ----------------- | -------------------- | ---------------- | \
---------------- | ----------- |
| results/llsa | llsa      | 0.16 s          | 8   | 0.34 s  \
| 5.00 (2.50 to 7.75) \
| 5.00 (2.50 to 7.75) | 1.00 (0.50 to 1.50) | 1.00 (0.50 to 1.50) \
| 0                 | 0.20 s (0.30 s)      | -0.05 s (0.10 s) | \
0.100 (0.125)    | 700 MiB     |
| results/aa   | aa        | whole utterance | -   | -       \
| 5.00 (2.50 to 7.75) \
| -                   | 1.00 (0.50 to 1.50) | -                   \
| -                 | -                    | -                | \
-                | 700 MiB     |"""


def test_table():
    """Every figure, a row for each model, a dash where there is none."""
    assert format_table([LLSA, AA]) == TABLE


def test_unknown_columns_are_left_out():
    """An exported model without ends of words: no offline, no delays."""
    table = format_table([EXPORTED], label="system")
    header = table.splitlines()[-3]
    assert header.startswith("| system ")
    assert "offline" not in header and "word" not in header
    assert "differ" not in header and "Word" not in table
    assert "Real-time factor" in table


def test_the_table_says_whose_ends_of_words():
    """Those of the model are told from those of the reference."""
    own = replace(LLSA, word_ends="model")
    assert "those of the model. " in format_table([own])
    assert "those of the model or the reference" in format_table([own, LLSA])


@pytest.mark.parametrize(
    "evaluations",
    [
        [LLSA],
        [AA],
        [EXPORTED, AA, LLSA, replace(LLSA, hop=1), replace(AA, name="b")],
        [
            replace(
                LLSA,
                streamed=replace(STREAMED, wer=ErrorRate(9.0, 9.5, 9.6, 1, 2)),
            )
        ],
        [replace(LLSA, streamed=replace(STREAMED, wer=ErrorRate(*[0] * 5)))],
    ],
    ids=["one", "acausal", "several", "outside its interval", "no error"],
)
def test_picture(evaluations, tmp_path):
    """A PNG, whatever there is to draw."""
    draw_error_rates(tmp_path / "a.png", points_of(evaluations))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_labels_tell_rows_apart():
    """By geometry where the name is the same, by attention otherwise."""

    def labels(*evaluations):
        return [point.label for point in points_of(evaluations)]

    assert labels(LLSA, AA) == [
        "results/llsa, llsa",
        "results/aa, aa (whole utterance)",
    ]
    assert labels(LLSA, replace(LLSA, hop=1))[1] == "results/llsa, hop 1, llsa"
    assert labels(replace(AA, name="aa")) == ["aa (whole utterance)"]
    [long] = labels(replace(LLSA, name=f"a{'b' * 50}/c"))
    assert long.endswith("b/c, llsa")
