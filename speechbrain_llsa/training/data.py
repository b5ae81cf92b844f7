"""Training data: manifests, waveforms, and batches of similar lengths.

Only the order of the batches is random here, determined by seed and epoch.
Masks, dropout and augmentation belong in the training step, where
``training.StreamingBrain`` seeds them, so that a resumed training continues as
if it had never stopped.
"""

import itertools
import json

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import (
    DistributedSamplerWrapper,
    DynamicBatchSampler,
)
from speechbrain.utils.logger import get_logger

from speechbrain_llsa.training.bad_utterances import UtteranceBatch
from speechbrain_llsa.training.run_record import digest
from speechbrain_llsa_runtime.dataio.audio_files import audio_info, read_blocks
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.errors import must_be

logger = get_logger(__name__)

_DURATION_TOLERANCE_SECONDS = 0.1
"""How far a waveform may differ from the duration in its manifest."""


def load_manifests(paths, sample_rate=SAMPLE_RATE):
    """Loads manifests into one dataset whose items provide waveforms.

    Arguments
    ---------
    paths : list of str
        CSV files with the columns ID, duration, wav, spk_id and wrd, as
        ``librispeech_prepare`` writes them.
    sample_rate : int
        Samples per second of the waveforms; files of other rates are resampled.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        Its items have ``id``, the columns, ``sig``: the waveform, of shape
        (samples,), and ``fault``: why it cannot be used, "" if it can. Output
        keys are ``id``, ``wav``, ``sig`` and ``fault``.

    Raises
    ------
    ValueError
        If an utterance is in two manifests, or there are no utterances.
    """
    utterances = {}
    for path in paths:
        manifest = DynamicItemDataset.from_csv(csv_path=str(path)).data
        repeated = utterances.keys() & manifest.keys()
        if repeated:
            raise ValueError(
                must_be(
                    "paths",
                    "manifests that hold each utterance once",
                    f"{min(repeated)!r} again in {path}",
                )
            )
        utterances.update(manifest)
    if not utterances:
        raise ValueError(
            must_be(
                "paths",
                "manifests with at least one utterance",
                f"{list(map(str, paths))} without any",
            )
        )
    dataset = DynamicItemDataset(utterances)

    def read(wav, duration):
        yield from read_or_fault(wav, float(duration), sample_rate)

    dataset.add_dynamic_item(
        read, takes=["wav", "duration"], provides=["sig", "fault"]
    )
    dataset.set_output_keys(["id", "wav", "sig", "fault"])
    return dataset


def read_or_fault(path, duration, sample_rate=SAMPLE_RATE):
    """Reads a waveform, or says why it cannot be used.

    Arguments
    ---------
    path : str
        An audio file.
    duration : float
        Expected duration in seconds.
    sample_rate : int
        Samples per second of the result.

    Returns
    -------
    torch.Tensor
        Waveform of shape (samples,), without samples if it cannot be used.
    str
        What is wrong with it, "" if nothing is.

    Example
    -------
    >>> read_or_fault("nowhere.flac", 1.0)[1][:14]
    'cannot be read'
    """
    no_samples = torch.zeros(0)
    try:
        waveform = read_waveform(path, sample_rate)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        return no_samples, f"cannot be read: {reason}"
    seconds = len(waveform) / sample_rate
    if abs(seconds - duration) > _DURATION_TOLERANCE_SECONDS:
        return (
            no_samples,
            f"holds {seconds:.2f} s, its manifest says {duration:g}",
        )
    if not torch.isfinite(waveform).all():
        return no_samples, "holds samples that are not finite"
    return waveform, ""


def read_waveform(path, sample_rate=SAMPLE_RATE):
    """Reads a file as one channel at the requested rate.

    The level is left alone: normalising it over time could not be streamed.

    Arguments
    ---------
    path : str
        An audio file of up to 8 channels.
    sample_rate : int
        Samples per second of the result.

    Returns
    -------
    torch.Tensor
        Waveform of shape (samples,), float32.

    Example
    -------
    >>> from speechbrain.dataio import audio_io
    >>> path = getfixture("tmp_path") / "example.wav"
    >>> audio_io.save(path, torch.zeros(2, 800), 8000)
    >>> read_waveform(str(path)).shape
    torch.Size([1600])
    """
    file_rate = audio_info(path).sample_rate
    blocks = map(torch.from_numpy, read_blocks(path, 60.0))
    waveform = torch.cat([torch.zeros(0), *(each.T.mean(0) for each in blocks)])
    if file_rate != sample_rate:
        import torchaudio.functional

        waveform = torchaudio.functional.resample(
            waveform, file_rate, sample_rate
        )
    return waveform


def keep_durations(dataset, shortest_seconds=0.0, longest_seconds=None):
    """Drops utterances that are too short or too long, and logs how many.

    Arguments
    ---------
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
        The utterances, with ``duration`` in seconds.
    shortest_seconds : float
        The shortest duration to keep.
    longest_seconds : float or None
        The longest duration to keep; None for no limit.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        The remaining utterances, in the same order.

    Raises
    ------
    ValueError
        If none remain.

    Example
    -------
    >>> dataset = DynamicItemDataset(
    ...     {"a": {"duration": 0.1}, "b": {"duration": 2.0}}
    ... )
    >>> len(keep_durations(dataset, shortest_seconds=1.0))
    1
    """
    longest = float("inf") if longest_seconds is None else longest_seconds
    kept = dataset.filtered_sorted(
        key_min_value={"duration": shortest_seconds},
        key_max_value={"duration": longest},
    )
    limits = f"shorter than {shortest_seconds:g} s"
    if longest_seconds is not None:
        limits += f" or longer than {longest_seconds:g} s"
    if len(kept) < len(dataset):
        logger.info(
            f"Left out {len(dataset) - len(kept)} of {len(dataset)} "
            f"utterances: {limits}"
        )
    if not len(kept):
        raise ValueError(
            must_be(
                "dataset",
                "one with at least one utterance of another length",
                f"only utterances {limits}",
            )
        )
    return kept


def shortest_duration(extractor, frames, sample_rate=SAMPLE_RATE):
    """Shortest audio that yields a given number of encoder frames.

    Arguments
    ---------
    extractor : speechbrain_llsa.nnet.frontend.StreamingLatentExtractor
        The front end.
    frames : int
        Number of frames, at least 1.
    sample_rate : int
        Samples per second.

    Returns
    -------
    float
        The duration in seconds.

    Example
    -------
    >>> from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
    >>> extractor = StreamingLatentExtractor(out_channels=[4] * 7)
    >>> shortest_duration(extractor, 2)
    0.0600625
    """
    samples = extractor.receptive_field_samples - extractor.padding_samples
    samples += (frames - 1) * extractor.stride_samples
    return samples / sample_rate


class ShortFirstBatchSampler(DynamicBatchSampler):
    """SpeechBrain's batches of similar lengths, sorted from short to long in
    the first epochs: a model learns to align short utterances first.

    This is SortaGrad of Amodei et al., "Deep Speech 2", arXiv 1512.02595,
    section 3.2. Arguments are those of ``DynamicBatchSampler``, and:

    Arguments
    ---------
    sorted_epochs : int
        Epochs, counted from 1, whose batches go from short to long. Later
        epochs have a random order.
    fingerprint : str, optional
        Digest of everything but the epoch that determines the batches.
    """

    def __init__(self, *args, sorted_epochs=0, fingerprint=None, **kwargs):
        self.sorted_epochs = sorted_epochs
        self.fingerprint = fingerprint
        super().__init__(*args, **kwargs)

    def _permute_batches(self):
        is_sorted = 1 <= self._epoch <= self.sorted_epochs
        self._batch_ordering = "ascending" if is_sorted else "random"
        super()._permute_batches()


class RankBatchSampler(DistributedSamplerWrapper):
    """The batches of one rank: every n-th of n ranks, in the order of the
    sampler.

    SpeechBrain's own wrapper shuffles, so that no epoch would go from short to
    long utterances, and splits a single batch of a rank into its rows. All
    ranks get equally many batches: if the number does not divide evenly, the
    first batches are repeated.

    Arguments
    ---------
    sampler : iterable of list of int
        Yields the batches of all ranks.
    **options : dict
        ``num_replicas`` and ``rank``, as for ``DistributedSampler``, which
        by default asks the process group.

    Example
    -------
    >>> batches = [[0], [1, 2], [3]]
    >>> list(RankBatchSampler(batches, num_replicas=2, rank=1))
    [[1, 2], [0]]
    """

    def __init__(self, sampler, **options):
        super().__init__(sampler, shuffle=False, **options)

    def __iter__(self):
        batches = list(self.sampler)
        dealt = itertools.islice(itertools.cycle(batches), self._padded_count())
        return itertools.islice(dealt, self.rank, None, self.num_replicas)

    def __len__(self):
        return self._padded_count() // self.num_replicas

    def _padded_count(self):
        count = len(self.sampler)
        return count + -count % self.num_replicas


def even_boundaries(durations, num_buckets):
    """Divides durations into buckets that are evenly spaced on a logarithmic
    scale.

    However the durations are distributed, padding makes up less than
    ``1 - (shortest / longest) ** (1 / n)`` of a batch from one of n buckets,
    and typically about half of that. SpeechBrain's own boundaries follow an
    assumed distribution, up to the duration of a batch: where utterances are
    much shorter than a batch, nearly all of them fall into few buckets.

    Arguments
    ---------
    durations : list of float
        Duration of each utterance in seconds, above 0.
    num_buckets : int
        Number of buckets, at least 1.

    Returns
    -------
    list of float
        The longest duration of each bucket, ascending; fewer than
        ``num_buckets`` if all durations are equal.

    Raises
    ------
    ValueError
        If ``num_buckets`` is below 1.

    Example
    -------
    >>> [round(limit, 3) for limit in even_boundaries([8.0, 1.0, 2.0], 3)]
    [2.0, 4.0, 8.0]
    """
    if num_buckets < 1:
        raise ValueError(must_be("num_buckets", "at least 1", num_buckets))
    shortest, longest = min(durations), max(durations)
    boundaries = {
        shortest * (longest / shortest) ** (bucket / num_buckets)
        for bucket in range(1, num_buckets)
    }
    return [*sorted(limit for limit in boundaries if limit < longest), longest]


def train_loader_options(
    dataset, seed, num_buckets, num_workers=0, **sampler_options
):
    """Options of a loader of batches of similar lengths, for ``Brain.fit``.

    Arguments
    ---------
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
        The utterances, with ``duration`` in seconds.
    seed : int
        Determines the batches and their order, together with the epoch.
    num_buckets : int
        Number of buckets, divided by :func:`even_boundaries`; a batch comes
        from a single one. More buckets mean less padding, but more batches
        that are not full.
    num_workers : int
        Processes that read files; 0 reads in the training process.
    **sampler_options
        For ``ShortFirstBatchSampler``: ``max_batch_length`` (seconds of a
        batch, including padding), ``sorted_epochs`` and others.

    Returns
    -------
    dict
        For ``Brain.fit(train_loader_kwargs=...)``. ``StreamingBrain`` sets
        the epoch of the batch sampler and of the generator.
    """
    durations = [dataset.data[name]["duration"] for name in dataset.data_ids]
    batch_settings = {
        "lengths_list": durations,
        "bucket_boundaries": even_boundaries(durations, num_buckets),
        "seed": seed,
        **sampler_options,
    }
    sampler = ShortFirstBatchSampler(
        dataset,
        **batch_settings,
        fingerprint=digest(
            json.dumps(
                [dataset.data_ids, batch_settings], sort_keys=True
            ).encode()
        ),
    )
    return {
        "batch_sampler": sampler,
        "collate_fn": UtteranceBatch,
        "num_workers": num_workers,
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator(),
    }


def valid_loader_options(batch_size, num_workers=0):
    """Options of a loader that yields every utterance once, in order.

    Arguments
    ---------
    batch_size : int
        Utterances per batch.
    num_workers : int
        Processes that read files.

    Returns
    -------
    dict
        For ``Brain.fit(valid_loader_kwargs=...)`` or ``Brain.evaluate``.
    """
    return {
        "batch_size": batch_size,
        "collate_fn": UtteranceBatch,
        "num_workers": num_workers,
        "pin_memory": torch.cuda.is_available(),
    }
