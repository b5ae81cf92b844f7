"""Snapshots taken apart and put together, for tests of untrusted ones."""

import hashlib
import json

import numpy as np
from safetensors.numpy import load, save

from speechbrain_llsa_runtime import snapshot as snapshots

WRONG = (
    *(-1, 0, 1, 5, 10**6, 2**62, 2**63, 10**30, 10**4000),
    *(True, False, 0.5, 1e300, float("nan"), float("inf")),
    *(None, "", "a", [], [1], {}, {"a": 1}),
)
"""What no counter, flag or text is by chance."""


def open_up(data):
    header = json.loads(data[8:][: int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["session"]), load(data)


def close_up(about, arrays, ensure_ascii=False):
    """Writes a snapshot with a right checksum, whatever is in it; as ASCII,
    half a character too."""
    about = {"checksum": snapshots.CHECKSUM_PLACEHOLDER, **about}
    about["checksum"] = snapshots.CHECKSUM_PLACEHOLDER
    metadata = {"session": json.dumps(about, ensure_ascii=ensure_ascii)}
    arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    data = save(arrays, metadata)
    checksum = hashlib.sha256(data).hexdigest().encode()
    return data.replace(snapshots.CHECKSUM_PLACEHOLDER.encode(), checksum, 1)
