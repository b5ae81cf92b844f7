"""Streaming ASR: sessions, and what plugs into the host's interface.

The names below load when they are first used: ``OnnxStreamingASR`` needs no
PyTorch.
"""

from importlib import import_module

_HOMES = {
    "Endpointer": "endpointer",
    "OnnxStreamingASR": "onnx",
    "Session": "session",
    "SessionBatcher": "batcher",
    "StreamError": "batcher",
    "StreamingASR": "asr",
    "Transcript": "transcript",
    "Word": "transcript",
    "WordOffsets": "words",
}

__all__ = [*_HOMES]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return sorted(__all__)
