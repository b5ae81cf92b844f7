"""Decides whether an interrupted epoch can continue where it stopped."""


def restart_reason(saved, current):
    """Says why an epoch must restart: with different batches, some utterances
    would be used twice and others not at all.

    Arguments
    ---------
    saved : dict
        What determined the batches when the checkpoint was saved: ``ranks``,
        their number, and ``batches``, the fingerprint of the sampler. A value
        that is missing or ``None``, as in checkpoints of earlier versions, is
        not compared.
    current : dict
        What determines them now.

    Returns
    -------
    str or None
        The reason; ``None`` if the epoch can continue.

    Example
    -------
    >>> restart_reason({"ranks": 1}, {"ranks": 2})
    'it was begun on 1 ranks, and there are 2 now'
    """
    reasons = []
    if saved.get("ranks") not in (None, current["ranks"]):
        reasons.append(
            f"it was begun on {saved['ranks']} ranks, and there are "
            f"{current['ranks']} now"
        )
    if None not in (saved.get("batches"), current.get("batches")) and (
        saved["batches"] != current["batches"]
    ):
        reasons.append(
            "it was begun with other utterances, or other options of batches"
        )
    return "; ".join(reasons) or None
