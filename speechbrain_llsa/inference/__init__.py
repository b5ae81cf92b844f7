"""Streaming ASR: sessions, and what plugs into the host's interface."""

from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.batcher import SessionBatcher, StreamError
from speechbrain_llsa.inference.session import Session, Transcript

__all__ = [
    "Session",
    "SessionBatcher",
    "StreamError",
    "StreamingASR",
    "Transcript",
]
