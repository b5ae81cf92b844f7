"""Evaluates a model on utterances, offline and streamed."""

import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import torch
from tqdm import tqdm

from speechbrain_llsa.evaluation.delays import Delay, Said, WordDelays
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
from speechbrain_llsa_runtime.geometry import FRAME_SECONDS, SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be

PUSH_SECONDS = 1 / SAMPLE_RATE, 3600.0
"""Least and most audio that a session may be pushed at once."""

TIMING_SECONDS = 60.0
"""Audio that is timed, where the caller does not say."""

TIMING_RUNS = 3
"""How often it is timed."""


@dataclass(frozen=True)
class RealTimeFactor:
    """Time of computing by time of audio, over several runs of the same
    audio."""

    best: float
    """That of the fastest run."""

    worst: float
    """That of the slowest run."""

    runs: int
    """How many there were."""

    audio_seconds: float
    """Audio of a run."""

    push_seconds: float | None
    """Audio that a session was pushed at once. ``None`` for whole
    utterances."""


@dataclass(frozen=True)
class Pass:
    """How one way of transcribing did on all utterances."""

    wer: ErrorRate
    """Word error rate."""

    cer: ErrorRate
    """Character error rate; a space is a character."""

    real_time_factor: RealTimeFactor | None
    """Of the first utterances, one after the other. Their audio has been read
    and has the rate of the model. ``None`` without any audio."""

    peak_memory_bytes: int | None
    """Largest resident set of the process while the errors were counted, with
    Python, all libraries, the model and the audio of an utterance. On Linux;
    elsewhere since the process began. ``None`` where the system does not
    count it."""

    peak_device_memory_bytes: int | None
    """Most memory that PyTorch had allocated on the CUDA device. ``None``
    without one."""


@dataclass(frozen=True)
class Texts:
    """One utterance, and what the model says."""

    identity: str
    """Its name."""

    transcript: str
    """What was said."""

    offline: str | None
    """Text of the whole utterance at once; ``None`` if that was not run."""

    streamed: str | None
    """Text of the stream; ``None`` if that was not run."""


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found."""

    name: str
    """What the model is called."""

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
    """Look-ahead of the whole model. ``None`` for the whole utterance."""

    latency_seconds: float | None
    """From the first sample of a frame to the sample that commits it, at
    most: look-ahead, wait for the hop and receptive field. ``None`` for the
    whole utterance."""

    device: str
    """Where the model ran."""

    threads: int | None
    """Threads that it had. ``None`` where the runtime chose."""

    push_seconds: float
    """Audio that a session was pushed at once, except while it was timed."""

    utterances: int
    """How many."""

    audio_seconds: float
    """Of all utterances that were heard."""

    offline: Pass | None
    """Whole utterances at once. ``None`` for a model that only streams."""

    streamed: Pass | None
    """Through sessions. ``None`` for an attention that cannot stream."""

    different_texts: int | None
    """Utterances whose two texts differ. ``None`` where there is one."""

    word_ends: str | None
    """Where the ends of words come from: "reference"; "model" where that has
    none, but the model has; or ``None`` where nobody knows."""

    emission_delay: Delay | None
    """From the end of a word to the push that commits its last letter, in
    seconds of audio. ``None`` without ends of words, or without a stream."""

    display_delay: Delay | None
    """The same to the push that first shows it, maybe provisionally."""

    texts: tuple[Texts, ...] = field(repr=False)
    """What the model says, utterance by utterance."""

    def to_json(self, texts=False):
        """All of it as plain values, for ``json.dumps``.

        Arguments
        ---------
        texts : bool
            Whether the texts of all utterances are part of it.

        Returns
        -------
        dict
        """
        plain = asdict(self)
        if not texts:
            del plain["texts"]
        return plain

    def write_alignments(self, path):
        """Writes the alignment of each utterance, as SpeechBrain does: of the
        streamed texts where there are any.

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
    push_seconds=FRAME_SECONDS,
    offline=True,
    streamed_count=None,
    timing_push_seconds=None,
    timing_runs=TIMING_RUNS,
    timing_seconds=TIMING_SECONDS,
    resamples=RESAMPLES,
    seed=0,
    progress=False,
):
    """Transcribes every utterance as a stream, and then at once: counts
    errors, and measures delays, time and memory.

    Texts and all that follows from them are the same every time; time and
    memory are not.

    Transcripts are first brought to the form that the model writes, as its
    units show it: to capitals where it knows no small letters (as one that was
    trained with ``transcript_case: upper``), to small letters where it knows
    no capitals, as they are where it knows both; to straight apostrophes
    where it knows no others; and to Unicode's form NFC.

    Arguments
    ---------
    asr : StreamingASR or OnnxStreamingASR
        The model. One that ONNX Runtime runs is only streamed; one whose
        attention cannot stream is only run offline.
    utterances : iterable of Utterance
        What it is evaluated on.
    name : str
        What the model is called.
    hop : int, optional
        Frames that llsa commits at once: one of the numbers that the model is
        trained for; the first of them by default.
    look_ahead : int, optional
        Frames that a layer sees ahead, as for ``hop``.
    push_seconds : float
        Audio that a session is pushed at once. The text does not depend on
        it; delays are known up to it.
    offline : bool
        Whether whole utterances are transcribed as well, where they can.
    streamed_count : int, optional
        How many of the utterances are streamed, evenly spread among them;
        all by default. Error rates of the streams are over these alone.
    timing_push_seconds : float, optional
        Audio that a session is pushed at once while it is timed. By default
        the length of a hop, or of a frame where there are no hops.
    timing_runs : int
        How often the first utterances are timed, for the real-time factor.
    timing_seconds : float
        How much audio these have, at least; or all there is.
    resamples : int
        Resamples of the intervals of error rates.
    seed : int
        Of these.
    progress : bool
        Whether there are bars on standard error.

    Returns
    -------
    Evaluation

    Raises
    ------
    FileNotFoundError
        If the audio of an utterance does not exist.
    TypeError
        If a number is of another type.
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
    check_number("push_seconds", push_seconds, *PUSH_SECONDS)
    if timing_push_seconds is not None:
        check_number("timing_push_seconds", timing_push_seconds, *PUSH_SECONDS)
    check_number("timing_seconds", timing_seconds, 0)
    check_integer("timing_runs", timing_runs, 1)
    if streamed_count is not None:
        check_integer("streamed_count", streamed_count, 1)
    check_integer("resamples", resamples, 1)
    utterances = _folded(utterances, asr.text_decoder.pieces)
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
    known = any(each.words for each in utterances)
    delays = WordDelays("reference" if known else "model")
    ways = {}
    if latency.look_ahead is not None:
        if timing_push_seconds is None:
            timing_push_seconds = (latency.hop_wait + 1) * FRAME_SECONDS
        ways["streamed"] = partial(_stream, asr, geometry)
    if offline and hasattr(asr, "transcribe_batch"):
        ways["offline"] = partial(_hear_at_once, asr, geometry)
    if not ways:
        raise ValueError(
            must_be(
                "offline",
                "True",
                (f"{offline} for {report.attention}, which cannot stream"),
            )
        )
    passes, texts, audio_samples = {}, {}, 0
    for way, hear in ways.items():
        streamed = way == "streamed"
        places = spread(len(utterances), streamed_count if streamed else None)
        chosen = [utterances[place] for place in places]
        bar = tqdm(
            chosen,
            desc=f"{name}, {way}",
            disable=None if progress else True,
            leave=False,
            dynamic_ncols=True,
        )
        with PeakMemory(getattr(asr, "device", "cpu")) as memory:
            rates, said, samples = _count(
                partial(hear, push_seconds=push_seconds),
                bar,
                delays if streamed else None,
            )
        texts[way] = dict(zip(places, said, strict=True))
        audio_samples = max(audio_samples, samples)
        passes[way] = Pass(
            rates.words_with_interval(resamples, seed),
            rates.characters_with_interval(resamples, seed),
            _time(
                hear,
                timing_push_seconds if streamed else None,
                chosen,
                timing_runs,
                timing_seconds,
            ),
            memory.process_bytes,
            memory.device_bytes,
        )
    offline_texts, streamed_texts = (
        texts.get(way, {}) for way in ("offline", "streamed")
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


def _folded(utterances, pieces):
    """Utterances with transcripts as the model writes them."""
    units = "".join(pieces)
    case = case_of_units(units)
    return [
        replace(each, transcript=fold_transcript(each.transcript, case, units))
        for each in utterances
    ]


def spread(total, count):
    """Chooses some out of many, from the first on, evenly spread.

    Arguments
    ---------
    total : int
        How many there are.
    count : int or None
        How many are wanted; ``None`` for all.

    Returns
    -------
    sequence of int
        The places of those that are chosen.

    Example
    -------
    >>> spread(10, 3)
    [0, 3, 6]
    """
    if count is None or count >= total:
        return range(total)
    return [place * total // count for place in range(count)]


def _hear_at_once(asr, geometry, signal, push_seconds):
    """What the whole signal says, as a stream that says it at its end."""
    wavs = torch.from_numpy(signal)[None]
    (text,) = asr.transcribe_batch(wavs, **geometry)
    return [Said(None, text, "")]


def _stream(asr, geometry, signal, push_seconds):
    """All that a session says, push by push."""
    session, said = asr.session(**geometry), []
    push_samples = max(1, round(push_seconds * SAMPLE_RATE))
    for start in range(0, len(signal), push_samples):
        samples = signal[start : start + push_samples]
        heard = session.push(samples)
        seconds = (start + len(samples)) / SAMPLE_RATE
        said.append(
            Said(seconds, heard.committed, heard.provisional, _word_ends(heard))
        )
    heard = session.finish()
    return [*said, Said(None, heard.committed, "", _word_ends(heard))]


def _word_ends(transcript):
    """Where the words end that are now final, if it says so."""
    words = getattr(transcript, "words", ())
    return tuple(word.end for word in words if word.final)


def _count(hear, utterances, delays):
    """Counts the errors of all utterances, and gathers delays where they are
    wanted: the errors, the texts, and the samples heard."""
    rates, texts, samples = ErrorRates(), [], 0
    for utterance in utterances:
        signal = utterance.read()
        samples += len(signal)
        said = hear(signal)
        text = "".join(each.committed for each in said)
        texts.append(text)
        right = rates.append(utterance.identity, text, utterance.transcript)
        if delays is not None:
            delays.append(said, text, utterance.words, right)
    return rates, texts, samples


def _time(hear, push_seconds, utterances, runs, audio_seconds):
    """Times the first utterances, which have as much audio at least."""
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
            hear(signal, push_seconds)
        factors.append((time.perf_counter() - begin) * SAMPLE_RATE / samples)
    return RealTimeFactor(
        min(factors), max(factors), runs, samples / SAMPLE_RATE, push_seconds
    )
