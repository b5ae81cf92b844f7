"""Imports run one way, and the core does not import SpeechBrain."""

import sys

import pytest
from source_files import FILES, PACKAGE, imported_modules

LAYERS = [
    "torch_versions",
    "utils",
    "geometry",
    "latency",
    "step_clock",
    "visibility",
    "state",
    "snapshot",
    "ops",
    "dependency_picture",
    "nnet",
    "dataio",
    "decoders",
    "transcripts",
    "lobes",
    "model_folder",
    "inference",
    "evaluation",
    "training",
    "hparams",
    "commands",
    "__main__",
]
"""A module imports only from its own layer and from those before it."""

WITHOUT_SPEECHBRAIN = (
    "geometry",
    "latency",
    "step_clock",
    "visibility",
    "state",
    "snapshot",
    "ops",
    "dependency_picture",
)


def layer(module_parts):
    return module_parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_run_one_way(path):
    """A file imports only what stands above it."""
    own = LAYERS.index(layer(path.relative_to(PACKAGE).parts))
    for name in imported_modules(path):
        top, *rest = name.split(".")
        assert top, f"{path}: a relative import"
        assert top != "recipes"
        if top != "speechbrain_llsa":
            continue
        assert rest, f"{path} imports the package itself"
        assert LAYERS.index(rest[0]) <= own, f"{path} imports {name}"


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in FILES
        if layer(path.relative_to(PACKAGE).parts) in WITHOUT_SPEECHBRAIN
    ],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_the_core_does_not_import_speechbrain(path):
    """Geometry, rule, state and operations do not import speechbrain."""
    tops = {name.split(".")[0] for name in imported_modules(path)}
    assert "speechbrain" not in tops


WITHOUT_PYTORCH = (
    "geometry.py",
    "latency.py",
    "snapshot.py",
    "step_clock.py",
    "utils/checks.py",
    "utils/errors.py",
    "utils/lazy.py",
    "utils/processes.py",
    "utils/text_files.py",
    "dataio/channels.py",
    "dataio/containers.py",
    "dataio/data_chunk.py",
    "dataio/pcm.py",
    "dataio/resampling.py",
    "dataio/samples.py",
    "decoders/greedy.py",
    "decoders/tokens.py",
    "inference/onnx.py",
    "inference/session.py",
    "model_folder/description.py",
    "model_folder/fields.py",
    "transcripts/endpointer.py",
    "transcripts/subtitles.py",
    "transcripts/transcriber.py",
    "transcripts/transcript.py",
    "transcripts/words.py",
)
"""What runs exported models."""


@pytest.mark.parametrize("name", WITHOUT_PYTORCH)
def test_exported_models_need_no_pytorch(name):
    """Their runtime imports NumPy, safetensors, ONNX Runtime and itself
    alone."""
    for imported in imported_modules(PACKAGE / name):
        top, *rest = imported.split(".")
        if top == "speechbrain_llsa":
            path = "/".join(rest)
            assert any(
                f"{path}.py".startswith(each[:-3]) or path.startswith(each[:-3])
                for each in WITHOUT_PYTORCH
            ), imported
        else:
            assert top in {
                *sys.stdlib_module_names,
                "numpy",
                "onnxruntime",
                "safetensors",
            }


STANDARD_LIBRARY_ALONE = (
    "geometry",
    "latency",
    "step_clock",
    "torch_versions",
    "utils.checks",
    "utils.errors",
    "utils.lazy",
)


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ALONE)
def test_the_standard_library_is_enough(name):
    """So that any runtime can use it."""
    path = PACKAGE / f"{name.replace('.', '/')}.py"
    for imported in imported_modules(path):
        top, _, rest = imported.partition(".")
        ours = top == "speechbrain_llsa" and rest.startswith(
            STANDARD_LIBRARY_ALONE
        )
        assert ours or top in sys.stdlib_module_names, imported
