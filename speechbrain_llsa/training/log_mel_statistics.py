"""Measures, before training, the statistics by which log-mel energies are
normalised."""

from speechbrain.utils.logger import get_logger

from speechbrain_llsa.nnet.log_mel_front_end import LogMelFrontEnd
from speechbrain_llsa.training.shard_batches import ShardedDataset
from speechbrain_llsa_runtime.utils.checks import check_integer

logger = get_logger(__name__)

UTTERANCES = 300
"""Utterances that are enough: of read speech about an hour."""


def measure_statistics(front_end, dataset, utterances=UTTERANCES):
    """Measures them over utterances that are evenly spaced in the data, unless
    they are known: a front end that begins with trained weights has theirs.

    No random number is drawn, so that all ranks measure the same, and a
    training that is resumed goes on as it was.

    Arguments
    ---------
    front_end : torch.nn.Module
        The front end. One that normalises by no statistics is left alone.
    dataset : speechbrain.dataio.dataset.DynamicItemDataset or ShardedDataset
        The training utterances, with ``sig`` and ``fault``, which is empty for
        those that can be read.
    utterances : int
        How many are read at most.

    Raises
    ------
    TypeError
        If the number is not an integer.
    ValueError
        If it is below 1, or no utterance can be read.

    Example
    -------
    >>> import torch
    >>> from speechbrain.dataio.dataset import DynamicItemDataset
    >>> dataset = DynamicItemDataset(
    ...     {"a": {"sig": torch.randn(16000), "fault": ""}}
    ... )
    >>> dataset.set_output_keys(["sig", "fault"])
    >>> front_end = LogMelFrontEnd()
    >>> measure_statistics(front_end, dataset)
    >>> front_end.is_measured
    True
    """
    check_integer("statistics_utterances", utterances, 1)
    if not isinstance(front_end, LogMelFrontEnd) or front_end.is_measured:
        return
    numbers = range(len(dataset))
    if isinstance(dataset, ShardedDataset):
        numbers = dataset.index.used
    count = min(utterances, len(numbers))
    with dataset.output_keys_as(["sig", "fault"]):
        items = (
            dataset[int(numbers[i * len(numbers) // count])]
            for i in range(count)
        )
        front_end.measure(item["sig"] for item in items if not item["fault"])
    logger.info(
        f"Log-mel energies: statistics of {int(front_end.log_mel.measured)} "
        f"frames of {count} utterances"
    )
