"""Samples from the outside, checked and made mono. Needs NumPy alone."""

import numpy as np

MAX_CHANNELS = 8
"""More than this many columns are taken for samples in the wrong place."""

SCALES = {"float32": 1, "float64": 1, "int16": 1 << 15, "int32": 1 << 31}
"""The formats that samples may have, and their full scale, which becomes
1.0."""


def mono_samples(samples):
    """Checks samples and mixes their channels.

    Arguments
    ---------
    samples : torch.Tensor or numpy.ndarray
        float32, float64, int16 or int32; (samples,), or (samples, channels)
        with at most 8 channels. Integers are divided by their full scale.

    Returns
    -------
    numpy.ndarray
        float32 (samples,): the mean of the channels.

    Raises
    ------
    TypeError
        If it is something else, or of another type.
    ValueError
        If it has another shape, or samples are not finite.

    Example
    -------
    >>> mono_samples(np.array([[16384, 0], [0, 0]], dtype=np.int16))
    array([0.25, 0.  ], dtype=float32)
    """
    name = str(getattr(samples, "dtype", type(samples).__name__))
    kind = name.removeprefix("torch.")
    # a tensor, recognised without importing PyTorch
    if kind in SCALES and hasattr(samples, "detach"):
        samples = samples.detach().cpu().numpy()
    if kind not in SCALES or not isinstance(samples, np.ndarray):
        if isinstance(samples, np.ndarray):
            name = f"an array of {name}"
        raise TypeError(
            f"samples: got {name}, allowed is a torch.Tensor or numpy.ndarray "
            "of float32, float64, int16 or int32"
        )
    if samples.ndim not in (1, 2) or (
        samples.ndim == 2 and not 1 <= samples.shape[1] <= MAX_CHANNELS
    ):
        raise ValueError(
            f"samples: got shape {tuple(samples.shape)}, allowed is "
            f"(samples,), or (samples, channels) with 1 to {MAX_CHANNELS} "
            "channels"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        samples = (samples / SCALES[kind]).astype(np.float32)
    if not np.isfinite(samples).all():
        raise ValueError(
            "samples: got NaN or infinite numbers, allowed is finite ones"
        )
    return samples.mean(axis=1) if samples.ndim == 2 else samples
