"""The commands of ``python -m speechbrain_llsa_runtime``, one module each."""
