"""From a folder, or a repository of a model hub, to what its hyperparameter
file describes, with weights.

The host's ``pretrained_from_hparams`` does the same for files that one
trusts. Here a file is read once, so that what is checked is what is built,
and the model is first laid out without memory and compared with the weights.
"""

import inspect
import os
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAMLError
from speechbrain.utils.fetching import FetchConfig, LocalStrategy, fetch

from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.model_folder.hyperparameters import (
    check_hyperparameters,
    check_overrides,
    read_hyperparameters,
)
from speechbrain_llsa.utils.checks import check_type
from speechbrain_llsa.utils.errors import reason
from speechbrain_llsa.utils.text_files import open_text

HPARAMS_ERRORS = (
    YAMLError,
    LookupError,
    AttributeError,
    ImportError,
    TypeError,
    ValueError,
    ArithmeticError,
)
"""What a damaged hyperparameter file raises in the host."""


def load_hparams(
    source,
    hparams_file,
    trust=False,
    overrides=None,
    overrides_must_match=True,
    savedir=None,
    download_only=False,
    local_strategy=LocalStrategy.SYMLINK,
    fetch_config=None,
):
    """Builds what a hyperparameter file describes, and loads the weights.

    Arguments
    ---------
    source : str
        A folder, or a repository of a model hub.
    hparams_file : str
        Name of the file in it.
    trust : bool
        Whether the file may build and call anything.
    overrides : dict or str, optional
        Values that replace entries of the file; a text only with trust.
    overrides_must_match : bool
        Whether every override must have an entry.
    savedir : str or pathlib.Path, optional
        Where fetched files are linked.
    download_only : bool
        Whether the weights are fetched, and not loaded.
    local_strategy : LocalStrategy
        How fetched files get to the ``savedir``.
    fetch_config : FetchConfig, optional
        How files are fetched.

    Returns
    -------
    dict
        The entries of the file by name, and ``savedir``.

    Raises
    ------
    TypeError
        If an override is not a plain value.
    ValueError
        If the file would do something else than describe a model, if the
        model is larger than the files of its weights, or if one of them is
        damaged.
    """
    fetching = {
        "local_strategy": local_strategy,
        "fetch_config": fetch_config or FetchConfig(),
    }
    path = fetch(hparams_file, source=source, savedir=savedir, **fetching)

    def collected(hparams):
        hparams["savedir"] = savedir
        hparams["pretrainer"].set_collect_in(savedir)
        files = hparams["pretrainer"].collect_files(source, **fetching)
        if isinstance(hparams.get("search"), BeamSearchOptions):
            hparams["search"].collect_files(
                source, trust, savedir=savedir, **fetching
            )
        return hparams, files

    if trust:
        stream = open_text(path)
        hparams = load_hyperpyyaml(stream, overrides, overrides_must_match)
    else:
        text = read_hyperparameters(path)
        check_hyperparameters(text)
        check_overrides(overrides)
        arguments = text, overrides, overrides_must_match
        with torch.device("meta"):
            outline = _build(*arguments)
        _check_sizes(*collected(outline))
        hparams = _build(*arguments)
    hparams, _ = collected(hparams)
    if not download_only:
        hparams["pretrainer"].load_collected()
    return hparams


OPTIONS = tuple(inspect.signature(load_hparams).parameters)[3:]
"""Names of the arguments that only loading needs."""


def load_model(source, hparams_file, trust, make, **options):
    """Makes a model of what a hyperparameter file describes, or says what is
    wrong with it.

    Arguments
    ---------
    source : str or pathlib.Path
        A folder, which is read where it lies: ``savedir`` has no effect then.
        Or a repository of a model hub.
    hparams_file : str
        Name of the file in it.
    trust : bool
        Whether the file may build and call anything.
    make : callable
        Makes the model of the entries of the file.
    **options : dict
        As for :func:`load_hparams`.

    Returns
    -------
    object
        The model; ``None`` with ``download_only``.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist.
    TypeError
        If an argument is of another type.
    ValueError
        If a file in it is damaged, of another model, or not to be built
        without trust.
    """
    unknown = options.keys() - OPTIONS
    if unknown:
        raise TypeError(
            f"from_hparams: got the argument {min(unknown)!r}, allowed "
            f"are those of the host: {', '.join(OPTIONS)}"
        )
    if not isinstance(trust, bool):
        raise TypeError(f"trust: got {trust!r}, allowed is True or False")
    source = _checked_source(source, hparams_file)
    if Path(source).is_dir():
        options.pop("savedir", None)
    try:
        # whatever a program has chosen for its own tensors
        with torch.inference_mode(False), torch.device("cpu"):
            hparams = load_hparams(source, hparams_file, trust, **options)
            return None if options.get("download_only") else make(hparams)
    except HPARAMS_ERRORS as error:
        raise ValueError(
            f"source: got {source!r}, whose {hparams_file} or a file that "
            "it names is damaged, of another kind of model, or not "
            f"allowed: {reason(error)}"
        ) from error
    except OSError as error:
        if Path(source).is_dir():
            raise
        raise _no_such_model(source) from error


def _checked_source(source, hparams_file):
    """The source as a text, unless nothing can be there."""
    check_type("source", source, (str, os.PathLike))
    source = str(source)
    if Path(source).is_dir():
        if not Path(source, hparams_file).is_file():
            raise FileNotFoundError(
                f"source: got {source!r}, which holds no {hparams_file}; "
                "allowed is a folder as the recipes write it"
            )
    elif source.count("/") != 1 or source[0] in "./~":
        raise _no_such_model(source)
    return source


def _no_such_model(source):
    return FileNotFoundError(
        f"source: got {source!r}, allowed is an existing folder as "
        "the recipes write it, or owner/name of a model hub"
    )


def _build(text, overrides, overrides_must_match):
    try:
        return load_hyperpyyaml(text, overrides, overrides_must_match)
    except RuntimeError as error:  # sizes that PyTorch refuses
        raise ValueError(str(error)) from error


def _check_sizes(hparams, files):
    """Refuses a model with more numbers than its files have bytes."""
    sizes = {name: Path(path).stat().st_size for name, path in files.items()}
    for name, loadable in hparams["pretrainer"].loadables.items():
        _check_size(Path(files[name]).name, [loadable], sizes[name])
    _check_size("their files", hparams.values(), sum(sizes.values()))


def _check_size(name, entries, size):
    tensors = {
        id(tensor): tensor.numel()
        for entry in entries
        if isinstance(entry, torch.nn.Module)
        for tensor in (*entry.parameters(), *entry.buffers())
    }
    declared = sum(tensors.values())
    if declared > size:
        raise ValueError(
            f"got sizes that need {declared} numbers, allowed is what "
            f"{name} can hold with {size} bytes"
        )
