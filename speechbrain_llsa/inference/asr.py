"""Streaming speech recognition: the host's ``StreamingASR``, and sessions."""

import inspect
import os
from pathlib import Path

import torch
import torchaudio
from ruamel.yaml import YAMLError
from speechbrain.inference.ASR import StreamingASR as HostStreamingASR
from speechbrain.utils.data_utils import split_path
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig
from speechbrain.utils.fetching import fetch

from speechbrain_llsa.geometry import FRAME_SECONDS, check_type
from speechbrain_llsa.inference.audio import (
    audio_info,
    read_blocks,
    read_signal,
)
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.loading import load_hparams
from speechbrain_llsa.inference.reason import reason
from speechbrain_llsa.inference.session import Session
from speechbrain_llsa.inference.transcriber import Transcriber
from speechbrain_llsa.lobes.decoding import (
    CTCGreedyState,
    TextDecoder,
    ctc_greedy_decode_streaming,
)

HPARAMS_ERRORS = (
    YAMLError,
    LookupError,
    AttributeError,
    ImportError,
    TypeError,
    ValueError,
    ArithmeticError,
)
"""What a damaged hyperparameter file raises in the host."""

OPTIONS = tuple(inspect.signature(load_hparams).parameters)[3:]
"""Names of the arguments that only loading needs."""

CHUNK_SIZE = 16
"""Frames that are pushed at once where the caller does not say; the text does
not depend on it."""


class StreamingASR(HostStreamingASR):
    """The host's ``StreamingASR`` with exact ends, sessions, offline
    transcription for comparison, and defaults that work.

    It loads the folders that ``write_streaming_folder`` writes. Everything of
    the host's class is there: ``make_streaming_context``,
    ``transcribe_chunk`` and so on.

    Arguments
    ---------
    *args : tuple
        As for the host's class; made by :meth:`from_hparams`.
    **kwargs : dict
        As for the host's class.

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

    HPARAMS_NEEDED = [*HostStreamingASR.HPARAMS_NEEDED, "model", "tokenizer"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.text_decoder = TextDecoder(self.hparams.tokenizer)
        labels = len(self.text_decoder.pieces)
        if labels != self.model.labels:
            raise ValueError(
                f"tokenizer: got {labels} labels, allowed is "
                f"{self.model.labels}, as the head has outputs"
            )
        self.endpointer = getattr(self.hparams, "endpointer", None)
        self.word_offsets = getattr(self.hparams, "word_offsets", None)
        self._transcriber()

    @property
    def model(self):
        """The ``StreamingCTC`` model."""
        return self.hparams.model

    @classmethod
    def from_hparams(
        cls,
        source,
        hparams_file="hyperparams.yaml",
        *,
        trust=False,
        run_opts=None,
        freeze_params=True,
        **kwargs,
    ):
        """Loads a model.

        Arguments
        ---------
        source : str or pathlib.Path
            A folder as ``write_streaming_folder`` writes it, which is read
            where it lies: ``savedir`` has no effect then. Or a repository of
            a model hub, as for the host.
        hparams_file : str
            Name of the hyperparameter file in it.
        trust : bool
            Whether the hyperparameter file may build any class and call any
            function, as it may in the host. Without it, a file is refused
            unless it describes a model in the way that
            ``write_streaming_folder`` does.
        run_opts : dict, optional
            As for the host, such as ``{"device": "cuda"}``.
        freeze_params : bool
            Whether the parameters are frozen, as for the host.
        **kwargs : dict
            As for the host's ``from_hparams``, such as ``overrides``; without
            trust these are a dict of plain values.

        Returns
        -------
        StreamingASR
            ``None`` with ``download_only``, as in the host.

        Raises
        ------
        FileNotFoundError
            If the folder, or a file in it, does not exist.
        TypeError
            If an argument is of another type.
        ValueError
            If a file in it is damaged, of another model, or not to be built
            without trust.
        """
        unknown = kwargs.keys() - OPTIONS
        if unknown:
            raise TypeError(
                f"from_hparams: got the argument {min(unknown)!r}, allowed "
                f"are those of the host: {', '.join(OPTIONS)}"
            )
        if not isinstance(trust, bool):
            raise TypeError(f"trust: got {trust!r}, allowed is True or False")
        source = _checked_source(source, hparams_file)
        if Path(source).is_dir():
            kwargs.pop("savedir", None)
        try:
            hparams = load_hparams(source, hparams_file, trust, **kwargs)
            if kwargs.get("download_only"):
                return None
            return cls(hparams["modules"], hparams, run_opts, freeze_params)
        except HPARAMS_ERRORS as error:
            raise ValueError(
                f"source: got {source!r}, whose {hparams_file} or a file that "
                "it names is damaged, of another kind of model, or not "
                f"allowed: {reason(error)}"
            ) from error
        except OSError as error:
            if Path(source).is_dir():
                raise
            raise _no_such_model(source) from error

    def session(
        self,
        snapshot=None,
        hop=None,
        look_ahead=None,
        search=None,
        endpointer=None,
    ):
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
        search : GreedySearch, optional
            Turns log-probabilities into labels. Greedy by default.
        endpointer : Endpointer, optional
            Says where segments close. By default the model's own, which is
            the attribute ``endpointer``: ``None`` where the stream is one
            segment.

        Returns
        -------
        Session

        Raises
        ------
        TypeError
            If an argument is of another type.
        ValueError
            If the model's attention cannot stream, if it is not trained for
            ``hop`` or ``look_ahead``, or if the snapshot is damaged, of
            another model, of another version or of other numbers.
        """
        return Session(
            self.model,
            self.text_decoder,
            snapshot,
            hop,
            look_ahead,
            search=search,
            endpointer=self.endpointer if endpointer is None else endpointer,
            word_offsets=self.word_offsets,
        )

    def latency_report(self, hop=None, look_ahead=None):
        """The declared latency of the model.

        Arguments
        ---------
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.

        Returns
        -------
        LatencyReport
        """
        return self.model.latency_report(
            self.model.geometries.choose(hop, look_ahead)
        )

    def batcher(
        self,
        slots=16,
        hop=None,
        look_ahead=None,
        search=None,
        endpointer=None,
    ):
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
        endpointer : Endpointer, optional
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
            search=search,
            endpointer=self.endpointer if endpointer is None else endpointer,
            word_offsets=self.word_offsets,
        )

    def _transcriber(self, search=None, endpointer=None):
        return Transcriber(
            self.text_decoder,
            search,
            self.endpointer if endpointer is None else endpointer,
            self.word_offsets,
        )

    @torch.no_grad()
    def transcribe_batch(self, wavs, wav_lens=None, hop=None, look_ahead=None):
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
        """
        geometry = self.model.geometries.choose(hop, look_ahead)
        _check_wavs(wavs)
        wavs = wavs.to(self.device)
        if wav_lens is not None:
            check_type("wav_lens", wav_lens, torch.Tensor)
            wav_lens = wav_lens.to(self.device)
        log_probs, lengths = self.model(wavs, wav_lens, geometry=geometry)
        rows = ctc_greedy_decode_streaming(log_probs, CTCGreedyState(), lengths)
        return [self.text_decoder.decode(labels) for labels in rows]

    def forward(self, wavs, wav_lens=None, hop=None, look_ahead=None):
        """The same as :meth:`transcribe_batch`."""
        return self.transcribe_batch(wavs, wav_lens, hop, look_ahead)

    def transcribe_file_offline(self, path, hop=None, look_ahead=None):
        """Transcribes a whole audio file at once, as a comparison.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.

        Returns
        -------
        str
        """
        return self.transcribe_batch(
            self._signal(path)[None], hop=hop, look_ahead=look_ahead
        )[0]

    @torch.no_grad()
    def transcript_offline(
        self, path, hop=None, look_ahead=None, search=None, endpointer=None
    ):
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
        endpointer : Endpointer, optional
            As for :meth:`session`.

        Returns
        -------
        Transcript
            With all words, which are final.
        """
        geometry = self.model.geometries.choose(hop, look_ahead)
        wavs = self._signal(path)[None].to(self.device)
        log_probs, _ = self.model(wavs, geometry=geometry)
        log_probs = log_probs[0].cpu().numpy()
        transcriber = self._transcriber(search, endpointer)
        state = transcriber.make_streaming_context()
        return transcriber.advance(log_probs, log_probs[:0], state, final=True)

    def _signal(self, path):
        """A whole audio file at 16 kHz, (samples,)."""
        return torch.from_numpy(read_signal(self._local_path(path)))

    def transcribe_file(
        self,
        path,
        dynchunktrain_config=None,
        use_torchaudio_streaming=False,
        hop=None,
        look_ahead=None,
        **kwargs,
    ):
        """Transcribes an audio file as a stream.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.
        dynchunktrain_config : DynChunkTrainConfig, optional
            As for :meth:`transcribe_file_streaming`.
        use_torchaudio_streaming : bool
            Whether the host's reader is used, which needs ``torchaudio.io``.
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.
        **kwargs : dict
            As for the host's ``transcribe_file_streaming``.

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
            **kwargs,
        )
        return "".join(texts)

    def transcribe_file_streaming(
        self,
        path,
        dynchunktrain_config=None,
        use_torchaudio_streaming=False,
        hop=None,
        look_ahead=None,
        **kwargs,
    ):
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
            Whether the host's reader is used, which needs ``torchaudio.io``,
            and knows of no ``hop`` and ``look_ahead``.
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.
        **kwargs : dict
            As for the host's method.

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
                    "use_torchaudio_streaming: got True, allowed with this "
                    "torchaudio is False: it has no torchaudio.io any more"
                )
            if (hop, look_ahead) != (None, None):
                raise ValueError(
                    "use_torchaudio_streaming: got True, allowed with hop or "
                    "look_ahead is False: the host's reader has neither"
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
        session = self.session(hop=hop, look_ahead=look_ahead)
        block_seconds = config.chunk_size * FRAME_SECONDS
        for block in read_blocks(path, block_seconds):
            yield session.push(block, sample_rate).committed
        yield session.finish().committed

    def _local_path(self, path, savedir=None):
        """Fetches a file that is not here, as the host does."""
        check_type("path", path, (str, os.PathLike))
        source, name = split_path(str(path))
        if Path(path).is_file() or Path(source).is_dir():
            return str(path)
        return str(fetch(name, source=source, savedir=savedir))


def _check_wavs(wavs):
    check_type("wavs", wavs, torch.Tensor)
    if wavs.ndim != 2:
        raise ValueError(
            f"wavs: got shape {tuple(wavs.shape)}, allowed is (batch, samples)"
        )
    if not torch.isfinite(wavs).all():
        raise ValueError(
            "wavs: got NaN or infinite numbers, allowed is finite ones"
        )


def _checked_source(source, hparams_file):
    """The source as a text, unless nothing can be there."""
    check_type("source", source, (str, os.PathLike))
    source = str(source)
    if Path(source).is_dir():
        if not Path(source, hparams_file).is_file():
            raise FileNotFoundError(
                f"source: got {source!r}, which holds no {hparams_file}; "
                "allowed is a folder as write_streaming_folder writes it"
            )
    elif source.count("/") != 1 or source[0] in "./~":
        raise _no_such_model(source)
    return source


def _no_such_model(source):
    return FileNotFoundError(
        f"source: got {source!r}, allowed is an existing folder as "
        "write_streaming_folder writes it, or owner/name of a model hub"
    )
