"""Streaming ASR: sessions, and what plugs into SpeechBrain's interface.

The names below load when they are first used: ``OnnxStreamingASR`` needs no
PyTorch.
"""

from speechbrain_llsa.utils.lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "EncoderSession": "inference.streaming_encoder",
        "Endpointer": "transcripts.endpointer",
        "OnnxStreamingASR": "inference.onnx",
        "Session": "inference.session",
        "SessionBatcher": "inference.batcher",
        "StreamError": "inference.batcher",
        "StreamingASR": "inference.asr",
        "StreamingEncoder": "inference.streaming_encoder",
        "Transcript": "transcripts.transcript",
        "Word": "transcripts.transcript",
        "WordOffsets": "transcripts.words",
    },
)
