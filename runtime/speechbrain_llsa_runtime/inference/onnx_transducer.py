"""A streaming transducer as ONNX Runtime runs its encoder, and NumPy the
rest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from safetensors import SafetensorError
from safetensors.numpy import load_file

from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.decoders.transducer import (
    TransducerGreedySearch,
    TransducerWeights,
)
from speechbrain_llsa_runtime.inference.onnx_model import OnnxCTC
from speechbrain_llsa_runtime.step_clock import StepClock
from speechbrain_llsa_runtime.utils.checksums import file_checksum
from speechbrain_llsa_runtime.utils.errors import reason


class OnnxTransducer(OnnxCTC):
    """A streaming transducer: a graph that gives projected frames, and the
    weights of predictor and joiner.

    Arguments
    ---------
    path : str or pathlib.Path
        The graph of a step.
    clock : StepClock
        Where its steps lie.
    weights : TransducerWeights
        Predictor and joiner.
    max_symbols : int
        Labels that a frame may yield.
    threads : int, optional
        As for ``OnnxCTC``.
    rows_share_ranges : bool
        The same.

    Raises
    ------
    ImportError
        If ONNX Runtime is not installed.
    ValueError
        If the graph is damaged, or is not of such a step.
    """

    OUTPUTS: ClassVar = ("frames", "provisional_frames")
    gives_labels = False

    def __init__(
        self,
        path: str | Path,
        clock: StepClock,
        weights: TransducerWeights,
        max_symbols: int,
        threads: int | None = None,
        rows_share_ranges: bool = False,
    ) -> None:
        super().__init__(
            path, clock, weights.features, threads, rows_share_ranges
        )
        self.labels = weights.labels
        self._search = TransducerGreedySearch(weights, max_symbols)
        digest = hashlib.sha256(super().fingerprint().encode())
        for array in vars(weights).values():
            digest.update(repr(array.shape).encode() + array.tobytes())
        self._fingerprint = digest.hexdigest()

    def greedy_search(self) -> Search:
        """The search for sessions that name none."""
        return self._search

    def fingerprint(self) -> str:
        """A digest of the graph, its clock, predictor and joiner."""
        return self._fingerprint


def load_decoder(path: Path, checksum: str) -> TransducerWeights:
    """Loads predictor and joiner of an exported folder.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    checksum : str
        Its SHA-256.

    Returns
    -------
    TransducerWeights

    Raises
    ------
    ValueError
        If the file is damaged, or another one.
    """
    if file_checksum(path) != checksum:
        raise ValueError(
            f"{path.name} is damaged, or is not the file that model.json "
            "describes: its SHA-256 is another"
        )
    try:
        return TransducerWeights.from_tensors(load_file(path))
    # the last two of safetensors, for types that NumPy has not
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} is damaged: {reason(error)}") from error
