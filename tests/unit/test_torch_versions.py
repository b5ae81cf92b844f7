"""A torch and a torchaudio that do not fit are named in one sentence."""

import os
import subprocess
import sys

import pytest

from speechbrain_llsa.torch_versions import REPAIR, known_to_work


def fake_packages(folder, torch, torchaudio, importing):
    """A torch and a torchaudio as pip would find them, of which the second
    does this when it is imported."""
    for name, version in (("torch", torch), ("torchaudio", torchaudio)):
        about = folder / f"{name}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    (folder / "torchaudio").mkdir()
    (folder / "torchaudio" / "__init__.py").write_text(importing)


def import_package(folder, *arguments):
    """The process that imports speechbrain_llsa behind these packages."""
    paths = [str(folder), *sys.path]
    return subprocess.run(
        [sys.executable, *(arguments or ("-c", "import speechbrain_llsa"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )


BROKEN = 'raise OSError("undefined symbol: torch_exception_get_what")'


@pytest.mark.parametrize(
    "importing",
    [
        BROKEN,
        'raise RuntimeError("compiled with different CUDA versions")',
        'raise ImportError("libcudart.so.13")',
    ],
)
def test_a_pair_that_cannot_work(tmp_path, importing):
    """Whatever kind of error it is, both versions and the repair are said."""
    fake_packages(tmp_path, "2.12.1", "2.11.1", importing)
    last = import_package(tmp_path).stderr.splitlines()[-1]
    assert last == (
        "ImportError: torch and torchaudio must be built for each other, got "
        "torch 2.12.1 and torchaudio 2.11.1; this installs a pair that is: "
        + REPAIR
    )


def test_the_command_line_says_it_in_one_line(tmp_path):
    """There is no traceback."""
    fake_packages(tmp_path, "2.12.1", "2.11.1", BROKEN)
    ended = import_package(tmp_path, "-m", "speechbrain_llsa", "--help")
    (line,) = ended.stderr.splitlines()
    assert ended.returncode != 0 and "torchaudio 2.11.1" in line


def test_an_unknown_pair_that_works(tmp_path):
    """What is not in the table is tried, not refused."""
    fake_packages(tmp_path, "2.12.1", "2.11.1", "")
    assert import_package(tmp_path).returncode == 0


def test_a_known_pair_is_not_imported(tmp_path):
    """Where nothing of PyTorch is asked for, nothing of it is loaded."""
    fake_packages(tmp_path, "2.15.0", "2.11.1", BROKEN)
    assert import_package(tmp_path).returncode == 0


@pytest.mark.parametrize(
    "torch, torchaudio, works",
    [
        ("2.9.0", "2.9.0", True),
        ("2.9.1", "2.9.0", True),
        ("2.10.0", "2.9.1", False),
        ("2.11.0", "2.11.0", True),
        ("2.14.1", "2.11.0", True),
        ("2.15.0", "2.11.0", False),
        ("2.12.1", "2.11.1", False),
        ("2.13.0", "2.11.1", True),
        ("2.13.0+cpu", "2.11.1", False),
        ("2.15.1", "2.11.1", True),
        ("2.16.0", "2.11.1", False),
        ("2.16.0", "2.12.0", False),
        ("2.16.0a0", "2.11.1", False),
    ],
)
def test_the_pairs_that_are_known(torch, torchaudio, works):
    """A row for each end of each range in the table."""
    assert known_to_work(torch, torchaudio) is works
