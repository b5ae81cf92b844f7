"""Results of a comparison so far, row by row."""

import json
from dataclasses import dataclass, field, replace

import numpy as np

from speechbrain_llsa.evaluation.error_rates import (
    RESAMPLES,
    ErrorRate,
    ErrorRates,
    bootstrap_interval,
)
from speechbrain_llsa.training.curves import CurveLog

MODES = ("offline", "streamed")


@dataclass(frozen=True)
class Difference:
    """Difference between the error rates of two rows."""

    unit: str
    """Unit of the error rate: "words" or "characters"."""

    row: str
    """Name of the first row."""

    other: str
    """Name of the other row."""

    percent: float
    """Difference in percentage points; negative if the first row is better."""

    low: float
    """Lower end of its 95 % interval, by bootstrap over utterances."""

    high: float
    """Upper end."""

    speakers_low: float
    """Lower end by bootstrap over speakers, which accounts for the choice of
    speakers."""

    speakers_high: float
    """Upper end."""

    relative: float
    """Difference relative to the rate of the other row, in percent."""


@dataclass
class RowResult:
    """Results of a row."""

    name: str
    """Name of the row."""

    weights_of: str | None
    """The row whose training it shares; ``None`` for its own."""

    starts_from: str | None
    """The row whose model it starts from; ``None`` for the start of all."""

    teacher: str | None
    """The row whose model it learns from as well; ``None`` for none."""

    note: str
    """What a reader must know."""

    seeds: tuple[int, ...]
    """All seeds of its plan."""

    measured: dict = field(default_factory=dict)
    """Output of ``measure.py``, by seed."""

    costs: dict = field(default_factory=dict)
    """Costs of "pretrain" and "finetune", by seed."""

    curves: dict = field(default_factory=dict)
    """Log of the pre-training, by seed."""

    _counts: dict = field(default_factory=dict, repr=False)
    """Cache of error counts by seed and mode, since counting takes a second."""

    def rate(self, mode, unit):
        """Error rate over all finished seeds: errors and words of an utterance
        are summed over seeds, and utterances are resampled for the interval.

        Arguments
        ---------
        mode : str
            "offline" or "streamed".
        unit : str
            "words" or "characters".

        Returns
        -------
        ErrorRate or None
        """
        counts = self.counts(mode, unit)
        if counts is None:
            return None
        errors, totals = counts
        low, high = bootstrap_interval(errors, totals)
        return ErrorRate(
            float(errors.sum() / totals.sum() * 100),
            low,
            high,
            int(errors.sum()),
            int(totals.sum()),
        )

    def counts(self, mode, unit):
        """Errors and words of each utterance, summed over seeds: two arrays of
        (utterances,), or ``None`` unless all utterances have a text."""
        counts = []
        for seed, found in self.measured.items():
            if any(each[mode] is None for each in found["texts"]):
                continue
            key = seed, mode
            if key not in self._counts:
                self._counts[key] = _count(found["texts"], mode)
            counts.append(self._counts[key][unit])
        if not counts:
            return None
        return sum(errors for errors, _ in counts), sum(
            totals for _, totals in counts
        )

    @property
    def mode(self):
        """Mode whose word errors count: "streamed", or "offline" if the model
        cannot stream or not all utterances were streamed."""
        streamed = self.counts("streamed", "words")
        return "offline" if streamed is None else "streamed"

    def best_counts(self, unit="words"):
        """Errors in that mode."""
        return self.counts(self.mode, unit)

    def speakers(self):
        """Word error rate over all seeds in percent, by speaker, the first part
        of an utterance's name in LibriSpeech; streamed, or offline if the model
        cannot stream."""
        if not self.measured:
            return {}
        names, errors, totals = self.speaker_counts()
        rates = (100 * errors / totals).tolist()
        return dict(zip(names, rates, strict=True))

    def speaker_counts(self, unit="words"):
        """Names of the speakers, and errors and words of each: a list and two
        arrays of (speakers,)."""
        texts = next(iter(self.measured.values()))["texts"]
        names, of_speaker = np.unique(
            [each["identity"].partition("-")[0] for each in texts],
            return_inverse=True,
        )
        counts = (
            np.bincount(of_speaker, weights=each)
            for each in self.best_counts(unit)
        )
        return names.tolist(), *counts

    def accuracies(self):
        """Accuracy of the pre-training's best epoch, by seed."""
        return {
            seed: max(values)
            for seed, entries in self.curves.items()
            if (
                values := [
                    entry["accuracy"]
                    for entry in entries
                    if entry["split"] == "valid"
                ]
            )
        }


def collect(comparison):
    """Collects the results of the rows of a comparison.

    Arguments
    ---------
    comparison : compare.Comparison
        The comparison.

    Returns
    -------
    Results
    """
    rows = []
    plan = comparison.plan
    for row in plan.rows:
        trained = plan.trained(row)
        seeds = comparison.seeds(row)
        result = RowResult(
            name=row.name,
            weights_of=row.weights_of,
            starts_from=row.starts_from,
            teacher=row.teacher,
            note=row.note,
            seeds=seeds,
        )
        for seed in seeds:
            *_, measure = comparison.stages(row, seed)
            if measure.ended:
                path = measure.folder / "measured.json"
                result.measured[seed] = json.loads(path.read_text("utf-8"))
            stages = comparison.stages(trained, seed)[:-1]
            if all(stage.ended for stage in stages):
                result.costs[seed] = {each.name: each.cost for each in stages}
            log = comparison.folder(trained, seed) / "pretrain" / "curves.jsonl"
            if log.exists():
                result.curves[seed] = CurveLog(log).read()
        rows.append(result)
    by_name = {row.name: row for row in rows}
    pairs = [[by_name[name] for name in pair] for pair in plan.comparisons]
    differences = [
        _difference(row, other, unit)
        for unit in ("words", "characters")
        for row, other in pairs
        if row.measured.keys() & other.measured.keys()
    ]
    return Results(plan, tuple(rows), tuple(differences))


@dataclass(frozen=True)
class Results:
    """Results of a comparison."""

    plan: object
    """What is compared."""

    rows: tuple[RowResult, ...]
    """Results of rows in the order of the plan."""

    differences: tuple[Difference, ...]
    """Differences of the pairs whose results exist."""


def _count(texts, mode):
    """Counts errors and words of each utterance, by unit: two arrays."""
    rates = ErrorRates()
    for each in texts:
        rates.append(each["identity"], each[mode], each["transcript"])
    return {
        unit: tuple(
            np.array([score[name] for score in getattr(rates, unit).scores])
            for name in ("num_edits", "num_ref_tokens")
        )
        for unit in ("words", "characters")
    }


def _difference(row, other, unit="words"):
    """Compares two rows by paired bootstrap: the same utterances are drawn for
    both. Seeds that only one of them has are ignored."""
    row, other = (
        replace(
            each,
            measured={
                seed: found
                for seed, found in each.measured.items()
                if seed in row.measured and seed in other.measured
            },
        )
        for each in (row, other)
    )
    counts = *row.best_counts(unit), *other.best_counts(unit)
    errors, totals, other_errors, other_totals = map(np.sum, counts)
    rate, base = 100 * errors / totals, 100 * other_errors / other_totals
    return Difference(
        unit,
        row.name,
        other.name,
        float(rate - base),
        *_interval(*counts),
        *_interval(
            *row.speaker_counts(unit)[1:], *other.speaker_counts(unit)[1:]
        ),
        float(100 * (rate - base) / base) if base else 0.0,
    )


def _interval(errors, totals, other_errors, other_totals):
    """Confidence interval of the difference of two error rates, from arrays of
    (utterances,) or (speakers,), with the same draws for both."""
    generator = np.random.default_rng(0)
    # (resamples, utterances)
    drawn = generator.integers(len(errors), size=(RESAMPLES, len(errors)))
    differences = 100 * (
        errors[drawn].sum(1) / totals[drawn].sum(1)
        - other_errors[drawn].sum(1) / other_totals[drawn].sum(1)
    )
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)
