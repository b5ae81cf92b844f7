"""Streaming speech recognition: the host's ``StreamingASR``, and sessions."""

import os
from pathlib import Path

import numpy as np
import torch
import torchaudio
from speechbrain.inference.ASR import StreamingASR as HostStreamingASR
from speechbrain.utils.data_utils import split_path
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig
from speechbrain.utils.fetching import fetch

from speechbrain_llsa.geometry import FRAME_SECONDS, SAMPLE_RATE, check_type
from speechbrain_llsa.inference.audio import (
    audio_info,
    read_blocks,
)
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.loading import load_model
from speechbrain_llsa.inference.resampling import StreamingResampler
from speechbrain_llsa.inference.samples import mono_samples
from speechbrain_llsa.inference.session import Session
from speechbrain_llsa.lobes.decoding import (
    CTCGreedyState,
    TextDecoder,
    ctc_greedy_decode_streaming,
)

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
    >>> session.push(samples, sample_rate=44100)  # doctest: +SKIP
    Transcript(committed='HELLO ', provisional='WOR')
    >>> session.finish()  # doctest: +SKIP
    Transcript(committed='WORLD', provisional='')
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
        return load_model(
            source,
            hparams_file,
            trust,
            lambda hparams: cls(
                hparams["modules"], hparams, run_opts, freeze_params
            ),
            **kwargs,
        )

    def session(self, snapshot=None):
        """Begins a session: one live stream.

        Arguments
        ---------
        snapshot : bytes, optional
            What ``Session.snapshot`` gave: the session goes on from there.

        Returns
        -------
        Session

        Raises
        ------
        TypeError
            If the snapshot is not bytes.
        ValueError
            If the model's attention cannot stream, or if the snapshot is
            damaged, of another model or of another version.
        """
        return Session(self.model, self.text_decoder, snapshot)

    def batcher(self, slots=16):
        """Makes what runs many live streams at once, in batches.

        Arguments
        ---------
        slots : int
            How many streams there may be at once.

        Returns
        -------
        SessionBatcher

        Raises
        ------
        TypeError
            If the number is not an integer.
        ValueError
            If the model's attention cannot stream, or the number is not
            positive.
        """
        return SessionBatcher(self.model, self.text_decoder, slots)

    @torch.no_grad()
    def transcribe_batch(self, wavs, wav_lens=None):
        """Transcribes whole utterances offline.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms at 16 kHz, (batch, samples), padded at the end.
        wav_lens : torch.Tensor, optional
            Length of each waveform as a part of the longest, (batch,).

        Returns
        -------
        list of str
            The text of each row.

        Raises
        ------
        TypeError
            If an argument is of another type.
        ValueError
            If an argument has another shape, or samples are not finite.
        """
        _check_wavs(wavs)
        wavs = wavs.to(self.device)
        if wav_lens is not None:
            check_type("wav_lens", wav_lens, torch.Tensor)
            wav_lens = wav_lens.to(self.device)
        log_probs, lengths = self.model(wavs, wav_lens)
        rows = ctc_greedy_decode_streaming(log_probs, CTCGreedyState(), lengths)
        return [self.text_decoder.decode(labels) for labels in rows]

    def forward(self, wavs, wav_lens=None):
        """The same as :meth:`transcribe_batch`."""
        return self.transcribe_batch(wavs, wav_lens)

    def transcribe_file_offline(self, path):
        """Transcribes a whole audio file at once, as a comparison.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.

        Returns
        -------
        str
        """
        path = self._local_path(path)
        blocks = [mono_samples(block) for block in read_blocks(path, 60.0)]
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        resampler = StreamingResampler(
            audio_info(path).sample_rate, SAMPLE_RATE
        )
        state = resampler.make_streaming_context()
        signal = [resampler.push(samples, state), resampler.finish(state)]
        signal = torch.from_numpy(np.concatenate(signal))
        return self.transcribe_batch(signal[None])[0]

    def transcribe_file(
        self,
        path,
        dynchunktrain_config=None,
        use_torchaudio_streaming=False,
        **kwargs,
    ):
        """Transcribes an audio file as a stream.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.
        dynchunktrain_config : DynChunkTrainConfig, optional
            How many frames are pushed at once; the text does not depend on
            it. 16 by default.
        use_torchaudio_streaming : bool
            Whether the host's reader is used, which needs ``torchaudio.io``.
        **kwargs : dict
            As for the host's ``transcribe_file_streaming``.

        Returns
        -------
        str
        """
        texts = self.transcribe_file_streaming(
            path, dynchunktrain_config, use_torchaudio_streaming, **kwargs
        )
        return "".join(texts)

    def transcribe_file_streaming(
        self,
        path,
        dynchunktrain_config=None,
        use_torchaudio_streaming=False,
        **kwargs,
    ):
        """Transcribes an audio file as a stream, and gives text as it is
        committed. The file is not loaded as a whole.

        Arguments
        ---------
        path : str or pathlib.Path
            An audio file of any rate, with up to 8 channels.
        dynchunktrain_config : DynChunkTrainConfig, optional
            How many frames are pushed at once; the text does not depend on
            it. 16 by default.
        use_torchaudio_streaming : bool
            Whether the host's reader is used, which needs ``torchaudio.io``.
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
            If it cannot be read, or ``torchaudio.io`` is wanted and missing.
        """
        if dynchunktrain_config is None:
            dynchunktrain_config = DynChunkTrainConfig(CHUNK_SIZE)
        check_type(
            "dynchunktrain_config", dynchunktrain_config, DynChunkTrainConfig
        )
        if use_torchaudio_streaming:
            if not hasattr(torchaudio, "io"):
                raise ValueError(
                    "use_torchaudio_streaming: got True, allowed with this "
                    "torchaudio is False: it has no torchaudio.io any more"
                )
            yield from super().transcribe_file_streaming(
                str(path), dynchunktrain_config, True, **kwargs
            )
            return
        path = self._local_path(path, **kwargs)
        sample_rate = audio_info(path).sample_rate
        session = self.session()
        block_seconds = dynchunktrain_config.chunk_size * FRAME_SECONDS
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
