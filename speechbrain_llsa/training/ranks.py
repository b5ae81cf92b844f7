"""Collective operations of distributed training that survive errors.

A rank that fails alone leaves the others waiting for it. Here an error reaches
all ranks, and all raise it.
"""

import torch
from speechbrain.utils.distributed import run_on_main
from torch import distributed

from speechbrain_llsa.utils.distributed import rank_count, sum_over_ranks
from speechbrain_llsa_runtime.utils.errors import must_be


def on_main(function, *arguments, **options):
    """Calls a function on the main process only; all ranks get its result or
    its error. Every rank must call this.

    Like SpeechBrain's ``run_on_main``, which hangs all other ranks if the
    function raises.

    Arguments
    ---------
    function : callable
        The function. Its result and its errors must be picklable.
    *arguments : tuple
        For the function.
    **options : dict
        For the function.

    Returns
    -------
    object
        The result of the function.

    Example
    -------
    >>> on_main(max, 1, 2)
    2
    """

    def call():
        try:
            return function(*arguments, **options), None
        except Exception as error:
            return None, error

    result, error = run_on_main(call)
    if error is not None:
        raise error
    return result


def join_faults(faults):
    """Merges the faults found on all ranks. Every rank must call this.

    Arguments
    ---------
    faults : dict
        Faults found on this rank, by name of the utterance or shard.

    Returns
    -------
    dict
        The faults of all ranks, identical on each.

    Example
    -------
    >>> join_faults({"1-2-0001 (a.flac)": "is empty"})
    {'1-2-0001 (a.flac)': 'is empty'}
    """
    if rank_count() == 1:
        return faults
    if not sum_over_ranks(torch.tensor(float(len(faults)))):
        return {}
    found = [None] * rank_count()
    distributed.all_gather_object(found, faults)
    return {name: fault for rank in found for name, fault in rank.items()}


def check_same_on_ranks(name, read):
    """Rejects a value that differs between ranks, on all of them. Every rank
    must call this.

    Arguments
    ---------
    name : str
        What it is, for the message.
    read : callable
        Gives its value on this rank, a string; called where there are several.

    Raises
    ------
    ValueError
        If it differs.

    Example
    -------
    >>> check_same_on_ranks("shards", lambda: "0123")
    """
    if rank_count() == 1:
        return
    found = [None] * rank_count()
    distributed.all_gather_object(found, read())
    if len(set(found)) > 1:
        raise ValueError(
            must_be(name, "the same on all ranks", f"{len(set(found))} kinds")
        )
