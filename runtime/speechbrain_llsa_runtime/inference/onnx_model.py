"""A streaming model as ONNX Runtime runs it, without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa_runtime.decoders.greedy import GreedySearch
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.geometry import (
    StreamGeometry,
    TrainedGeometries,
)
from speechbrain_llsa_runtime.inference.onnx_graph import OnnxGraph
from speechbrain_llsa_runtime.latency import LatencyReport
from speechbrain_llsa_runtime.model_folder.description import MODEL_FILE
from speechbrain_llsa_runtime.snapshot import blank_array
from speechbrain_llsa_runtime.step_clock import NEVER, StepClock, StepCursor

LARGEST_STATE = 1 << 28
"""Numbers that the state of one stream may hold."""


@dataclass
class OnnxState:
    """What a model remembers of one stream. Arrays are replaced, never
    written to, so that a fork costs nothing."""

    tensors: tuple[NDArray[np.float32], ...]
    """The state of the graph, one array for each name."""

    pending: NDArray[np.float32]
    """Samples that do not fill a step yet, (samples,). They begin with the
    silence before the utterance."""

    samples: int = 0
    """Samples pushed since the utterance began."""

    steps: int = 0
    """Steps done."""

    ahead: NDArray[np.float32] | None = None
    """Log-probabilities of the frames ahead of the newest committed ones,
    (frames, labels). ``None`` before any frame is committed."""

    def fork(self) -> OnnxState:
        """An independent copy, which shares the arrays.

        Returns
        -------
        OnnxState
        """
        return replace(self)


class OnnxCTC:
    """A streaming CTC model as ONNX Runtime runs it; it serves any number of
    sessions. Of a transducer, which is a subclass, it is all but predictor and
    joiner.

    Arguments
    ---------
    path : str or pathlib.Path
        The graph of a step.
    clock : StepClock
        Where its steps lie.
    labels : int
        Labels that it tells apart.
    threads : int, optional
        Threads that a step may use; as ONNX Runtime chooses by default.
        Never more than the CPUs that the process may use.
    rows_share_ranges : bool
        Whether the graph quantises the streams of a step together, so that
        what it gives for one depends on the others.

    Raises
    ------
    ImportError
        If ONNX Runtime is not installed.
    ValueError
        If the graph is damaged, or is not of such a step.
    """

    OUTPUTS: ClassVar = ("log_probs", "provisional_log_probs")
    """Names of the graph's outputs for committed and provisional frames."""

    gives_labels = True
    """Whether it gives log-probabilities of labels rather than projected
    frames."""

    def __init__(
        self,
        path: str | Path,
        clock: StepClock,
        labels: int,
        threads: int | None = None,
        rows_share_ranges: bool = False,
    ) -> None:
        self.clock = clock
        self.rows_share_ranges = rows_share_ranges
        self.labels = self.output_features = labels
        self._graph = OnnxGraph(
            path, threads, json.dumps(_identity(clock)).encode()
        )
        inputs, outputs = self._graph.inputs(), self._graph.outputs()
        names = [each.name for each in inputs[3:]]
        self._check(
            [each.name for each in inputs]
            == ["samples", "position", "end", *names]
            and [each.name for each in outputs]
            == [
                *self.OUTPUTS,
                *(f"new_{name}" for name in names),
            ],
        )
        shapes = [each.shape[1:] for each in inputs[3:]]
        self._check(
            inputs[0].shape[1:] == [clock.step_samples]
            and outputs[0].shape[1:]
            == [clock.step_frames, self.output_features]
            and all(
                isinstance(size, int) and size > 0
                for shape in shapes
                for size in shape
            )
            and all(each.type == "tensor(float)" for each in inputs[3:])
            and sum(map(_product, shapes)) <= LARGEST_STATE,
        )
        self._ahead_shape = outputs[1].shape[1:]
        self._state_names = names
        self._initial = tuple(
            np.zeros([1, *shape], np.float32) for shape in shapes
        )
        self._check(self._ahead_shape[1:] == [self.output_features])
        silence = np.zeros((1, clock.step_samples), np.float32)
        self.run(silence, [clock.first_frame], [NEVER], self._initial)

    def _check(self, fits):
        if not fits:
            raise ValueError(
                f"folder must hold a graph as {MODEL_FILE} describes it, got "
                f"{self._graph.name} with other inputs or outputs"
            )

    @property
    def threads(self) -> int | None:
        """Threads that a step uses, or ``None`` where ONNX Runtime chose."""
        return self._graph.threads

    @property
    def geometries(self) -> TrainedGeometries:
        """The one geometry that the graph is of, as ``TrainedGeometries``."""
        return TrainedGeometries(*astuple(self.clock.geometry))

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.clock.frame_seconds

    @property
    def initial_state(self) -> tuple[NDArray[np.float32], ...]:
        """The state of a stream that begins, (1, ...) each."""
        return self._initial

    def greedy_search(self) -> Search:
        """The search for sessions that name none. As
        :meth:`speechbrain_llsa.lobes.ctc.StreamingCTC.greedy_search`."""
        return GreedySearch()

    def make_streaming_context(
        self, geometry: StreamGeometry | None = None
    ) -> OnnxState:
        """A fresh state for :meth:`stream`.

        Arguments
        ---------
        geometry : StreamGeometry, optional
            That of the graph.

        Returns
        -------
        OnnxState
        """
        self.geometries.check(geometry)
        silence = np.zeros(self.clock.leading_samples, np.float32)
        return OnnxState(self._initial, silence)

    def fingerprint(self) -> str:
        """A digest of the graph and its clock. As
        :meth:`speechbrain_llsa.lobes.ctc.StreamingCTC.fingerprint`."""
        return self._graph.digest

    def export_context(self, context: OnnxState) -> OnnxState:
        """What a state remembers, as arrays: the state itself."""
        return context

    def import_context(self, context: OnnxState) -> OnnxState:
        """The inverse of :meth:`export_context`: the state itself."""
        return context

    def context_form(
        self, samples: int, geometry: StreamGeometry | None = None
    ) -> OnnxState:
        """The form of the state of a stream that goes on. As
        :meth:`speechbrain_llsa.lobes.ctc.StreamingCTC.context_form`."""
        clock = self.clock
        total = clock.leading_samples + samples
        steps, pending = divmod(total, clock.step_samples)
        cursor = StepCursor(clock, steps, samples, ended=False)
        ahead = 0, self.output_features
        if steps and cursor.first_committed > 0:
            ahead = self._ahead_shape
        return OnnxState(
            tuple(blank_array(np.float32, *a.shape) for a in self._initial),
            blank_array(np.float32, pending),
            samples,
            steps,
            blank_array(np.float32, *ahead),
        )

    def latency_report(
        self, geometry: StreamGeometry | None = None
    ) -> LatencyReport:
        """The declared latency. As
        :meth:`speechbrain_llsa.lobes.ctc.StreamingCTC.latency_report`."""
        clock = self.clock
        return LatencyReport(
            clock.attention,
            self.geometries.check(geometry),
            clock.num_layers,
            clock.receptive_field_samples,
            clock.frame_seconds,
            clock.positional_look_ahead,
            clock.conv_look_ahead,
        )

    def committed_frames(self, context: OnnxState) -> int:
        """How many frames :meth:`stream` has committed. As
        :meth:`speechbrain_llsa.lobes.ctc.StreamingCTC.committed_frames`."""
        return max(0, self._cursor(context).first_committed)

    def stream(
        self,
        samples: NDArray[np.float32],
        context: OnnxState,
        final: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Transcribes the next samples of one stream. As
        :meth:`speechbrain_llsa.lobes.ctc.StreamingCTC.stream`."""
        clock, state = self.clock, context.fork()
        state.samples += len(samples)
        state.pending = np.concatenate([state.pending, samples])
        steps = len(state.pending) // clock.step_samples
        if final:
            steps = max(0, clock.steps_to_end(state.samples) - state.steps)
            silence = max(0, steps * clock.step_samples - len(state.pending))
            state.pending = np.pad(state.pending, (0, silence))
        committed = [np.zeros((0, self.output_features), np.float32)]
        for first in range(0, steps * clock.step_samples, clock.step_samples):
            step_samples = state.pending[first : first + clock.step_samples]
            committed.append(self._step(state, step_samples, final))
        state.pending = state.pending[steps * clock.step_samples :].copy()
        if final or state.ahead is None:
            state.ahead = committed[0]
        vars(context).update(vars(state))
        return np.concatenate(committed), state.ahead

    def _cursor(self, state, final=False):
        return StepCursor(self.clock, state.steps, state.samples, final)

    def _step(self, state, samples, final):
        """Runs one step: the log-probabilities of those committed frames that
        exist, (frames, labels)."""
        cursor = self._cursor(state, final)
        log_probs, ahead, tensors = self.run(
            samples[None], [cursor.position], [cursor.end], state.tensors
        )
        state.tensors = tensors
        state.steps += 1
        state.ahead = ahead[0, cursor.provisional]
        return log_probs[0, cursor.committed]

    def run(
        self,
        samples: NDArray[np.float32],
        positions: Sequence[int],
        ends: Sequence[int],
        state: Sequence[NDArray[np.float32]],
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float32],
        tuple[NDArray[np.float32], ...],
    ]:
        """Runs one step of several streams.

        Arguments
        ---------
        samples : numpy.ndarray
            The next samples of each, (streams, samples of a step).
        positions : list of int
            The first frame of the step, for each.
        ends : list of int
            The number of frames of each stream, ``NEVER`` if it goes on.
        state : sequence of numpy.ndarray
            Their states, (streams, ...) each.

        Returns
        -------
        numpy.ndarray
            Log-probabilities of the committed frames, (streams, frames,
            labels).
        numpy.ndarray
            Those of the frames ahead of them, (streams, frames, labels).
        tuple of numpy.ndarray
            Their new states.

        Raises
        ------
        ValueError
            If the graph gives something else.
        """
        feeds = {
            "samples": samples,
            "position": np.array(positions, np.int64),
            "end": np.array(ends, np.int64),
            **dict(zip(self._state_names, state, strict=True)),
        }
        outputs = self._graph.run(feeds)
        streams = len(samples)
        shapes = [
            (streams, self.clock.step_frames, self.output_features),
            (streams, *self._ahead_shape),
            *(part.shape for part in state),
        ]
        self._check([output.shape for output in outputs] == shapes)
        self._check(all(output.dtype == np.float32 for output in outputs))
        log_probs, ahead, *new = outputs
        return log_probs, ahead, tuple(new)


def _identity(clock: StepClock) -> tuple[Any, ...]:
    """What a fingerprint knows of a clock: that of models without unusual
    entries is as it was before there were any."""
    unusual = unusual_entries(clock)
    identity = astuple(clock)[: -len(UNUSUAL)]
    if "positional_look_ahead" in unusual:
        # the first of them, which stood alone
        identity += (unusual.pop("positional_look_ahead"),)
    return identity + tuple(unusual.items())


UNUSUAL = ("positional_look_ahead", "conv_look_ahead", "padding_samples")
"""The last entries of a clock, which most models do not have: 0."""


def unusual_entries(clock: StepClock) -> dict[str, int]:
    """The entries of convolutions that see ahead, and of a front end that pads
    the utterance, where there are such."""
    entries = {name: getattr(clock, name) for name in UNUSUAL}
    return {name: value for name, value in entries.items() if value}


def _product(shape):
    product = 1
    for size in shape:
        product *= size
    return product
