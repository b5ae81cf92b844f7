"""Streaming self-supervised speech encoders for SpeechBrain.

The names below load when they are first used, so that what needs no PyTorch
does not import it.
"""

from speechbrain_llsa.torch_versions import check_torch_versions
from speechbrain_llsa.utils.lazy import lazy_names

__version__ = "0.1.0"

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
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
    },
)
__all__ += ["__version__"]

check_torch_versions()
