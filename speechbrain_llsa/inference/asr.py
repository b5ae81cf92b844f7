"""Streaming speech recognition: SpeechBrain's ``StreamingASR``, and
sessions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import torchaudio
from speechbrain.inference.ASR import ASRStreamingContext
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.data_utils import split_path
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig
from speechbrain.utils.fetching import fetch

from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.hotwords import HOTWORD_WEIGHT
from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.decoders.scored_search import ScoredSearch
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.decoders.transducer_beam_search import (
    TransducerBeamSearch,
)
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.speechbrain_interface import (
    speechbrain_hparams,
)
from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.model_folder.load import load_model
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.dataio.audio_files import (
    audio_info,
    read_blocks,
    read_signal,
)
from speechbrain_llsa_runtime.dataio.samples import check_scale
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.inference.recognizer import StreamingRecognizer
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.inference.streaming_model import (
    check_outputs,
    make_transcriber,
)
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    resolve_endpointer,
)
from speechbrain_llsa_runtime.transcripts.transcript import Transcript
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be

CHUNK_SIZE = 16
"""Frames that are pushed at once where the caller does not say; the text does
not depend on it."""


class StreamingASR(StreamingRecognizer, SpeechBrainStreamingASR):
    """SpeechBrain's ``StreamingASR`` with exact ends, sessions, offline
    transcription for comparison, and defaults that work.

    It loads the folders that ``write_streaming_folder`` writes. Everything of
    SpeechBrain's class is there: ``make_streaming_context``,
    ``transcribe_chunk`` and so on.

    Arguments
    ---------
    *args : tuple
        As for SpeechBrain's class; made by :meth:`from_hparams`.
    **kwargs : dict
        As for SpeechBrain's class.

    Example
    -------
    >>> asr = StreamingASR.from_hparams("results/streaming")  # doctest: +SKIP
    >>> asr.transcribe_file("speech.flac")  # doctest: +SKIP
    'HELLO WORLD'
    >>> session = asr.session()  # doctest: +SKIP
    >>> session.push(samples, sample_rate=44100).committed  # doctest: +SKIP
    'HELLO '
    >>> transcript = session.finish()  # doctest: +SKIP
    >>> transcript.committed  # doctest: +SKIP
    'WORLD'
    >>> word = transcript.final_words[0]  # doctest: +SKIP
    >>> word.text, word.start, word.end, word.confidence  # doctest: +SKIP
    ('WORLD', 0.62, 1.1, 0.97)
    """

    HPARAMS_NEEDED = [
        *SpeechBrainStreamingASR.HPARAMS_NEEDED,
        "model",
        "tokenizer",
    ]

    text_decoder: TextDecoder

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.text_decoder = TextDecoder(self.hparams.tokenizer)
        labels = len(self.text_decoder.pieces)
        if labels != self.model.labels:
            raise ValueError(
                must_be(
                    "tokenizer",
                    (
                        f"of {self.model.labels} labels, as many as the model "
                        "has"
                    ),
                    f"one of {labels}",
                )
            )
        self._options = getattr(self.hparams, "search", None)
        self.search: Search = self.model.greedy_search()
        if self._options is not None:
            self.search = self.beam_search()
        self.endpointer = getattr(self.hparams, "endpointer", None)
        self.word_offsets = getattr(self.hparams, "word_offsets", None)
        self._transcriber()

    @property
    def model(self) -> StreamingCTC:
        """The ``StreamingCTC`` model."""
        return self.hparams.model

    @classmethod
    def from_hparams(
        cls,
        source: str | Path,
        hparams_file: str = "hyperparams.yaml",
        *,
        trust: bool = False,
        run_opts: dict[str, Any] | None = None,
        freeze_params: bool = True,
        **kwargs: Any,
    ) -> StreamingASR | Any:
        """Loads a model.

        On a CPU its linear layers keep a second copy of their weights, packed
        for it. ``docs/model-format.md`` describes what is read: ``model.json``,
        ``safetensors`` and the tokenizer, none of which can run code.

        Arguments
        ---------
        source : str or pathlib.Path
            A folder as ``write_streaming_folder`` writes it, which is read
            where it lies: ``savedir`` has no effect then. Or "english", which
            ships with this package, or a repository of a model hub, as for
            SpeechBrain.
        hparams_file : str
            Accepted for SpeechBrain's signature, with its default alone: this
            class reads ``model.json``.
        trust : bool
            Whether the language model of the folder may be a binary of KenLM,
            which is mapped into memory unchecked.
        run_opts : dict, optional
            As for SpeechBrain, such as ``{"device": "cuda"}``.
        freeze_params : bool
            Whether the parameters are frozen, as for SpeechBrain.
        **kwargs : dict
            ``overrides``, a dict of values that replace those of
            ``model.json``, such as ``{"encoder": {"hop": 4}}``;
            ``overrides_must_match``, ``savedir``, ``download_only``,
            ``local_strategy`` and ``fetch_config`` as for SpeechBrain.

        Returns
        -------
        StreamingASR
            ``None`` with ``download_only``, as in SpeechBrain.

        Raises
        ------
        FileNotFoundError
            If the folder, or a file in it, does not exist.
        TypeError
            If an argument is of another type.
        ValueError
            If a file in it is damaged, of another model or another version.
        """

        def make(parts):
            hparams = speechbrain_hparams(parts)
            hparams["savedir"] = kwargs.get("savedir")
            return cls(hparams["modules"], hparams, run_opts, freeze_params)

        return load_model(
            source, "complete", make, trust, hparams_file, **kwargs
        )

    def session(
        self,
        snapshot: bytes | None = None,
        hop: int | None = None,
        look_ahead: int | None = None,
        search: str | Search | None = None,
        hotwords: Iterable[str] = (),
        hotword_weight: float = HOTWORD_WEIGHT,
        endpointer: Endpointer | Literal[False] | None = None,
        channel: int | None = None,
    ) -> Session:
        """Begins a session: one live stream.

        Sessions of one model may have different geometries at once.

        Arguments
        ---------
        snapshot : bytes, optional
            What ``Session.snapshot`` gave: the session goes on from there,
            with the ``hop`` and ``look_ahead`` that it has.
        hop : int, optional
            Frames that llsa commits at once: one of the numbers that the
            model is trained for; the first of them by default.
        look_ahead : int, optional
            Frames that a layer sees ahead, as for ``hop``.
        search : str or GreedySearch or BeamSearch, optional
            How text is found: "greedy", "beam", or a search that was made
            before. By default as the folder says, which is greedy if it says
            nothing; with hotwords always a beam search.
        hotwords : iterable of str
            Words or phrases that the stream is likely to hold.
        hotword_weight : float
            What a whole one adds to the log-probability of a text.
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
            If the model's attention cannot stream, if it is not trained for
            ``hop`` or ``look_ahead``, if the snapshot is damaged, of another
            model, of another version or of other numbers, if there is no such
            search, or if a hotword cannot be spelled.
        """
        return self._session(
            snapshot,
            hop,
            look_ahead,
            self._choose_search(search, hotwords, hotword_weight),
            endpointer,
            channel,
        )

    def beam_search(self, **changes: Any) -> BeamSearch | TransducerBeamSearch:
        """Makes a beam search for this model.

        Arguments
        ---------
        **changes : dict
            Arguments of ``BeamSearch``; the others are as the folder says.

        Returns
        -------
        BeamSearch or TransducerBeamSearch

        Raises
        ------
        FileNotFoundError
            If there is no such language model.
        TypeError
            If an argument is unknown or of another type.
        ValueError
            If an argument is out of range, or the language model is damaged.
        """
        options = self._options or BeamSearchOptions()
        return options.make_search(
            self.text_decoder, self.model.greedy_search(), **changes
        )

    def _choose_search(
        self, search, hotwords=(), hotword_weight=HOTWORD_WEIGHT
    ):
        if search is None:
            search = self.search
            if hotwords and not isinstance(search, ScoredSearch):
                search = "beam"
        if isinstance(search, str):
            if search not in ("greedy", "beam"):
                raise ValueError(
                    must_be(
                        "search",
                        "greedy, beam or a search object",
                        repr(search),
                    )
                )
            if search == "greedy":
                search = self.model.greedy_search()
            elif isinstance(self.search, ScoredSearch):
                search = self.search
            else:
                search = self.beam_search()
        if not hotwords:
            return search
        if not isinstance(search, ScoredSearch):
            raise ValueError(
                must_be(
                    "search",
                    "a beam search where there are hotwords",
                    type(search).__name__,
                )
            )
        return search.with_hotwords(hotwords, hotword_weight)

    def batcher(
        self,
        slots: int = 16,
        hop: int | None = None,
        look_ahead: int | None = None,
        search: str | Search | None = None,
        endpointer: Endpointer | Literal[False] | None = None,
    ) -> SessionBatcher:
        """Makes what runs many live streams at once, in batches.

        Arguments
        ---------
        slots : int
            How many streams there may be at once.
        hop : int, optional
            As for :meth:`session`, for all streams.
        look_ahead : int, optional
            As for :meth:`session`, for all streams.
        search : GreedySearch, optional
            As for :meth:`session`.
        endpointer : Endpointer or bool, optional
            As for :meth:`session`.

        Returns
        -------
        SessionBatcher

        Raises
        ------
        TypeError
            If a number is not an integer.
        ValueError
            If the model's attention cannot stream, or a number is not
            allowed.
        """
        return SessionBatcher(
            self.model,
            self.text_decoder,
            slots,
            hop=hop,
            look_ahead=look_ahead,
            search=self._choose_search(search),
            endpointer=resolve_endpointer(endpointer, self.endpointer),
            word_offsets=self.word_offsets,
        )

    def _transcriber(self, search=None, endpointer=None):
        return make_transcriber(
            self.model,
            self.text_decoder,
            self._choose_search(search),
            resolve_endpointer(endpointer, self.endpointer),
            self.word_offsets,
        )

    @torch.no_grad()
    @full_float32()
    def transcribe_batch(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor | None = None,
        hop: int | None = None,
        look_ahead: int | None = None,
    ) -> list[str]:
        """Transcribes whole utterances offline.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms at 16 kHz, (batch, samples), padded at the end.
        wav_lens : torch.Tensor, optional
            Length of each waveform as a part of the longest, (batch,).
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.

        Returns
        -------
        list of str
            The text of each row.

        Raises
        ------
        TypeError
            If an argument is of another type.
        ValueError
            If an argument has another shape, samples are not finite, or the
            model is not trained for ``hop`` or ``look_ahead``.
        FloatingPointError
            If what the model gives is not finite.
        """
        geometry = self.model.geometries.choose(hop, look_ahead)
        _check_wavs(wavs)
        wavs = wavs.to(self.device)
        if wav_lens is not None:
            check_type("wav_lens", wav_lens, torch.Tensor)
            wav_lens = wav_lens.to(self.device)
        log_probs, lengths = self.model(wavs, wav_lens, geometry=geometry)
        return [
            self._text_of(row[:length])
            for row, length in zip(log_probs, lengths.tolist(), strict=True)
        ]

    def _text_of(self, log_probs):
        """The text of a whole utterance, (frames, labels)."""
        state = self.search.make_streaming_context()
        tokens = self.search.advance(_checked(log_probs), state, final=True)
        return self.text_decoder.decode(token.label for token in tokens)

    def transcribe_chunk(
        self,
        context: ASRStreamingContext,
        chunk: torch.Tensor,
        chunk_len: torch.Tensor | None = None,
    ) -> list[str]:
        """Transcribes the next chunk of a batch of streams. Chunks of one
        context from several threads are done one after the other.

        Arguments
        ---------
        context : ASRStreamingContext
            As for SpeechBrain's method.
        chunk : torch.Tensor
            As for SpeechBrain's method.
        chunk_len : torch.Tensor, optional
            As for SpeechBrain's method.

        Returns
        -------
        list of str
            What the chunk adds to the text of each row.
        """
        if chunk_len is None:
            chunk_len = torch.ones(chunk.shape[0], device=self.device)
        with context.fea_extractor_context.lock:
            return super().transcribe_chunk(context, chunk, chunk_len)

    def forward(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor | None = None,
        hop: int | None = None,
        look_ahead: int | None = None,
    ) -> list[str]:
        """The same as :meth:`transcribe_batch`."""
        return self.transcribe_batch(wavs, wav_lens, hop, look_ahead)

    def transcribe_file_offline(
        self,
        path: str | Path,
        hop: int | None = None,
        look_ahead: int | None = None,
        channel: int | None = None,
    ) -> str:
        """Transcribes a whole audio file at once, as a comparison.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.
        channel : int, optional
            As for :meth:`session`.

        Returns
        -------
        str
        """
        return self.transcribe_batch(
            self._signal(path, channel)[None], hop=hop, look_ahead=look_ahead
        )[0]

    @torch.no_grad()
    @full_float32()
    def transcript_offline(
        self,
        path: str | Path,
        hop: int | None = None,
        look_ahead: int | None = None,
        search: str | Search | None = None,
        endpointer: Endpointer | Literal[False] | None = None,
        channel: int | None = None,
    ) -> Transcript:
        """Transcribes a whole audio file at once, as a comparison, and says
        when each word is spoken.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.
        search : GreedySearch, optional
            As for :meth:`session`.
        endpointer : Endpointer or bool, optional
            As for :meth:`session`.
        channel : int, optional
            As for :meth:`session`.

        Returns
        -------
        Transcript
            With all words, which are final.
        """
        geometry = self.model.geometries.choose(hop, look_ahead)
        wavs = self._signal(path, channel)[None].to(self.device)
        check_scale(wavs)
        log_probs, _ = self.model(wavs, geometry=geometry)
        log_probs = _checked(log_probs[0])
        transcriber = self._transcriber(search, endpointer)
        state = transcriber.make_streaming_context()
        return transcriber.advance(log_probs, log_probs[:0], state, final=True)

    def _signal(self, path, channel):
        """A whole audio file at 16 kHz, (samples,)."""
        return torch.from_numpy(read_signal(self._local_path(path), channel))

    def transcribe_file(
        self,
        path: str | Path,
        dynchunktrain_config: DynChunkTrainConfig | None = None,
        use_torchaudio_streaming: bool = False,
        hop: int | None = None,
        look_ahead: int | None = None,
        channel: int | None = None,
        **kwargs: Any,
    ) -> str:
        """Transcribes an audio file as a stream.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.
        dynchunktrain_config : DynChunkTrainConfig, optional
            As for :meth:`transcribe_file_streaming`.
        use_torchaudio_streaming : bool
            Whether SpeechBrain's reader is used, which needs ``torchaudio.io``.
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.
        channel : int, optional
            As for :meth:`session`.
        **kwargs : dict
            As for SpeechBrain's ``transcribe_file_streaming``.

        Returns
        -------
        str
        """
        texts = self.transcribe_file_streaming(
            path,
            dynchunktrain_config,
            use_torchaudio_streaming,
            hop,
            look_ahead,
            channel,
            **kwargs,
        )
        return "".join(texts)

    def transcribe_file_streaming(
        self,
        path: str | Path,
        dynchunktrain_config: DynChunkTrainConfig | None = None,
        use_torchaudio_streaming: bool = False,
        hop: int | None = None,
        look_ahead: int | None = None,
        channel: int | None = None,
        **kwargs: Any,
    ) -> Iterator[str]:
        """Transcribes an audio file as a stream, and gives text as it is
        committed. The file is not loaded as a whole.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.
        dynchunktrain_config : DynChunkTrainConfig, optional
            How many frames are pushed at once, 16 by default. Where llsa is
            trained for several hops, its ``chunk_size`` is the hop, unless
            ``hop`` is given. Otherwise the text does not depend on it.
        use_torchaudio_streaming : bool
            Whether SpeechBrain's reader is used, which needs ``torchaudio.io``,
            and knows of no ``hop``, ``look_ahead`` and ``channel``.
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.
        channel : int, optional
            As for :meth:`session`.
        **kwargs : dict
            As for SpeechBrain's method.

        Yields
        ------
        str
            What each push adds to the text, possibly nothing.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it cannot be read, if ``torchaudio.io`` is wanted and missing,
            or if the model is not trained for ``hop``, ``look_ahead`` or
            ``chunk_size``.
        """
        config = dynchunktrain_config
        if config is None:
            config = DynChunkTrainConfig(CHUNK_SIZE)
        check_type("dynchunktrain_config", config, DynChunkTrainConfig)
        if use_torchaudio_streaming:
            if not hasattr(torchaudio, "io"):
                raise ValueError(
                    must_be(
                        "use_torchaudio_streaming",
                        "False with this torchaudio, which has no "
                        "torchaudio.io",
                        "True",
                    )
                )
            if (hop, look_ahead, channel) != (None, None, None):
                raise ValueError(
                    "use_torchaudio_streaming must be False with hop, "
                    "look_ahead or channel, which SpeechBrain's reader does "
                    "not have, got True"
                )
            yield from super().transcribe_file_streaming(
                str(path), config, True, **kwargs
            )
            return
        if hop is None and dynchunktrain_config is not None:
            encoder = self.model.encoder_wrapper.latent_encoder
            hop = encoder.geometries.of_chunk(
                encoder.attention, config.chunk_size
            ).hop
        path = self._local_path(path, **kwargs)
        sample_rate = audio_info(path).sample_rate
        session = self.session(hop=hop, look_ahead=look_ahead, channel=channel)
        block_seconds = config.chunk_size * self.model.frame_seconds
        for block in read_blocks(path, block_seconds):
            yield session.push(block, sample_rate).committed
        yield session.finish().committed

    def _local_path(self, path, savedir=None):
        """Fetches a file that is not here, as SpeechBrain does."""
        check_type("path", path, (str, os.PathLike))
        source, name = split_path(str(path))
        if Path(path).is_file() or Path(source).is_dir():
            return str(path)
        return str(fetch(name, source=source, savedir=savedir))


def _checked(outputs):
    """What the model gives for a whole utterance, (frames, features), as an
    array of finite numbers."""
    outputs = outputs.cpu().numpy()
    check_outputs(0, outputs)
    return outputs


def _check_wavs(wavs):
    check_type("wavs", wavs, torch.Tensor)
    if wavs.ndim != 2:
        raise ValueError(
            must_be("wavs", "of shape (batch, samples)", tuple(wavs.shape))
        )
    if not torch.isfinite(wavs).all():
        raise ValueError(must_be("wavs", "finite", "NaN or infinite numbers"))
    check_scale(wavs)
