"""Imports run one way; the core does not import SpeechBrain, nor the runtime
PyTorch."""

import sys

import pytest

from source_files import FILES, PACKAGE, ROOT, RUNTIME, imported_modules

LAYERS = {
    RUNTIME: [
        "utils",
        "geometry",
        "latency",
        "step_clock",
        "snapshot",
        "dataio",
        "decoders",
        "transcripts",
        "model_folder",
        "inference",
        "server",
        "commands",
        "__main__",
    ],
    PACKAGE: [
        "torch_versions",
        "utils",
        "visibility",
        "state",
        "ops",
        "dependency_picture",
        "nnet",
        "decoders",
        "lobes",
        "model_folder",
        "pretrained",
        "inference",
        "evaluation",
        "training",
        "hparams",
        "commands",
        "__main__",
    ],
}
"""A module imports only from its own layer and from those before it."""

WITHOUT_SPEECHBRAIN = ("visibility", "state", "ops", "dependency_picture")

RUNTIME_NEEDS = {"numpy", "onnxruntime", "safetensors", "soundfile", "tqdm"}
RUNTIME_MAY_HAVE = {"av", "sounddevice"}
SERVER_NEEDS = {"anyio", "prometheus_client", "redis", "starlette", "uvicorn"}


def package_of(path):
    return RUNTIME if RUNTIME in path.parents else PACKAGE


def layer(path):
    top, *_ = path.relative_to(package_of(path)).parts
    return top.removesuffix(".py")


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_one_way(path):
    """A file imports only what stands above it."""
    package = package_of(path)
    layers = LAYERS[package]
    for name in imported_modules(path):
        top, *rest = name.split(".")
        assert top, f"{path}: a relative import"
        assert top != "recipes"
        if top == package.name:
            assert rest, f"{path} imports the package itself"
            above = layers[: layers.index(layer(path)) + 1]
            assert rest[0] in above, f"{path} imports {name}"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if layer(path) in WITHOUT_SPEECHBRAIN],
    ids=name_of,
)
def test_the_core_does_not_import_speechbrain(path):
    """Rule, state and operations do not import speechbrain."""
    tops = {name.split(".")[0] for name in imported_modules(path)}
    assert "speechbrain" not in tops


@pytest.mark.parametrize(
    "path", [path for path in FILES if RUNTIME in path.parents], ids=name_of
)
def test_the_runtime_needs_little(path):
    """Not PyTorch, and nothing of the other package, at any depth."""
    tops = {name.split(".")[0] for name in imported_modules(path)}
    assert tops <= {
        RUNTIME.name,
        *sys.stdlib_module_names,
        *RUNTIME_NEEDS,
        *RUNTIME_MAY_HAVE,
        *(SERVER_NEEDS if layer(path) == "server" else ()),
    }


STANDARD_LIBRARY_ALONE = (
    PACKAGE / "torch_versions.py",
    *(RUNTIME / f"{name}.py" for name in ("geometry", "latency", "step_clock")),
    *(RUNTIME / "utils").glob("*.py"),
)


@pytest.mark.parametrize("path", STANDARD_LIBRARY_ALONE, ids=name_of)
def test_the_standard_library_is_enough(path):
    """So that it can be used before anything else is there."""
    for imported in imported_modules(path):
        top, *_ = imported.split(".")
        assert top in {RUNTIME.name, *sys.stdlib_module_names}, imported
