"""Streaming speech recognition with exported models, without PyTorch.

The names below are imported on first use.
"""

from speechbrain_llsa_runtime.utils.lazy import lazy_names

__version__ = "0.1.0"

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Endpointer": f"{__name__}.transcripts.endpointer",
        "LatencyReport": f"{__name__}.latency",
        "OnnxStreamingASR": f"{__name__}.inference.onnx",
        "Session": f"{__name__}.inference.session",
        "StreamGeometry": f"{__name__}.geometry",
        "Transcript": f"{__name__}.transcripts.transcript",
        "Word": f"{__name__}.transcripts.transcript",
        "WordOffsets": f"{__name__}.transcripts.words",
    },
)
__all__ += ["__version__"]
