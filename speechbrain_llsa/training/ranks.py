"""What the ranks of a distributed training do together.

A rank that fails alone leaves the others waiting for it. Here all of them
learn of an error, and raise it.
"""

import torch
from speechbrain.utils.distributed import run_on_main
from torch import distributed

from speechbrain_llsa.utils.distributed import rank_count, sum_over_ranks


def on_main(function, *arguments, **options):
    """Calls a function on the main process alone; all ranks get its result or
    its error. Every rank must call it.

    As SpeechBrain's ``run_on_main``, where ranks wait for ever if the function
    raises.

    Arguments
    ---------
    function : callable
        What to call. Its result and its errors can be pickled.
    *arguments : tuple
        For the function.
    **options : dict
        For the function.

    Returns
    -------
    object
        What it gives.

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
    """Puts the faults that all ranks have found together: every rank must call
    it.

    Arguments
    ---------
    faults : dict of str to str
        What is wrong, by name, as this rank has found it.

    Returns
    -------
    dict of str to str
        The same on all ranks.

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
