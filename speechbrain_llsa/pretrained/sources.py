"""Finds what a source of weights is, and imports it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torchaudio

from speechbrain_llsa.pretrained.hub import download
from speechbrain_llsa.pretrained.imported import ImportedModel
from speechbrain_llsa.pretrained.moonshine_folder import read_moonshine_folder
from speechbrain_llsa.pretrained.special_labels import (
    without_special_labels,
)
from speechbrain_llsa.pretrained.speechbrain_checkpoint import (
    find_checkpoint,
    from_speechbrain,
)
from speechbrain_llsa.pretrained.wav2vec2_family import (
    BLANK_LABEL,
    KINDS,
    from_torchaudio,
    from_transformers,
)
from speechbrain_llsa_runtime.model_folder.description import MODEL_FILE
from speechbrain_llsa_runtime.utils.errors import must_be, reason

CONFIG_FILE = "config.json"

MOONSHINE = "moonshine"

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def import_source(source: str | Path) -> ImportedModel:
    """Imports a model that was trained elsewhere.

    Arguments
    ---------
    source : str or pathlib.Path
        A folder of transformers, or one of SpeechBrain's pre-training of
        wav2vec 2.0; or, to be downloaded, a bundle of
        ``torchaudio.pipelines`` such as "WAV2VEC2_BASE", or a model of
        transformers on a hub, "owner/name".

    Returns
    -------
    ImportedModel
        With ``attention="aa"``, and with labels where the source has them;
        those that stand for no text, such as ``<s>``, are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such source, or a file is missing.
    ImportError
        If transformers is needed and not installed.
    OSError
        If the model cannot be downloaded.
    TypeError
        If an entry of a configuration has the wrong type.
    ValueError
        If the model is of another family, is a model folder of this package,
        or a file is damaged or does not fit.

    Example
    -------
    >>> import_source("WAV2VEC3")
    Traceback (most recent call last):
    ...
    FileNotFoundError: SOURCE must be a folder, the name of a bundle of \
torchaudio.pipelines or owner/name of a model hub, got 'WAV2VEC3'
    """
    return without_special_labels(_import_any(source))


def _import_any(source: str | Path) -> ImportedModel:
    name = str(source)
    if Path(source).is_dir():
        return _import_folder(Path(source))
    bundle = getattr(torchaudio.pipelines, name, None)
    if isinstance(bundle, torchaudio.pipelines.Wav2Vec2Bundle):
        return _import_bundle(name, bundle)
    if _HUB_NAME.fullmatch(name):
        return _import_folder(download(name))
    raise FileNotFoundError(
        must_be(
            "SOURCE",
            "a folder, the name of a bundle of torchaudio.pipelines or "
            "owner/name of a model hub",
            repr(name),
        )
    )


def _import_bundle(name: str, bundle: Any) -> ImportedModel:
    if name.startswith("WAVLM"):
        raise ValueError(
            must_be("SOURCE", "wav2vec 2.0 or HuBERT", f"WavLM, {name!r}")
        )
    try:
        source = bundle.get_model()
    except Exception as error:
        raise OSError(
            must_be(
                "SOURCE",
                "a bundle that torchaudio can download",
                f"{name!r}: {reason(error)}",
            )
        ) from error
    model = from_torchaudio(source)
    if isinstance(bundle, torchaudio.pipelines.Wav2Vec2ASRBundle):
        _, *labels = bundle.get_labels()[: model.head.out_features]
        model.labels = [
            BLANK_LABEL,
            *(" " if label == "|" else label for label in labels),
        ]
    return model


def _import_folder(folder: Path) -> ImportedModel:
    if (folder / MODEL_FILE).is_file():
        raise ValueError(
            must_be(
                "SOURCE",
                "a model that was trained elsewhere",
                f"{str(folder)!r}, a model folder, which fine-tuning takes as "
                "it is (--pretrained_folder)",
            )
        )
    if (folder / CONFIG_FILE).is_file():
        return _import_transformers(folder)
    if find_checkpoint(folder) is not None:
        return from_speechbrain(folder)
    raise FileNotFoundError(
        must_be(
            "SOURCE",
            f"a folder with a {CONFIG_FILE} of transformers, or with "
            "checkpoints of SpeechBrain's pre-training",
            repr(str(folder)),
        )
    )


def _import_transformers(folder: Path) -> ImportedModel:
    config = _read_config(folder / CONFIG_FILE)
    kind = config.get("model_type")
    if kind == MOONSHINE:
        return read_moonshine_folder(folder, config)
    if kind not in KINDS:
        raise ValueError(
            must_be(
                "SOURCE",
                f"a model of {', '.join(KINDS)} or {MOONSHINE}",
                f"one of {kind!r}",
            )
        )
    return from_transformers(folder)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(must_be(path.name, "JSON", reason(error))) from error
    if not isinstance(config, dict):
        kind = type(config).__name__
        raise ValueError(must_be(path.name, "a JSON object", f"a {kind}"))
    return config
