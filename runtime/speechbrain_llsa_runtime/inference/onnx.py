"""Streaming speech recognition without PyTorch: NumPy and ONNX Runtime.

A folder written by ``python -m speechbrain_llsa export`` holds the graph of
one step of fixed shapes
(:class:`speechbrain_llsa.lobes.streaming_step.StreamingStep`) and
``model.json``, which says everything else. Nothing in it is executed but the
operators of the graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.geometry import (
    SAMPLE_RATE,
    StreamGeometry,
    TrainedGeometries,
)
from speechbrain_llsa_runtime.inference.onnx_graph import (
    OnnxGraph,
    check_runtime,
)
from speechbrain_llsa_runtime.inference.recognizer import StreamingRecognizer
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.latency import LatencyReport
from speechbrain_llsa_runtime.model_folder.description import (
    FORMAT,
    FORMAT_VERSION,
    MODEL_FILE,
    describe_missing,
    read_description,
)
from speechbrain_llsa_runtime.model_folder.shipped import find_model
from speechbrain_llsa_runtime.snapshot import blank_array
from speechbrain_llsa_runtime.step_clock import NEVER, StepClock, StepCursor
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.errors import must_be, reason

OLDEST_RUNTIME = "1.14"
"""The first onnxruntime that knows the opset of the graphs that are written.
``model.json`` says it, so that the graphs may change."""

PRECISIONS = ("int8", "fp32")
"""The graphs that a folder may hold, best first."""

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
    sessions.

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

    Raises
    ------
    ImportError
        If ONNX Runtime is not installed.
    ValueError
        If the graph is damaged, or is not of such a step.
    """

    def __init__(
        self,
        path: str | Path,
        clock: StepClock,
        labels: int,
        threads: int | None = None,
    ) -> None:
        self.clock = clock
        self.labels = labels
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
                "log_probs",
                "provisional_log_probs",
                *(f"new_{name}" for name in names),
            ],
        )
        shapes = [each.shape[1:] for each in inputs[3:]]
        self._check(
            inputs[0].shape[1:] == [clock.step_samples]
            and outputs[0].shape[1:] == [clock.step_frames, labels]
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
        self._check(self._ahead_shape[1:] == [labels])
        silence = np.zeros(clock.step_samples, np.float32)
        self._run(silence, clock.first_frame, NEVER, self._initial)

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
        ahead = 0, self.labels
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
        committed = [np.zeros((0, self.labels), np.float32)]
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
        log_probs, ahead, *tensors = self._run(
            samples, cursor.position, cursor.end, state.tensors
        )
        state.tensors = tuple(tensors)
        state.steps += 1
        state.ahead = ahead[0, cursor.provisional]
        return log_probs[0, cursor.committed]

    def _run(self, samples, position, end, tensors):
        """What the graph gives for one row, of the shapes that it declares."""
        feeds = {
            "samples": samples[None],
            "position": np.array([position], np.int64),
            "end": np.array([end], np.int64),
            **dict(zip(self._state_names, tensors, strict=True)),
        }
        outputs = self._graph.run(feeds)
        shapes = [
            (1, self.clock.step_frames, self.labels),
            (1, *self._ahead_shape),
            *(tensor.shape for tensor in tensors),
        ]
        self._check([output.shape for output in outputs] == shapes)
        self._check(all(output.dtype == np.float32 for output in outputs))
        return outputs


class OnnxStreamingASR(StreamingRecognizer):
    """Streaming speech recognition from an exported folder.

    It can be sent to another process, which opens the graph in the folder
    anew: so the folder stays where it is.

    Arguments
    ---------
    model : OnnxCTC
        The model.
    text_decoder : PieceDecoder
        Turns its labels into text.
    endpointer : Endpointer, optional
        Where segments close, if a session does not say.
    word_offsets : WordOffsets, optional
        Where words begin and end, relative to the frames of their labels.

    Example
    -------
    >>> asr = OnnxStreamingASR.from_folder("exported")  # doctest: +SKIP
    >>> session = asr.session()  # doctest: +SKIP
    >>> session.push(samples, sample_rate=44100).committed  # doctest: +SKIP
    'HELLO '
    >>> session.finish().committed  # doctest: +SKIP
    'WORLD'
    """

    def __init__(
        self,
        model: OnnxCTC,
        text_decoder: PieceDecoder,
        endpointer: Endpointer | None = None,
        word_offsets: WordOffsets | None = None,
    ) -> None:
        self.model = model
        self.text_decoder = text_decoder
        self.endpointer = endpointer
        self.word_offsets = word_offsets

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        precision: str | None = None,
        threads: int | None = None,
    ) -> OnnxStreamingASR:
        """Loads what ``python -m speechbrain_llsa export`` wrote.

        Arguments
        ---------
        folder : str or pathlib.Path
            The folder, or the name of a model that ships with this package.
        precision : str, optional
            "fp32" or "int8"; by default int8 where the folder has it.
        threads : int, optional
            Threads that a step may use; as ONNX Runtime chooses by default.
            Never more than the CPUs that the process may use.

        Returns
        -------
        OnnxStreamingASR

        Raises
        ------
        FileNotFoundError
            If the folder, or a file in it, does not exist.
        ImportError
            If ONNX Runtime is not installed, or too old for the graph.
        ValueError
            If a file in it is damaged, or the folder has no such graph.
        """
        folder = Path(find_model(folder))
        description = read_exported(folder)
        graphs = description["graphs"]
        check_runtime(description["onnxruntime"])
        if precision is None:
            precision = next(name for name in PRECISIONS if name in graphs)
        if precision not in graphs:
            raise ValueError(
                must_be(
                    "precision",
                    f"one of {', '.join(graphs)} for this folder",
                    repr(precision),
                )
            )
        if threads is not None and (
            not isinstance(threads, int) or not 1 <= threads <= 1024
        ):
            raise ValueError(
                must_be("threads", "an integer of 1 to 1024", repr(threads))
            )
        model = OnnxCTC(
            folder / graphs[precision],
            _clock(description),
            len(description["pieces"]),
            threads,
        )
        decoder = PieceDecoder(
            description["pieces"], description["first_pieces"]
        )
        return cls(model, decoder, *_options(description))

    def session(
        self,
        snapshot: bytes | None = None,
        hop: int | None = None,
        look_ahead: int | None = None,
        search: Search | None = None,
        endpointer: Endpointer | Literal[False] | None = None,
        channel: int | None = None,
    ) -> Session:
        """Begins a session: one live stream.

        Arguments
        ---------
        snapshot : bytes, optional
            What ``Session.snapshot`` gave: the session goes on from there.
        hop : int, optional
            As for ``StreamingASR.session``; a graph has one.
        look_ahead : int, optional
            The same.
        search : GreedySearch or BeamSearch, optional
            Made with this object's ``text_decoder``. Greedy by default; a
            beam search needs PyTorch.
        endpointer : Endpointer or bool, optional
            Says where segments close; ``False`` for nowhere, so that the
            stream is one segment. By default the model's own, which is the
            attribute ``endpointer``.
        channel : int, optional
            Which channel of the audio is taken, counted from 0. By default
            the mean of all.

        Returns
        -------
        Session

        Raises
        ------
        TypeError
            If an argument is of another type.
        ValueError
            If the graph is of another ``hop`` or ``look_ahead``, or if the
            snapshot is damaged, of another model or of another version.
        """
        return self._session(
            snapshot, hop, look_ahead, search, endpointer, channel
        )


def describe(
    clock: StepClock,
    state_shapes: Mapping[str, Sequence[int]],
    text_decoder: PieceDecoder,
    graphs: Mapping[str, str],
    endpointer: Endpointer | None = None,
    word_offsets: WordOffsets | None = None,
) -> dict[str, Any]:
    """What ``model.json`` says: everything that a runtime needs.

    Arguments
    ---------
    clock : StepClock
        Where the steps lie.
    state_shapes : dict
        Shape of each state tensor without its batch axis, by name.
    text_decoder : PieceDecoder
        The text of the labels.
    graphs : dict
        File of each precision.
    endpointer : Endpointer, optional
        Where segments close.
    word_offsets : WordOffsets, optional
        Where words begin and end, relative to the frames of their labels.

    Returns
    -------
    dict
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "onnxruntime": OLDEST_RUNTIME,
        "kind": "onnx",
        "graphs": graphs,
        "sample_rate": SAMPLE_RATE,
        "attention": clock.attention,
        "look_back": clock.geometry.look_back,
        "look_ahead": clock.geometry.look_ahead,
        "hop": clock.geometry.hop,
        "num_layers": clock.num_layers,
        "step_frames": clock.step_frames,
        "receptive_field_samples": clock.receptive_field_samples,
        "stride_samples": clock.stride_samples,
        **_positional(clock),
        **_derived(clock),
        "never": NEVER,
        "blank_index": 0,
        "state": [
            {"name": name, "shape": ["batch", *shape], "type": "float32"}
            for name, shape in state_shapes.items()
        ],
        "pieces": text_decoder.pieces,
        "first_pieces": text_decoder.first_pieces,
        "endpointer": endpointer and endpointer.to_dict(),
        "word_offsets": asdict(word_offsets or WordOffsets()),
    }


def read_exported(folder: str | Path) -> dict[str, Any]:
    """Reads and checks the ``model.json`` of an exported folder.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist.
    ValueError
        If the file is damaged, or of another kind, format or version.
    """
    folder = Path(folder)
    path = folder / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(
            must_be(
                "folder",
                "an exported model",
                f"{str(folder)!r}, {describe_missing(folder)}",
            )
        )
    try:
        description = read_description(path, ("onnx",))
        _check_derived(description)
    except (TypeError, ValueError) as error:
        raise ValueError(
            must_be(
                "folder",
                "an exported model",
                f"{str(folder)!r}: {reason(error)}",
            )
        ) from error
    for name in description["graphs"].values():
        if not (folder / name).is_file():
            raise FileNotFoundError(
                must_be(
                    "folder",
                    "a complete exported model",
                    f"{str(folder)!r}, which holds no {name}",
                )
            )
    return description


def _derived(clock):
    """What follows from a clock, for runtimes of other languages."""
    return {
        "step_samples": clock.step_samples,
        "leading_samples": clock.leading_samples,
        "first_frame": clock.first_frame,
        "delay_frames": clock.delay_frames,
    }


def _check_derived(description):
    for name, expected in _derived(_clock(description)).items():
        if description[name] != expected:
            raise ValueError(must_be(name, str(expected), description[name]))


def _options(description):
    """Endpointer, which may be ``None``, and word offsets."""
    rules = description["endpointer"]
    return (
        None if rules is None else Endpointer(**rules),
        WordOffsets(**description["word_offsets"]),
    )


def _identity(clock: StepClock) -> tuple[Any, ...]:
    """What a fingerprint knows of a clock: that of models without a positional
    look-ahead is as it was before there were any."""
    *others, _ = astuple(clock)
    return (*others, *_positional(clock).values())


def _positional(clock: StepClock) -> dict[str, int]:
    """The entry of models with a positional convolution that sees ahead."""
    if not clock.positional_look_ahead:
        return {}
    return {"positional_look_ahead": clock.positional_look_ahead}


def _clock(description):
    return StepClock(
        description["attention"],
        StreamGeometry(
            description["look_back"],
            description["look_ahead"],
            description["hop"],
        ),
        description["num_layers"],
        description["step_frames"],
        description["receptive_field_samples"],
        description["stride_samples"],
        description.get("positional_look_ahead", 0),
    )


def _product(shape):
    product = 1
    for size in shape:
        product *= size
    return product
