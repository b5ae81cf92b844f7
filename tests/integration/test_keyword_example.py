"""The example of a classifier on frozen features runs at toy size."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from source_files import PYTHON_PATH
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_tokenizer

EXAMPLE = Path(__file__).parents[2] / "examples" / "keyword_classifier.py"


@pytest.mark.slow
def test_keywords(digits_corpus, tmp_path):
    """At toy size: it prints which layers it takes, how well it does on a
    voice that it has not heard, and detections in the order of their time."""
    torch.manual_seed(0)
    folder = write_streaming_folder(
        tmp_path / "streaming", make_model(), make_tokenizer()
    )
    lines = subprocess.run(
        [sys.executable, str(EXAMPLE), str(folder), str(digits_corpus)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
    ).stdout.splitlines()
    layers = [float(w) for w in re.findall(r"[\d.]+", lines[0])]
    assert len(layers) == 3 and abs(sum(layers) - 1) < 0.02
    assert len(set(layers)) > 1, "the weights have not moved"
    rates = re.fullmatch(
        r"unheard voices: ([\d.]+)% found, ([\d.]+)% in error", lines[1]
    )
    assert all(0 <= float(rate) <= 100 for rate in rates.groups())
    assert lines[2].startswith(str(digits_corpus)) and " says " in lines[2]
    detections = [
        re.fullmatch(r"([A-Z]+) at ([\d.]+) s", line) for line in lines[3:]
    ]
    times = [float(found[2]) for found in detections]
    assert times == sorted(times)
