"""Evaluation of a model on utterances, offline and streamed."""

import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import torch
from tqdm import tqdm

from speechbrain_llsa.evaluation.delays import Delay, PushOutput, WordDelays
from speechbrain_llsa.evaluation.error_rates import (
    RESAMPLES,
    ErrorRate,
    ErrorRates,
)
from speechbrain_llsa.evaluation.memory import PeakMemory
from speechbrain_llsa.utils.normalization import (
    case_of_units,
    fold_transcript,
)
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be

PUSH_SECONDS = 1 / SAMPLE_RATE, 3600.0
"""Shortest and longest audio per push."""

TIMING_SECONDS = 60.0
"""Default amount of audio that is timed."""

TIMING_RUNS = 3
"""Default number of timed runs."""


@dataclass(frozen=True)
class RealTimeFactor:
    """Computing time divided by duration of the audio, over several runs on the
    same audio."""

    best: float
    """Real-time factor of the fastest run."""

    worst: float
    """Real-time factor of the slowest run."""

    runs: int
    """Number of runs."""

    audio_seconds: float
    """Duration of the audio of one run."""

    push_seconds: float | None
    """Audio per push. ``None`` for whole utterances."""


@dataclass(frozen=True)
class Pass:
    """Results of one mode, offline or streamed, on all utterances."""

    wer: ErrorRate
    """Word error rate."""

    cer: ErrorRate
    """Character error rate; a space is a character."""

    real_time_factor: RealTimeFactor | None
    """Measured on the first utterances, one after the other; excludes reading
    and resampling of audio. ``None`` if there is no audio."""

    peak_memory_bytes: int | None
    """Peak resident set of the process while the errors were counted, including
    Python, all libraries, the model and the audio of an utterance; on systems
    other than Linux, since the process started. ``None`` where the system does
    not report it."""

    peak_device_memory_bytes: int | None
    """Peak memory that PyTorch allocated on the CUDA device. ``None`` on other
    devices."""


@dataclass(frozen=True)
class Texts:
    """The transcript of an utterance, and the recognised texts."""

    identity: str
    """Name of the utterance."""

    transcript: str
    """The reference transcript."""

    offline: str | None
    """Text recognised offline; ``None`` if that was not run."""

    streamed: str | None
    """Text recognised in a stream; ``None`` if that was not run."""


@dataclass(frozen=True)
class Evaluation:
    """The result of :func:`evaluate`."""

    name: str
    """Name of the model."""

    attention: str
    """aa, maa, sa or llsa."""

    num_layers: int
    """Layers of the encoder."""

    look_back: int
    """Frames that a layer sees behind a frame."""

    look_ahead: int
    """Frames that a layer sees ahead of a frame."""

    hop: int
    """Frames that llsa commits at once."""

    look_ahead_seconds: float | None
    """Look-ahead of the whole model. ``None`` if it sees the whole
    utterance."""

    latency_seconds: float | None
    """Worst-case time from the first sample of a frame to the sample that
    commits it: look-ahead, wait for the hop and receptive field. ``None`` if
    the model sees the whole utterance."""

    device: str
    """Device that the model ran on."""

    threads: int | None
    """Number of threads. ``None`` if left to the runtime."""

    push_seconds: float
    """Audio per push, except in timed runs."""

    utterances: int
    """Number of utterances."""

    audio_seconds: float
    """Total duration of the utterances that were transcribed."""

    offline: Pass | None
    """Results on whole utterances. ``None`` for a model that only streams."""

    streamed: Pass | None
    """Results of streaming sessions. ``None`` for an attention that cannot
    stream."""

    different_texts: int | None
    """Number of utterances whose offline and streamed texts differ. ``None``
    unless both modes were run."""

    word_ends: str | None
    """Source of the end times of words. "reference"; "model" if only the model
    has word times; ``None`` if neither does."""

    emission_delay: Delay | None
    """From the end of a word to the push that commits its last letter, in
    seconds of audio. ``None`` without end times, or if nothing was
    streamed."""

    display_delay: Delay | None
    """From the end of a word to the push that first shows it, possibly as
    provisional text; otherwise as ``emission_delay``."""

    texts: tuple[Texts, ...] = field(repr=False)
    """The recognised texts, utterance by utterance."""

    def to_json(self, texts=False):
        """Converts the result to plain values, for ``json.dumps``.

        Arguments
        ---------
        texts : bool
            Whether to include the texts of all utterances.

        Returns
        -------
        dict
        """
        plain = asdict(self)
        if not texts:
            del plain["texts"]
        return plain

    def write_alignments(self, path):
        """Writes the alignment of each utterance, as SpeechBrain does; of the
        streamed texts if there are any, otherwise of the offline ones.

        Arguments
        ---------
        path : str or pathlib.Path
            The file.
        """
        rates = ErrorRates()
        for each in self.texts:
            text = each.offline if each.streamed is None else each.streamed
            rates.append(each.identity, text, each.transcript)
        rates.write_alignments(path)


def evaluate(
    asr,
    utterances,
    *,
    name="model",
    hop=None,
    look_ahead=None,
    push_seconds=None,
    offline=True,
    streamed_count=None,
    timing_push_seconds=None,
    timing_runs=TIMING_RUNS,
    timing_seconds=TIMING_SECONDS,
    resamples=RESAMPLES,
    seed=0,
    progress=False,
):
    """Transcribes every utterance, first streamed and then offline, counts
    errors, and measures delays, time and memory.

    Texts, and everything derived from them, are reproducible; time and memory
    are not.

    Transcripts are first normalised to the spelling that the model writes, as
    its units show: to upper case if it has no lower-case letters (as one
    trained with ``transcript_case: upper``), to lower case if it has no
    capitals, unchanged if it has both; to straight apostrophes if it has no
    others; and to Unicode form NFC.

    Arguments
    ---------
    asr : StreamingASR or OnnxStreamingASR
        The model. One that ONNX Runtime runs is only streamed; one whose
        attention cannot stream is only run offline.
    utterances : iterable of Utterance
        The test set.
    name : str
        Name of the model.
    hop : int, optional
        Frames that llsa commits at once, one of the numbers that the model is
        trained for; by default the first of them.
    look_ahead : int, optional
        Frames that a layer sees ahead, as for ``hop``.
    push_seconds : float, optional
        Audio per push; by default a frame. The text does not depend on it; it
        is the resolution of the delays.
    offline : bool
        Whether to transcribe whole utterances as well, if the model can.
    streamed_count : int, optional
        Number of utterances to stream, evenly spread, or 0; by default all.
        Streamed error rates are over these only.
    timing_push_seconds : float, optional
        Audio per push in timed runs. By default the duration of a hop, or of a
        frame without hops.
    timing_runs : int
        Number of timed runs for the real-time factor.
    timing_seconds : float
        Minimum duration of the first utterances, which are timed; all are if
        the test set is shorter.
    resamples : int
        Bootstrap resamples for the confidence intervals.
    seed : int
        Seed of the bootstrap.
    progress : bool
        Whether to show progress bars on standard error.

    Returns
    -------
    Evaluation

    Raises
    ------
    FileNotFoundError
        If the audio of an utterance does not exist.
    TypeError
        If a number has the wrong type.
    ValueError
        If there are no utterances with words, a number is out of range, the
        model is not trained for ``hop`` or ``look_ahead``, audio cannot be
        read, or there is nothing to run.

    Example
    -------
    >>> asr = StreamingASR.from_hparams("streaming")  # doctest: +SKIP
    >>> utterances = read_split("LibriSpeech", "test-clean")  # doctest: +SKIP
    >>> evaluate(asr, utterances).streamed.wer.percent  # doctest: +SKIP
    3.5
    """
    for argument, seconds in (
        ("push_seconds", push_seconds),
        ("timing_push_seconds", timing_push_seconds),
    ):
        if seconds is not None:
            check_number(argument, seconds, *PUSH_SECONDS)
    check_number("timing_seconds", timing_seconds, 0)
    check_integer("timing_runs", timing_runs, 1)
    if streamed_count is not None:
        check_integer("streamed_count", streamed_count, 0)
    check_integer("resamples", resamples, 1)
    utterances = _fold_transcripts(utterances, asr.text_decoder.pieces)
    if not any(each.transcript.split() for each in utterances):
        raise ValueError(
            must_be(
                "utterances",
                "at least one with words",
                f"{len(utterances)}, none of them with words",
            )
        )
    geometry = {"hop": hop, "look_ahead": look_ahead}
    report = asr.latency_report(**geometry)
    latency = report.declared_latency
    if push_seconds is None:
        push_seconds = latency.frame_seconds
    known = any(each.words for each in utterances)
    delays = WordDelays("reference" if known else "model")
    modes = {}
    if latency.look_ahead is not None and streamed_count != 0:
        if timing_push_seconds is None:
            timing_push_seconds = (latency.hop_wait + 1) * latency.frame_seconds
        modes["streamed"] = partial(_stream, asr, geometry)
    if offline and hasattr(asr, "transcribe_batch"):
        modes["offline"] = partial(_transcribe_offline, asr, geometry)
    if not modes:
        raise ValueError(
            must_be(
                "offline",
                "True",
                (f"{offline} for {report.attention}, which cannot stream"),
            )
        )
    passes, texts, audio_samples = {}, {}, 0
    for mode, transcribe in modes.items():
        streamed = mode == "streamed"
        places = spread(len(utterances), streamed_count if streamed else None)
        chosen = [utterances[place] for place in places]
        bar = tqdm(
            chosen,
            desc=f"{name}, {mode}",
            disable=None if progress else True,
            leave=False,
            dynamic_ncols=True,
        )
        with PeakMemory(getattr(asr, "device", "cpu")) as memory:
            rates, mode_texts, samples = _count_errors(
                partial(transcribe, push_seconds=push_seconds),
                bar,
                delays if streamed else None,
            )
        texts[mode] = dict(zip(places, mode_texts, strict=True))
        audio_samples = max(audio_samples, samples)
        passes[mode] = Pass(
            rates.words_with_interval(resamples, seed),
            rates.characters_with_interval(resamples, seed),
            _measure_real_time_factor(
                transcribe,
                timing_push_seconds if streamed else None,
                chosen,
                timing_runs,
                timing_seconds,
            ),
            memory.process_bytes,
            memory.device_bytes,
        )
    offline_texts, streamed_texts = (
        texts.get(mode, {}) for mode in ("offline", "streamed")
    )
    texts = tuple(
        Texts(
            each.identity,
            each.transcript,
            offline_texts.get(place),
            streamed_texts.get(place),
        )
        for place, each in enumerate(utterances)
    )
    emission_delay = delays.emission.summary()
    different = sum(
        texts[place].offline != text for place, text in streamed_texts.items()
    )
    return Evaluation(
        name=name,
        attention=report.attention,
        num_layers=report.num_layers,
        look_back=report.geometry.look_back,
        look_ahead=report.geometry.look_ahead,
        hop=report.geometry.hop,
        look_ahead_seconds=latency.look_ahead_seconds,
        latency_seconds=latency.total_seconds,
        device=str(getattr(asr, "device", "cpu")),
        threads=getattr(asr.model, "threads", torch.get_num_threads()),
        push_seconds=push_seconds,
        utterances=len(utterances),
        audio_seconds=audio_samples / SAMPLE_RATE,
        offline=passes.get("offline"),
        streamed=passes.get("streamed"),
        different_texts=different if len(passes) == 2 else None,
        word_ends=emission_delay and delays.source,
        emission_delay=emission_delay,
        display_delay=delays.display.summary(),
        texts=texts,
    )


def _fold_transcripts(utterances, pieces):
    """Normalises transcripts to the spelling that the model writes."""
    units = "".join(pieces)
    case = case_of_units(units)
    return [
        replace(each, transcript=fold_transcript(each.transcript, case, units))
        for each in utterances
    ]


def spread(total, count):
    """Chooses evenly spread indices, starting with the first.

    Arguments
    ---------
    total : int
        Number of items to choose from.
    count : int or None
        Number of items to choose; ``None`` for all.

    Returns
    -------
    sequence of int
        The chosen indices.

    Example
    -------
    >>> spread(10, 3)
    [0, 3, 6]
    """
    if count is None or count >= total:
        return range(total)
    return [place * total // count for place in range(count)]


def _transcribe_offline(asr, geometry, signal, push_seconds):
    """Transcribes a whole signal; one output, as of the end of a stream."""
    wavs = torch.from_numpy(signal)[None]
    (text,) = asr.transcribe_batch(wavs, **geometry)
    return [PushOutput(None, text, "")]


def _stream(asr, geometry, signal, push_seconds):
    """Transcribes a signal with a session; one output per push."""
    session, outputs = asr.session(**geometry), []
    push_samples = max(1, round(push_seconds * SAMPLE_RATE))
    for start in range(0, len(signal), push_samples):
        samples = signal[start : start + push_samples]
        transcript = session.push(samples)
        seconds = (start + len(samples)) / SAMPLE_RATE
        outputs.append(
            PushOutput(
                seconds,
                transcript.committed,
                transcript.provisional,
                _word_ends(transcript),
            )
        )
    transcript = session.finish()
    return [
        *outputs,
        PushOutput(None, transcript.committed, "", _word_ends(transcript)),
    ]


def _word_ends(transcript):
    """End times of the final words, if the transcript has words."""
    words = getattr(transcript, "words", ())
    return tuple(word.end for word in words if word.final)


def _count_errors(transcribe, utterances, delays):
    """Transcribes all utterances. Returns error rates, texts and the number of
    samples, and adds to ``delays`` unless that is ``None``."""
    rates, texts, samples = ErrorRates(), [], 0
    for utterance in utterances:
        signal = utterance.read()
        samples += len(signal)
        outputs = transcribe(signal)
        text = "".join(each.committed for each in outputs)
        texts.append(text)
        correct = rates.append(utterance.identity, text, utterance.transcript)
        if delays is not None:
            delays.append(outputs, text, utterance.words, correct)
    return rates, texts, samples


def _measure_real_time_factor(
    transcribe, push_seconds, utterances, runs, audio_seconds
):
    """Times as many of the first utterances as ``audio_seconds`` takes."""
    signals, samples = [], 0
    for utterance in utterances:
        if samples and samples >= audio_seconds * SAMPLE_RATE:
            break
        signals.append(utterance.read())
        samples += len(signals[-1])
    if not samples:
        return None
    factors = []
    for _ in range(runs):
        begin = time.perf_counter()
        for signal in signals:
            transcribe(signal, push_seconds)
        factors.append((time.perf_counter() - begin) * SAMPLE_RATE / samples)
    return RealTimeFactor(
        min(factors), max(factors), runs, samples / SAMPLE_RATE, push_seconds
    )
