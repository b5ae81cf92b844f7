"""Streaming speech recognition without PyTorch: NumPy and ONNX Runtime.

A folder written by ``python -m speechbrain_llsa export`` holds the graph of
one step of fixed shapes
(:class:`speechbrain_llsa.lobes.streaming_step.StreamingStep`) and
``model.json``, which says everything else. Nothing in it is executed but the
operators of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.geometry import (
    SAMPLE_RATE,
    StreamGeometry,
)
from speechbrain_llsa_runtime.inference.onnx_batcher import OnnxBatcher
from speechbrain_llsa_runtime.inference.onnx_graph import check_runtime
from speechbrain_llsa_runtime.inference.onnx_model import (
    UNUSUAL,
    OnnxCTC,
    unusual_entries,
)
from speechbrain_llsa_runtime.inference.onnx_transducer import (
    OnnxTransducer,
    load_decoder,
)
from speechbrain_llsa_runtime.inference.recognizer import StreamingRecognizer
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.inference.streaming_model import make_transcriber
from speechbrain_llsa_runtime.model_folder.description import (
    FORMAT,
    FORMAT_VERSION,
    MODEL_FILE,
    PRECISIONS,
    describe_missing,
    read_description,
)
from speechbrain_llsa_runtime.model_folder.shipped import find_model
from speechbrain_llsa_runtime.step_clock import NEVER, StepClock
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    resolve_endpointer,
)
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.errors import must_be, reason

OLDEST_RUNTIME = "1.14"
"""The first onnxruntime that knows the opset of the graphs that are written.
``model.json`` says it, so that the graphs may change."""


class OnnxStreamingASR(StreamingRecognizer):
    """Streaming speech recognition from an exported folder.

    It can be sent to another process, which opens the graph in the folder
    anew: so the folder stays where it is.

    Arguments
    ---------
    model : OnnxCTC or OnnxTransducer
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
            "fp32" or "int8", of those that the folder has; by default int8
            where it has both.
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
        check_runtime(description["onnxruntime"])
        graph = _chosen_graph(folder, description["graphs"], precision)
        if threads is not None and (
            not isinstance(threads, int) or not 1 <= threads <= 1024
        ):
            raise ValueError(
                must_be("threads", "an integer of 1 to 1024", repr(threads))
            )
        model = _load_model(folder, description, graph, threads)
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

    def batcher(
        self,
        slots: int = 16,
        hop: int | None = None,
        look_ahead: int | None = None,
        search: Search | None = None,
        endpointer: Endpointer | Literal[False] | None = None,
    ) -> OnnxBatcher:
        """Makes what runs many live streams at once, in batches.

        Arguments
        ---------
        slots : int
            How many streams there may be at once.
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.
        search : GreedySearch or BeamSearch, optional
            As for :meth:`session`.
        endpointer : Endpointer or bool, optional
            As for :meth:`session`.

        Returns
        -------
        OnnxBatcher

        Raises
        ------
        TypeError
            If the number of slots is not an integer.
        ValueError
            If it is below 1, or the graph is of another ``hop`` or
            ``look_ahead``.
        """
        self.model.geometries.choose(hop, look_ahead)
        transcriber = make_transcriber(
            self.model,
            self.text_decoder,
            search,
            resolve_endpointer(endpointer, self.endpointer),
            self.word_offsets,
        )
        return OnnxBatcher(self.model, transcriber, slots)


def describe(
    clock: StepClock,
    state_shapes: Mapping[str, Sequence[int]],
    text_decoder: PieceDecoder,
    graphs: Mapping[str, str],
    endpointer: Endpointer | None = None,
    word_offsets: WordOffsets | None = None,
    transducer: Mapping[str, Any] | None = None,
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
    transducer : dict, optional
        Files and numbers of predictor and joiner, for a transducer.

    Returns
    -------
    dict
    """
    kind = {} if transducer is None else {"transducer": dict(transducer)}
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
        **unusual_entries(clock),
        **_derived(clock),
        "never": NEVER,
        "blank_index": 0,
        **kind,
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
    names = list(description["graphs"].values())
    if "transducer" in description:
        about = description["transducer"]
        names += [about[name] for name in ("file", "predictor", "joiner")]
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                must_be(
                    "folder",
                    "a complete exported model",
                    f"{str(folder)!r}, which holds no {name}",
                )
            )
    return description


def _chosen_graph(folder, graphs, precision):
    """Path of the graph of a precision, or of the best that there is."""
    present = [name for name in PRECISIONS if name in graphs]
    if precision is None:
        precision = present[0]
    if precision not in present:
        raise ValueError(
            must_be(
                "precision",
                f"{' or '.join(present)} for the folder {str(folder)!r}, "
                "which holds no other graph",
                repr(precision),
            )
        )
    return folder / graphs[precision]


def _load_model(folder, description, graph, threads):
    labels = len(description["pieces"])
    options = {
        "threads": threads,
        "rows_share_ranges": graph.name == description["graphs"].get("int8"),
    }
    about = description.get("transducer")
    if about is None:
        return OnnxCTC(graph, _clock(description), labels, **options)
    try:
        weights = load_decoder(folder / about["file"], about["sha256"])
        if (weights.labels, weights.context_size) != (
            labels,
            about["context_size"],
        ):
            raise ValueError(
                f"{about['file']} is of {weights.labels} labels and a context "
                f"of {weights.context_size}"
            )
    except ValueError as error:
        raise ValueError(
            must_be(
                "folder",
                "an exported model",
                f"{str(folder)!r}: {reason(error)}",
            )
        ) from error
    return OnnxTransducer(
        graph, _clock(description), weights, about["max_symbols"], **options
    )


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
        **{name: description.get(name, 0) for name in UNUSUAL},
    )
