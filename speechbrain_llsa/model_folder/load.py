"""Loads models from folders or model hub repositories.

Only ``model.json``, ``safetensors`` files and the tokenizer's file are read;
none of them can name code. The model is first built without memory, and
compared with the headers of its weights.
"""

import inspect
import os
from contextlib import contextmanager
from pathlib import Path

import torch
from speechbrain.utils.fetching import FetchConfig, LocalStrategy, fetch

from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.model_folder.labels import TOKENIZERS, load_tokenizer
from speechbrain_llsa.model_folder.parts import PARTS, build_parts
from speechbrain_llsa.model_folder.pretrainer import check_present
from speechbrain_llsa.model_folder.shipped import choose_search, find_model
from speechbrain_llsa.model_folder.weights import (
    check_checksum,
    check_weights,
    load_weights,
)
from speechbrain_llsa.nnet.conformer_convolution import ConformerConvolution
from speechbrain_llsa_runtime.model_folder.description import (
    COMPLETE,
    ENCODER_PARTS,
    HPARAMS_FILE,
    MODEL_FILE,
    PARTS_OF,
    describe_missing,
    read_description,
)
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be, reason


def load_parts(
    source,
    kind="complete",
    trust=False,
    overrides=None,
    overrides_must_match=True,
    savedir=None,
    download_only=False,
    local_strategy=LocalStrategy.SYMLINK,
    fetch_config=None,
):
    """Loads the parts of a model.

    Arguments
    ---------
    source : str
        A folder, or a repository of a model hub.
    kind : str
        "complete" for a model that gives text, CTC or transducer, or "encoder"
        for front end and encoder only, which folders of all kinds have.
    trust : bool
        Whether a language model may be a KenLM binary.
    overrides : dict, optional
        Values that replace those of ``model.json``, by section and entry.
    overrides_must_match : bool
        Whether ``model.json`` must have each section that is overridden.
    savedir : str or pathlib.Path, optional
        Folder that fetched files are linked in.
    download_only : bool
        Whether to fetch files without loading them.
    local_strategy : LocalStrategy
        How fetched files are placed in ``savedir``.
    fetch_config : FetchConfig, optional
        How files are fetched.

    Returns
    -------
    dict
        By name: ``sample_rate``; the modules ``extractor``, ``encoder`` and
        ``encoder_wrapper``; for a complete model also ``head``, ``model``,
        ``tokenizer``, ``endpointer``, ``word_offsets`` and ``search``, the last
        three possibly ``None``; for a transducer also ``decoder``. ``None``
        with ``download_only``.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, of another model, or larger than it declares.
    """

    def locate(file_name):
        if Path(source).is_dir():
            check_present(source, file_name)
            return Path(source, file_name)
        return fetch(
            file_name,
            source=source,
            savedir=savedir,
            local_strategy=local_strategy,
            fetch_config=fetch_config or FetchConfig(),
        )

    is_complete = kind == "complete"
    path = locate(MODEL_FILE)
    description = read_description(
        path,
        COMPLETE if is_complete else tuple(PARTS_OF),
        overrides,
        overrides_must_match,
    )
    names = PARTS_OF[description["kind"]] if is_complete else ENCODER_PARTS
    files = {
        name: locate(description["weights"][name]["file"]) for name in names
    }
    if is_complete:
        files["tokenizer"] = _locate_tokenizer(
            description["tokenizer"], path, locate
        )
        language_model = (description["search"] or {}).get("language_model")
        if language_model is not None:
            language_model = locate(language_model)
    if download_only:
        return None
    parts = _load_modules(description, {name: files[name] for name in names})
    parts["sample_rate"] = description["sample_rate"]
    if is_complete:
        kind = description["tokenizer"]["kind"]
        parts["tokenizer"] = TOKENIZERS[kind]()
        load_tokenizer(parts["tokenizer"], files["tokenizer"])
        parts.update(_options(description, language_model, trust))
    return parts


OPTIONS = tuple(inspect.signature(load_parts).parameters)[3:]
"""Names of the arguments that only loading needs."""


def _locate_tokenizer(section, model_file, locate):
    """Finds the file of the tokenizer, and verifies its checksum."""
    if section["kind"] == "characters":
        return model_file
    path = locate(section["file"])
    check_checksum(path, section["sha256"])
    return path


def _load_modules(description, files):
    sections = [name for name in PARTS if name in files or name == "encoder"]
    with torch.device("meta"):
        outline = build_parts(description, sections)
    for name, path in files.items():
        check_weights(path, outline[name])
        check_checksum(path, description["weights"][name]["sha256"])
    parts = build_parts(description, sections)
    for name, path in files.items():
        load_weights(path, parts[name])
    return parts


def _options(description, language_model, trust):
    """Options of sessions for decoding log-probabilities, by name."""
    options = {
        name: kind(**description[name]) if description[name] else None
        for name, kind in (
            ("endpointer", Endpointer),
            ("word_offsets", WordOffsets),
        )
    }
    search = description["search"]
    if search is not None:
        if language_model is not None:
            search = {**search, "language_model": language_model}
        search = BeamSearchOptions(**search)
        search.trust = trust
    return {**options, "search": search}


def load_model(source, kind, make, trust=False, hparams_file=None, **options):
    """Loads a model, with clear errors for a bad folder.

    Arguments
    ---------
    source : str or pathlib.Path
        A folder, which is read in place, so that ``savedir`` has no effect; the
        name of a model that ships with this package; or a repository of a
        model hub.
    kind : str
        As for :func:`load_parts`.
    make : callable
        Makes the model from the dict that :func:`load_parts` returns.
    trust : bool
        Whether a language model may be a KenLM binary.
    hparams_file : str, optional
        Accepted for compatibility with SpeechBrain's signature.
    **options : dict
        As for :func:`load_parts`.

    Returns
    -------
    object
        The model; ``None`` with ``download_only``.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist.
    TypeError
        If an argument has the wrong type.
    ValueError
        If a file in it is damaged, of another model or another version.
    """
    unknown = options.keys() - set(OPTIONS)
    if unknown:
        raise TypeError(
            must_be(
                "arguments of from_hparams",
                f"among SpeechBrain's {', '.join(OPTIONS)}",
                repr(min(unknown)),
            )
        )
    if not isinstance(trust, bool):
        raise TypeError(must_be("trust", "True or False", repr(trust)))
    if hparams_file not in (None, HPARAMS_FILE):
        raise ValueError(
            must_be(
                "hparams_file",
                f"{HPARAMS_FILE!r}, since {MODEL_FILE} is what is read",
                repr(hparams_file),
            )
        )
    check_type("overrides", options.get("overrides") or {}, dict)
    source = _checked_source(source)
    if Path(source).is_dir():
        options.pop("savedir", None)
    try:
        # whatever a program has chosen for its own tensors
        with torch.inference_mode(False), torch.device("cpu"):
            parts = load_parts(source, kind, trust, **options)
            if parts is None:
                return None
            if "search" in parts:
                parts["search"] = choose_search(source, parts["search"])
            return make(parts)
    except (TypeError, ValueError) as error:
        raise ValueError(
            must_be("source", "a model folder", f"{source!r}: {reason(error)}")
        ) from error
    except OSError as error:
        if Path(source).is_dir():
            raise
        raise _no_such_model(source) from error


def load_pretrained_weights(pretrained_folder, **modules):
    """Loads weights of a model folder into existing modules.

    Arguments
    ---------
    pretrained_folder : str or pathlib.Path
        A folder of any kind.
    **modules : torch.nn.Module
        By name, modules with the folder's sizes: ``extractor``,
        ``encoder_wrapper``, whose attention may differ and whose convolutions
        may be new (:meth:`ConformerConvolution.begin_as_nothing`), ``head``,
        which a folder of the kind "encoder" has not, and ``decoder``, which
        only one of the kind "transducer" has.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist.
    ValueError
        If a file in it is damaged, or does not match the modules.
    """
    name = "pretrained_folder"
    folder, description = read_pretrained(pretrained_folder)
    files = description["weights"]
    paths = {part: folder / files[part]["file"] for part in modules}
    try:
        with _without_new_convolutions(modules.values()):
            for part, module in modules.items():
                check_present(folder, files[part]["file"], name)
                check_weights(paths[part], module)
                check_checksum(paths[part], files[part]["sha256"])
            for part, module in modules.items():
                load_weights(paths[part], module)
    except ValueError as error:
        raise ValueError(
            must_be(
                name,
                "a folder whose weights fit the model",
                f"{str(folder)!r}: {reason(error)}",
            )
        ) from error


@contextmanager
def _without_new_convolutions(modules):
    """Takes the convolutions that are in no folder out of layers for a
    while."""
    layers = [
        (layer, layer.convolution)
        for module in modules
        for layer in module.modules()
        if isinstance(getattr(layer, "convolution", None), ConformerConvolution)
        and layer.convolution.begins_as_nothing
    ]
    for layer, _ in layers:
        layer.convolution = None
    try:
        yield
    finally:
        for layer, convolution in layers:
            layer.convolution = convolution


def load_pretrained_tokenizer(pretrained_folder):
    """Loads the tokenizer of a model folder.

    Arguments
    ---------
    pretrained_folder : str or pathlib.Path
        A folder of any kind.

    Returns
    -------
    CTCTextEncoder or SentencePieceProcessor or None
        ``None`` for a folder of the kind "encoder".

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist.
    ValueError
        If a file in it is damaged.
    """
    folder, description = read_pretrained(pretrained_folder)
    if description["kind"] not in COMPLETE:
        return None

    def locate(file_name):
        check_present(folder, file_name, "pretrained_folder")
        return folder / file_name

    section = description["tokenizer"]
    tokenizer = TOKENIZERS[section["kind"]]()
    load_tokenizer(
        tokenizer, _locate_tokenizer(section, folder / MODEL_FILE, locate)
    )
    return tokenizer


def read_pretrained(pretrained_folder):
    """Reads the description of a pre-trained folder.

    Arguments
    ---------
    pretrained_folder : str or pathlib.Path
        A folder of any kind.

    Returns
    -------
    pathlib.Path
        The folder.
    dict
        Its description.

    Raises
    ------
    FileNotFoundError
        If the folder, or its ``model.json``, does not exist.
    ValueError
        If that file is damaged.
    """
    name = "pretrained_folder"
    folder = Path(_checked_source(pretrained_folder, name))
    check_present(folder, MODEL_FILE, name)
    try:
        return folder, read_description(folder / MODEL_FILE, tuple(PARTS_OF))
    except ValueError as error:
        raise ValueError(
            must_be(name, "a model folder", f"{str(folder)!r}: {reason(error)}")
        ) from error


def _checked_source(source, name="source"):
    """Returns the source as a string, a folder for the name of a model that
    ships, unless it cannot exist."""
    check_type(name, source, (str, os.PathLike))
    source = str(find_model(source))
    if Path(source).is_dir():
        if not Path(source, MODEL_FILE).is_file():
            raise FileNotFoundError(
                must_be(
                    name,
                    "a model folder",
                    f"{source!r}, {describe_missing(source)}",
                )
            )
    elif source.count("/") != 1 or source[0] in "./~":
        raise _no_such_model(source, name)
    return source


def _no_such_model(source, name="source"):
    return FileNotFoundError(
        must_be(
            name,
            "an existing model folder, or owner/name of a model hub that "
            f"holds a {MODEL_FILE}",
            repr(source),
        )
    )
