"""Makes a checkout importable for the benchmarks, installed or not: import
this first."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

sys.path[:0] = [
    str(ROOT / folder)
    for folder in (
        *(".", "runtime", "tests"),
        *("recipes/LibriSpeech", "recipes/Synthetic", "recipes/English"),
    )
]
