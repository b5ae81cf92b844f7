"""Many live streams of one model, in batches of one fixed-shape step."""

from __future__ import annotations

import torch

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.lobes.streaming_step import StreamingStep
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.inference.batcher import Batcher
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcriber import Transcriber
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.checks import check_type


class SessionBatcher(Batcher):
    """Transcribes many streams at once with PyTorch, as
    :class:`~speechbrain_llsa_runtime.inference.batcher.Batcher` says.

    Arguments
    ---------
    model : StreamingCTC
        The model, in evaluation mode.
    text_decoder : TextDecoder
        Turns its labels into text.
    slots : int
        How many streams there may be at once, at least 1. The state of all of
        them is allocated here.
    step_frames : int, optional
        Frames of a step; llsa takes its hop, which is the default.
    hop : int, optional
        Frames that llsa commits at once, in all streams: one of the numbers
        that the model is trained for; the first of them by default.
    look_ahead : int, optional
        Frames that a layer sees ahead, as for ``hop``.
    search : GreedySearch or BeamSearch, optional
        As for a session.
    endpointer : Endpointer, optional
        As for a session.
    word_offsets : WordOffsets, optional
        As for a session.

    Raises
    ------
    TypeError
        If an argument is something else.
    ValueError
        If the model's attention cannot stream, or a number is not allowed.

    Example
    -------
    >>> model, text_decoder = getfixture("tiny_ctc")
    >>> batcher = SessionBatcher(model, text_decoder, slots=2)
    >>> first, second = batcher.session(), batcher.session()
    >>> first.push(torch.randn(44100), sample_rate=44100)
    >>> second.push(torch.randn(8000))
    >>> second.finish()
    >>> text = ""
    >>> while batcher.step():
    ...     text += second.read().committed
    >>> second.finished, text == second.text
    (True, True)
    >>> first.finished
    False
    """

    def __init__(
        self,
        model: StreamingCTC,
        text_decoder: TextDecoder,
        slots: int = 16,
        step_frames: int | None = None,
        hop: int | None = None,
        look_ahead: int | None = None,
        search: Search | None = None,
        endpointer: Endpointer | None = None,
        word_offsets: WordOffsets | None = None,
    ) -> None:
        check_type("model", model, StreamingCTC)
        check_type("text_decoder", text_decoder, TextDecoder)
        geometry = model.geometries.choose(hop, look_ahead)
        self._step = StreamingStep(model, step_frames, geometry)
        transcriber = Transcriber(
            text_decoder,
            search,
            endpointer,
            word_offsets,
            model.frame_seconds,
        )
        super().__init__(self._step.clock, transcriber, slots)
        self._device = next(model.parameters()).device
        # Each tensor is (slots, ...), and written to in place: so a clone,
        # since those of the initial state may be one and the same, and none
        # of inference mode, which nobody may write to outside of it.
        with torch.inference_mode(False), torch.no_grad():
            initial = self._step.initial_state(slots)
            self._state = [part.clone() for part in initial]
            self._initial = self._step.initial_state(1)

    @torch.no_grad()
    @full_float32()
    def _run(self, samples, slots, positions, ends):
        rows, position, end = torch.tensor(
            [slots, positions, ends], device=self._device
        )
        log_probs, ahead, *state = self._step(
            torch.from_numpy(samples).to(self._initial[0]),
            position,
            end,
            *(kept[rows] for kept in self._state),
        )
        for kept, new in zip(self._state, state, strict=True):
            kept.index_copy_(0, rows, new)
        return log_probs.cpu().numpy(), ahead.cpu().numpy()
