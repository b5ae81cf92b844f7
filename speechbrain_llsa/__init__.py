"""Streaming self-supervised speech encoders for SpeechBrain.

The names below load when they are first used, so that what needs no PyTorch
does not import it.
"""

from importlib import import_module

from speechbrain_llsa.torch_versions import check_torch_versions

__version__ = "0.1.0"

_HOMES = {
    "StreamGeometry": "geometry",
    "TrainedGeometries": "geometry",
    "LatencyReport": "latency",
    "StreamingTransformerEncoder": "nnet.encoder",
    "StreamingLatentExtractor": "nnet.frontend",
    "StreamingEncoderWrapper": "lobes.wav2vec2",
    "StreamingTransformerASR": "lobes.transformer_asr",
    "StreamingCTC": "lobes.ctc",
    "StreamingASR": "inference.asr",
    "StreamingEncoder": "inference.streaming_encoder",
    "WeightedLayerSum": "lobes.layer_features",
    "OnnxStreamingASR": "inference.onnx",
    "Session": "inference.session",
    "SessionBatcher": "inference.batcher",
    "Transcript": "transcripts.transcript",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return sorted(__all__)


check_torch_versions()
