"""Every YAML file that ships loads, and names public classes alone."""

import re
from pathlib import Path

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "hparams").glob("compare_*.yaml"))
MODEL_FOLDER = ROOT / "tests" / "data" / "model_folders" / "version_1" / "ctc"
FILES = sorted({*(ROOT / "hparams").rglob("*.yaml")} - {*PLANS})
"""All but the plans of compare.py, which name recipes and build nothing."""


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_loads(path, tmp_path):
    """The file loads with nothing but folders, and its recoverables cover
    every module with parameters, but for a language model, which a Pretrainer
    loads each time."""
    text = path.read_text(encoding="utf-8")
    placeholders = re.findall(r"^(\w+): !PLACEHOLDER", text, re.MULTILINE)
    folders = dict.fromkeys(placeholders, str(tmp_path))
    folders["output_folder"] = str(tmp_path / "out")
    if "pretrained_folder" in placeholders:
        folders["pretrained_folder"] = str(MODEL_FOLDER)
    hparams = load_hyperpyyaml(text, folders)
    recovered = {
        id(parameter)
        for module in hparams["checkpointer"].recoverables.values()
        if isinstance(module, torch.nn.Module)
        for parameter in module.parameters()
    }
    loaded = getattr(hparams.get("pretrainer"), "loadables", {}).get("lm")
    for name, module in hparams["modules"].items():
        for parameter in module.parameters() if module is not loaded else ():
            assert id(parameter) in recovered, name


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_names_public_classes(path):
    """No YAML file reaches for a private name of ours."""
    text = path.read_text(encoding="utf-8")
    names = re.findall(r"![a-z]+:(speechbrain_llsa[\w.]*)", text)
    assert names
    for name in names:
        assert not any(part.startswith("_") for part in name.split(".")), name


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_fractions_can_be_overridden(path):
    """What can be a fraction is written as one: a whole number in the file
    has the recipes refuse any other on the command line."""
    text = path.read_text(encoding="utf-8")
    whole = re.findall(
        r"^(\w+(?:_prob|_db|_snr_low|_snr_high|_lr_factor|_lr_decay)"
        r"|lr|dropout|layerdrop): -?\d+(?:\s|$)",
        text,
        re.MULTILINE,
    )
    assert not whole
