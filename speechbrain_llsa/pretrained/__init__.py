"""Public encoders that see whole utterances, turned into streaming ones.

The names below load when they are first used.
"""

from speechbrain_llsa_runtime.utils.lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ImportedEncoder": f"{__name__}.conformer",
        "ImportedModel": f"{__name__}.imported",
        "calibrate": f"{__name__}.calibration",
        "from_moonshine": f"{__name__}.moonshine",
        "from_speechbrain": f"{__name__}.speechbrain_checkpoint",
        "from_speechbrain_conformer": f"{__name__}.conformer",
        "from_torchaudio": f"{__name__}.wav2vec2_family",
        "from_transformers": f"{__name__}.wav2vec2_family",
        "log_mel_from_speechbrain": f"{__name__}.log_mel",
        "import_source": f"{__name__}.sources",
        "write_imported": f"{__name__}.writing",
    },
)
