"""Bad utterances: either skipped and counted, or an error.

The YAML file's entry ``on_bad_utterance`` decides. An utterance is bad if its
audio file cannot be read, does not have the duration of its manifest or holds
non-finite samples; for CTC also if it has no transcript, or one with more units
than the audio has frames for; and if its loss is not finite.
"""

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.logger import get_logger

from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.errors import must_be

logger = get_logger(__name__)


class BadUtteranceError(ValueError):
    """Raised for an utterance that cannot be used."""


class BadUtterances:
    """Handles bad utterances as ``on_bad_utterance`` says.

    Arguments
    ---------
    on_bad_utterance : str
        "skip" leaves them out, logs each by name once and counts them; "error"
        raises an error that names the first.

    Raises
    ------
    ValueError
        If ``on_bad_utterance`` is something else.

    Example
    -------
    >>> bad_utterances = BadUtterances("skip")
    >>> bad_utterances.report({"1-2-0001 (a.flac)": "has no transcript"})
    1
    >>> BadUtterances("error").report({"1-2-0001 (a.flac)": "is empty"})
    Traceback (most recent call last):
    ...
    speechbrain_llsa.training.bad_utterances.BadUtteranceError: utterances \
must be good ones unless on_bad_utterance is 'skip', got 1-2-0001 (a.flac), \
which is empty
    """

    def __init__(self, on_bad_utterance="skip"):
        if on_bad_utterance not in ("skip", "error"):
            raise ValueError(
                must_be(
                    "on_bad_utterance",
                    "'skip' or 'error'",
                    repr(on_bad_utterance),
                )
            )
        self.on_bad_utterance = on_bad_utterance
        self.named = set()

    def report(self, faults):
        """Names bad utterances, each once, or raises.

        Arguments
        ---------
        faults : dict of str to str
            What is wrong, by the name of the utterance.

        Returns
        -------
        int
            Number of utterances left out.

        Raises
        ------
        BadUtteranceError
            If they are not to be skipped.
        """
        for name, fault in faults.items():
            if self.on_bad_utterance == "error":
                raise BadUtteranceError(
                    "utterances must be good ones unless on_bad_utterance is "
                    f"'skip', got {name}, which {fault}"
                )
            if name not in self.named:
                self.named.add(name)
                logger.warning(f"Leaving out utterance {name}: it {fault}")
        return len(faults)

    def keep_good(self, dataset, fault_of):
        """Removes bad utterances from a dataset before any audio is read.

        Arguments
        ---------
        dataset : speechbrain.dataio.dataset.DynamicItemDataset
            The utterances, with ``wav``; its ``data_ids`` are changed in place.
        fault_of : callable
            Takes the manifest columns of an utterance, a dict; returns what is
            wrong with it, or ``None``.

        Returns
        -------
        speechbrain.dataio.dataset.DynamicItemDataset
            The dataset that was passed.

        Raises
        ------
        ValueError
            If no good utterance remains.
        """
        faults = {
            identity: fault_of(dataset.data[identity])
            for identity in dataset.data_ids
        }
        left_out = self.report(
            {
                name_of(identity, dataset.data[identity]["wav"]): fault
                for identity, fault in faults.items()
                if fault is not None
            }
        )
        total = len(dataset)
        dataset.data_ids = [
            identity
            for identity in dataset.data_ids
            if faults[identity] is None
        ]
        if left_out:
            logger.warning(f"Left out {left_out} of {total} utterances")
        if not dataset.data_ids:
            raise ValueError(
                f"dataset must have a good utterance, got {total}, of which "
                "the log says one by one what is wrong"
            )
        return dataset


class UtteranceBatch(PaddedBatch):
    """SpeechBrain's padded batch, made of the good utterances only.

    Arguments
    ---------
    items : list of dict
        Utterances with ``id``, ``wav``, ``sig`` and ``fault``, as datasets of
        ``training_data.load_manifests`` give them.

    Attributes
    ----------
    faults : dict of str to str
        What is wrong with the utterances that were left out, by name.
    is_empty : bool
        Whether no utterance is good. The batch then holds an utterance of
        noise, because distributed ranks must run the model in lockstep; it must
        not count.

    Example
    -------
    >>> batch = UtteranceBatch(
    ...     [
    ...         {"id": "a", "wav": "a.flac", "sig": torch.ones(9), "fault": ""},
    ...         {
    ...             "id": "b",
    ...             "wav": "b.flac",
    ...             "sig": torch.ones(0),
    ...             "fault": "is empty",
    ...         },
    ...     ]
    ... )
    >>> batch.id, batch.faults
    (['a'], {'b (b.flac)': 'is empty'})
    """

    def __init__(self, items):
        good = [item for item in items if not item["fault"]]
        self.faults = {
            name_of(item["id"], item["wav"]): item["fault"]
            for item in items
            if item["fault"]
        }
        self.is_empty = not good
        if self.is_empty:
            generator = torch.Generator().manual_seed(0)
            noise = torch.rand(SAMPLE_RATE, generator=generator) - 0.5
            good = [{**items[0], "sig": noise}]
        super().__init__(good)

    @property
    def good_count(self):
        """Number of utterances that count."""
        return 0 if self.is_empty else len(self)

    @property
    def names(self):
        """Names of the utterances that count, with their files."""
        if self.is_empty:
            return []
        return list(map(name_of, self.id, self.wav))


def name_of(identity, path):
    """Names an utterance for logs and errors.

    Arguments
    ---------
    identity : str
        Its ID.
    path : str
        Its audio file.

    Returns
    -------
    str
    """
    return f"{identity} ({path})"
