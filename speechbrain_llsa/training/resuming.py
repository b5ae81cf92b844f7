"""Whether an epoch that was interrupted goes on where it stopped."""


def why_anew(before, now):
    """Says why an epoch cannot go on: its batches are dealt otherwise, so that
    some utterances would come twice, and others not at all.

    Arguments
    ---------
    before : dict
        What dealt the batches when the checkpoint was saved: ``ranks``, how
        many, and ``batches``, the fingerprint of their sampler. What is
        missing or ``None``, as in checkpoints of earlier versions, does not
        count.
    now : dict
        What deals them now.

    Returns
    -------
    str or None
        ``None`` if it goes on.

    Example
    -------
    >>> why_anew({"ranks": 1}, {"ranks": 2})
    'it was begun on 1 ranks, and there are 2 now'
    """
    reasons = []
    if before.get("ranks") not in (None, now["ranks"]):
        reasons.append(
            f"it was begun on {before['ranks']} ranks, and there are "
            f"{now['ranks']} now"
        )
    if None not in (before.get("batches"), now.get("batches")) and (
        before["batches"] != now["batches"]
    ):
        reasons.append(
            "it was begun with other utterances, or other options of batches"
        )
    return "; ".join(reasons) or None
