"""The distribution without PyTorch: built, installed by itself, and beside
the other one."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import soundfile
from packaging.requirements import Requirement

from speechbrain_llsa_runtime import OnnxStreamingASR

pytestmark = pytest.mark.slow

uv = pytest.importorskip("uv")

ROOT = Path(__file__).parents[2]
EXPORTED = ROOT / "tests" / "data" / "model_folders" / "version_1" / "onnx"
RUNTIME = "speechbrain-llsa-runtime"
FULL = "speechbrain-llsa"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Wheels of both distributions, by name."""
    folder = tmp_path_factory.mktemp("wheels")
    built = {}
    for name, source, package in (
        (RUNTIME, ROOT / "runtime", "speechbrain_llsa_runtime"),
        (FULL, ROOT, "speechbrain_llsa"),
    ):
        # a build leaves files in its sources
        copy = folder / "sources" / name
        shutil.copytree(source / package, copy / package)
        for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(source / file, copy / file)
        run(
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--no-cache-dir"),
            *("--wheel-dir", folder / name, copy),
        )
        (built[name],) = (folder / name).iterdir()
    return built


@pytest.fixture
def environment(tmp_path):
    """A virtual environment with what the runtime requires, and no more."""
    place = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", place)
    (packages,) = place.glob("lib/python*/site-packages")
    names, linked = {RUNTIME}, set()
    while names:
        name = names.pop()
        linked.add(name)
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            needed = requirement.marker is None or requirement.marker.evaluate(
                {"extra": ""}
            )
            if needed and requirement.name not in linked:
                names.add(requirement.name)
        if name != RUNTIME:
            link(distribution(name), packages)
    return place


def link(installed, packages):
    """Puts an installed distribution into another environment."""
    for top in {file.parts[0] for file in installed.files}:
        if top not in ("..", "__pycache__"):
            source, target = installed.locate_file(top), packages / top
            if top.endswith(".dist-info"):  # uv does not follow links
                shutil.copytree(source, target)
            else:
                target.symlink_to(source)


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def uv_pip(environment, *arguments):
    command = (uv.find_uv_bin(), "pip", *arguments)
    return run(*command, "--python", environment / "bin" / "python")


def install(environment, *wheels):
    uv_pip(environment, "install", "--offline", "--no-deps", *wheels)


def transcribe(environment, folder, program):
    """What the program prints of a file, and what it is to print."""
    generator = np.random.default_rng(3)
    samples = generator.standard_normal(20000).astype(np.float32) / 10
    soundfile.write(folder / "a.wav", samples, 16000, "FLOAT")
    shown = run(
        *(*program, "transcribe", "--model", EXPORTED, "a.wav"), cwd=folder
    )
    session = OnnxStreamingASR.from_folder(EXPORTED).session()
    session.push(samples, 16000)
    session.finish()
    assert session.text
    return shown, session.text + "\n"


def test_alone(wheels, environment, tmp_path):
    """What it requires is enough to transcribe a file, and has no PyTorch."""
    install(environment, wheels[RUNTIME])
    uv_pip(environment, "check")
    program = environment / "bin" / RUNTIME
    shown, expected = transcribe(environment, tmp_path, [program])
    assert shown == expected
    python = environment / "bin" / "python"
    run(python, "-c", "import speechbrain_llsa_runtime.__main__")
    found = run(
        *(python, "-c"),
        "import importlib.util as u; print(u.find_spec('torch'))",
        cwd=tmp_path,
    )
    assert found == "None\n"


def test_it_stays_when_the_other_one_goes(wheels, environment, tmp_path):
    """They share no file."""
    install(environment, *wheels.values())
    uv_pip(environment, "uninstall", FULL)
    program = [environment / "bin" / "python", "-m", "speechbrain_llsa_runtime"]
    shown, expected = transcribe(environment, tmp_path, program)
    assert shown == expected
    assert not list(environment.glob("lib/python*/*/speechbrain_llsa/*"))
