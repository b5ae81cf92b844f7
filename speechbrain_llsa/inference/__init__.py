"""Streaming ASR: sessions, and what plugs into SpeechBrain's interface.

The names below load when they are first used.
"""

from speechbrain_llsa_runtime.utils.lazy import lazy_names

_RUNTIME = "speechbrain_llsa_runtime"

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "EncoderSession": f"{__name__}.streaming_encoder",
        "Endpointer": f"{_RUNTIME}.transcripts.endpointer",
        "OnnxStreamingASR": f"{_RUNTIME}.inference.onnx",
        "Session": f"{_RUNTIME}.inference.session",
        "SessionBatcher": f"{__name__}.batcher",
        "StreamError": f"{_RUNTIME}.inference.batcher",
        "StreamingASR": f"{__name__}.asr",
        "StreamingEncoder": f"{__name__}.streaming_encoder",
        "Transcript": f"{_RUNTIME}.transcripts.transcript",
        "Word": f"{_RUNTIME}.transcripts.transcript",
        "WordOffsets": f"{_RUNTIME}.transcripts.words",
    },
)
