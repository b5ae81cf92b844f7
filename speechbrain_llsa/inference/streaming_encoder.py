"""Frames of an encoder's layers for other tasks, from audio as it comes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from speechbrain_llsa.lobes.layer_features import (
    FeaturesState,
    LayerFeatures,
    WeightedLayerSum,
    checked_layer,
)
from speechbrain_llsa.lobes.padding import sample_counts
from speechbrain_llsa.model_folder.load import load_model
from speechbrain_llsa.nnet.packed import pack_linears
from speechbrain_llsa_runtime.dataio.audio_files import read_signal
from speechbrain_llsa_runtime.dataio.samples import ScaleCheck, check_scale
from speechbrain_llsa_runtime.geometry import StreamGeometry
from speechbrain_llsa_runtime.inference.audio_intake import (
    AudioState,
    StreamSession,
)
from speechbrain_llsa_runtime.latency import LatencyReport
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_type


class StreamingEncoder(LayerFeatures):
    """A trained encoder as a source of features, offline and streaming.

    Arguments
    ---------
    extractor : StreamingLatentExtractor
        The front end.
    encoder_wrapper : StreamingEncoderWrapper
        The encoder.
    layer : int or str or WeightedLayerSum, optional
        Which frames to give, as for
        :class:`speechbrain_llsa.lobes.layer_features.LayerFeatures`.

    Example
    -------
    >>> encoder = StreamingEncoder.from_hparams(  # doctest: +SKIP
    ...     "results/pretrained", layer=6
    ... )
    >>> frames, lengths = encoder(wavs, wav_lens)  # doctest: +SKIP
    >>> session = encoder.session()  # doctest: +SKIP
    >>> frames = session.push(samples, sample_rate=44100)  # doctest: +SKIP
    >>> tail = session.finish()  # doctest: +SKIP
    """

    @classmethod
    def from_hparams(
        cls,
        source: str | Path,
        hparams_file: str = "hyperparams.yaml",
        *,
        layer: int | str | WeightedLayerSum | None = None,
        trust: bool = False,
        run_opts: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> StreamingEncoder | Any:
        """Loads an encoder. On a CPU its linear layers keep a second copy of
        their weights, packed for it.

        Arguments
        ---------
        source : str or pathlib.Path
            A ``streaming/`` folder of fine-tuning, or a ``pretrained/`` folder
            of pre-training, which is read where it lies. Or a repository of a
            model hub that holds the same.
        hparams_file : str
            As for ``StreamingASR.from_hparams``: accepted with its default
            alone.
        layer : int or str or WeightedLayerSum, optional
            Which frames to give. Layers above an integer are not kept.
        trust : bool
            As for ``StreamingASR.from_hparams``; it has no effect here.
        run_opts : dict, optional
            Such as ``{"device": "cuda"}``.
        **kwargs : dict
            As for ``StreamingASR.from_hparams``, such as ``overrides``.

        Returns
        -------
        StreamingEncoder
            ``None`` with ``download_only``.

        Raises
        ------
        FileNotFoundError
            If the folder, or a file in it, does not exist.
        TypeError
            If an argument is of another type.
        ValueError
            If a file in it is damaged, of another model or another version;
            or if there is no such layer.
        """
        check_type("run_opts", run_opts or {}, dict)

        def take(parts):
            return parts["extractor"], parts["encoder_wrapper"]

        loaded = load_model(
            source, "encoder", take, trust, hparams_file, **kwargs
        )
        if loaded is None:
            return None
        extractor, wrapper = loaded
        layers = wrapper.latent_encoder.layers
        checked_layer(layer, len(layers))
        if isinstance(layer, int):
            wrapper.latent_encoder.layers = layers[: max(1, layer)]
        pack_linears(wrapper)
        encoder = cls(extractor, wrapper, layer)
        return encoder.to((run_opts or {}).get("device", "cpu"))

    def forward(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor | None = None,
        hop: int | None = None,
        look_ahead: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes whole utterances.

        Arguments
        ---------
        wavs : torch.Tensor
            As for :class:`speechbrain_llsa.lobes.layer_features.LayerFeatures`,
            but that waveforms which are not scaled to -1 to 1 are refused.
        wav_lens : torch.Tensor, optional
            Length of each waveform relative to the longest, (batch,).
        hop : int, optional
            As for :meth:`session`.
        look_ahead : int, optional
            As for :meth:`session`.

        Returns
        -------
        torch.Tensor
            The frames, as of ``LayerFeatures``.
        torch.Tensor
            Frames of each row, int64 (batch,).
        """
        sample_counts(wavs, wav_lens)  # refuses other types and shapes
        check_scale(wavs)
        geometry = self.geometries.choose(hop, look_ahead)
        return super().forward(wavs, wav_lens, geometry)

    def latency_report(
        self, hop: int | None = None, look_ahead: int | None = None
    ) -> LatencyReport:
        """The declared latency of the frames, next to those of the other
        attentions.

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
        return super().latency_report(self.geometries.choose(hop, look_ahead))

    def session(
        self,
        hop: int | None = None,
        look_ahead: int | None = None,
        channel: int | None = None,
    ) -> EncoderSession:
        """Begins a session: one live stream.

        Sessions of one encoder may have different geometries at once.

        Arguments
        ---------
        hop : int, optional
            Frames that llsa commits at once: one of the numbers that the
            encoder is trained for; the first of them by default.
        look_ahead : int, optional
            Frames that a layer sees ahead, as for ``hop``.
        channel : int, optional
            Which channel of the audio is taken, counted from 0. By default
            the mean of all.

        Returns
        -------
        EncoderSession

        Raises
        ------
        ValueError
            If the encoder's attention cannot stream, or it is not trained for
            ``hop`` or ``look_ahead``.
        """
        geometry = self.geometries.choose(hop, look_ahead)
        return EncoderSession(self, geometry, channel)

    def encode_file(
        self,
        path: str | Path,
        hop: int | None = None,
        look_ahead: int | None = None,
        channel: int | None = None,
    ) -> torch.Tensor:
        """Encodes a whole audio file at once.

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
        torch.Tensor
            (frames, features), or (frames, layers, features) for all layers.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it cannot be read, or the encoder is not trained for ``hop`` or
            ``look_ahead``.
        """
        signal = torch.from_numpy(read_signal(path, channel))
        frames, _ = self(signal[None], hop=hop, look_ahead=look_ahead)
        return frames[0]


@dataclass
class EncoderSessionState(AudioState):
    """What a session remembers. The waveform is not kept."""

    encoder: FeaturesState | None
    """Of front end and encoder. ``None`` once the stream has ended."""

    frames: int = 0
    """Frames given so far."""

    def fork(self) -> EncoderSessionState:
        """An independent copy, which shares the tensors.

        Returns
        -------
        EncoderSessionState
        """
        return replace(
            self,
            encoder=self.encoder and self.encoder.fork(),
            signal=self.signal and self.signal.fork(),
        )


class EncoderSession(StreamSession):
    """Encodes one stream: push audio, take frames, finish.

    A call that raises an error leaves the session as it was. Sessions of one
    encoder do not know of each other, and can run in threads of their own.
    Calls of one session by several threads are done one after the other.

    Arguments
    ---------
    encoder : StreamingEncoder
        The encoder.
    geometry : StreamGeometry, optional
        One of those that the encoder is trained for; the first by default.
    channel : int, optional
        Which channel of the audio is taken, counted from 0. By default the
        mean of all; then channels that cancel out get one warning.

    Raises
    ------
    TypeError
        If an argument is something else.
    ValueError
        If the encoder's attention cannot stream, or it is not trained for
        the geometry.

    Example
    -------
    >>> model, _ = getfixture("tiny_ctc")
    >>> encoder = StreamingEncoder(model.extractor, model.encoder_wrapper)
    >>> session = EncoderSession(encoder)
    >>> frames = session.push(torch.randn(44100), sample_rate=44100)
    >>> tail = session.finish()
    >>> frames.shape, tail.shape, session.frames
    (torch.Size([44, 16]), torch.Size([4, 16]), 48)
    """

    def __init__(
        self,
        encoder: LayerFeatures,
        geometry: StreamGeometry | None = None,
        channel: int | None = None,
    ) -> None:
        check_type("encoder", encoder, LayerFeatures)
        super().__init__(channel)
        self._encoder = encoder
        self.geometry = encoder.geometries.check(geometry)
        self.reset()

    @property
    def frames(self) -> int:
        """Frames given so far."""
        return self._state.frames

    @property
    def finished(self) -> bool:
        """Whether the stream has ended."""
        return self._state.encoder is None

    def reset(self) -> None:
        """Forgets everything but its geometry: the session is as new."""
        context = self._encoder.make_streaming_context(self.geometry)
        with self._lock:
            self._scale = ScaleCheck()
            self._state = EncoderSessionState(context)

    def push(
        self, samples: Array, sample_rate: int | None = None
    ) -> torch.Tensor:
        """Takes the next samples.

        Arguments
        ---------
        samples : torch.Tensor or numpy.ndarray
            The next samples, any number of them: float32, float64, int16 or
            int32; (samples,), or (samples, channels) with at most 8 channels.
        sample_rate : int, optional
            Samples per second, which stays the same for the whole session. By
            default that of the pushes before, or at first 16000.

        Returns
        -------
        torch.Tensor
            The next frames, which will not change, (frames, features), or
            (frames, layers, features) for all layers; possibly none.

        Raises
        ------
        TypeError
            If samples or rate are of another type.
        ValueError
            If samples are not finite, not scaled as their type says or of
            another shape, if the rate is not positive or not that of the
            session, or if it has been finished.
        """
        return self._push(samples, sample_rate)

    def finish(self) -> torch.Tensor:
        """Ends the stream.

        Returns
        -------
        torch.Tensor
            The rest of the frames, exactly what the whole signal gives there.

        Raises
        ------
        ValueError
            If the session has been finished.
        """
        return self._finish()

    def _advance(self, state, samples, final):
        frames = self._encoder.stream(
            torch.from_numpy(samples), state.encoder, final
        )
        count = state.frames + len(frames)
        if final:
            state = EncoderSessionState(None)
        state.frames = count
        self._state = state
        return frames
