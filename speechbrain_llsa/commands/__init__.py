"""The commands of ``python -m speechbrain_llsa``, one module each."""
