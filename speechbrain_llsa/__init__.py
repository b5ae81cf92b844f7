"""Streaming self-supervised speech encoders for SpeechBrain.

The names below are imported on first use.
"""

from speechbrain_llsa.torch_versions import check_torch_versions
from speechbrain_llsa_runtime.utils.lazy import lazy_names

__version__ = "0.1.0"

_RUNTIME = "speechbrain_llsa_runtime"

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "LatencyReport": f"{_RUNTIME}.latency",
        "OnnxStreamingASR": f"{_RUNTIME}.inference.onnx",
        "Session": f"{_RUNTIME}.inference.session",
        "SessionBatcher": f"{__name__}.inference.batcher",
        "StreamGeometry": f"{_RUNTIME}.geometry",
        "StreamingASR": f"{__name__}.inference.asr",
        "StreamingCTC": f"{__name__}.lobes.ctc",
        "StreamingEncoder": f"{__name__}.inference.streaming_encoder",
        "StreamingEncoderWrapper": f"{__name__}.lobes.wav2vec2",
        "StreamingLatentExtractor": f"{__name__}.nnet.frontend",
        "StreamingTransducer": f"{__name__}.lobes.transducer",
        "StreamingTransformerASR": f"{__name__}.lobes.transformer_asr",
        "StreamingTransformerEncoder": f"{__name__}.nnet.encoder",
        "TrainedGeometries": f"{_RUNTIME}.geometry",
        "Transcript": f"{_RUNTIME}.transcripts.transcript",
        "WeightedLayerSum": f"{__name__}.lobes.layer_features",
    },
)
__all__ += ["__version__"]

check_torch_versions()
