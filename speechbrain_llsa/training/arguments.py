"""The command line of the recipes: a YAML file, run options, overrides.

The YAML file applies unless the command line overrides it. A run option of
SpeechBrain (``--max_grad_norm``, ``--precision``, ...) counts only if it was
typed; it then also overrides the YAML entry of the same name, so that
references to that entry follow. Every other ``--name value`` overrides the YAML
entry of that name, which must exist and keep its type, except that hop and
look_ahead may be an integer or a list of integers. If a name is repeated, the
last one wins.
"""

import contextlib
import dataclasses
import difflib
import io
import math

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.logger import get_logger
from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.text_files import open_text, read_text

logger = get_logger(__name__)

_LIST_OPTIONS = ("jit_module_keys", "compile_module_keys")
_RUN_OPTIONS = (
    *(HELP_TEXTS.keys() & RunOptions().as_dict().keys()),
    *_LIST_OPTIONS,
)
_LISTED_INTEGERS = ("hop", "look_ahead")
_FLAGS = {
    name for name in _RUN_OPTIONS if RunOptions().as_dict()[name] is False
}


def parse_arguments(arguments):
    """Reads the command line of a recipe.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    hparams_file : str
        Path of the YAML file.
    run_options : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options; ``overridden_args`` names the typed ones.
    overrides : dict
        Values for the YAML file by entry name: the typed overrides, and the
        typed run options that the YAML file has an entry for.

    Raises
    ------
    FileNotFoundError
        If there is no such YAML file.
    ValueError
        If an override has no value or no entry in the YAML file, or a value
        is not allowed.
    TypeError
        If an override differs in type from the YAML file's value.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.yaml"
    >>> _ = path.write_text("lr: 0.1\\noptimizer_step_limit: 40")
    >>> _, run_options, overrides = parse_arguments(
    ...     [str(path), "--lr", "1e-3", "--optimizer_step_limit=7"]
    ... )
    >>> overrides["lr"], overrides["optimizer_step_limit"]
    (0.001, 7)
    >>> run_options.optimizer_step_limit
    7
    """
    speechbrain_arguments, override_texts = _split(arguments)
    hparams_file, run_options = _parse_speechbrain_arguments(
        speechbrain_arguments
    )
    entries = _read_entries(hparams_file)
    run_options = _check_run_options(run_options)
    overrides = {
        name: _read_value(name, text) for name, text in override_texts.items()
    }
    _check_overrides(overrides, entries)
    typed = run_options.overridden_args
    overrides.update(
        {name: run_options[name] for name in typed if name in entries}
    )
    _resolve_checkpoint_interval(overrides, entries, typed)
    return hparams_file, run_options, overrides


def load_hparams(hparams_file, overrides):
    """Builds everything that a YAML file describes.

    Arguments
    ---------
    hparams_file : str
        Path of the YAML file.
    overrides : dict
        Values that replace entries of the YAML file.

    Returns
    -------
    dict
        The hyperparameters and objects by name.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.yaml"
    >>> _ = path.write_text("lr: 0.1\\ntwice: !ref <lr> * 2")
    >>> load_hparams(str(path), {"lr": 0.5})
    {'lr': 0.5, 'twice': 1.0}
    """
    return dict(load_hyperpyyaml(open_text(hparams_file), overrides))


def check_max_grad_norm(max_grad_norm):
    """Checks a maximum gradient norm; 0 or less turns clipping off.

    In SpeechBrain, 0 freezes the weights and a negative value makes training
    climb the loss. Here both mean what SpeechBrain's help says of negative
    values: no clipping.

    Arguments
    ---------
    max_grad_norm : float or None
        The value from the YAML file or the command line.

    Returns
    -------
    float or None
        The norm to clip to; None for no clipping.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is NaN.

    Example
    -------
    >>> check_max_grad_norm(5), check_max_grad_norm(0.0)
    (5.0, None)
    """
    if max_grad_norm is None:
        return None
    if isinstance(max_grad_norm, bool) or not isinstance(
        max_grad_norm, (int, float)
    ):
        raise TypeError(
            must_be("max_grad_norm", "a number", repr(max_grad_norm))
        )
    if math.isnan(max_grad_norm):
        raise ValueError(must_be("max_grad_norm", "a number", "NaN"))
    return float(max_grad_norm) if max_grad_norm > 0 else None


def check_optimizer_step_limit(limit):
    """Converts the limit of optimiser steps to an integer.

    Arguments
    ---------
    limit : int, str or None
        The value from the YAML file or the command line.

    Returns
    -------
    int or None
        Optimiser steps of the entire training; None for no limit.

    Raises
    ------
    ValueError
        If it is not an integer of at least 1.

    Example
    -------
    >>> check_optimizer_step_limit("400000")
    400000
    """
    if limit is None:
        return None
    try:
        number = int(str(limit))
    except ValueError:
        number = 0
    if number < 1 or isinstance(limit, bool):
        raise ValueError(
            must_be(
                "optimizer_step_limit", "an integer of at least 1", repr(limit)
            )
        )
    return number


def _split(arguments):
    speechbrain_arguments, override_texts = [], {}
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name == "help":
            speechbrain_arguments.append(argument)
            continue
        values = [text] if equals else []
        many = name in _LIST_OPTIONS
        while position < len(arguments) and (many or not values):
            value = arguments[position]
            if value.startswith("--") or name in _FLAGS:
                break
            values.append(value)
            position += 1
        if name in _RUN_OPTIONS:
            speechbrain_arguments += [f"--{name}", *values]
        elif not values:
            raise ValueError(f"--{name} must have a value, got none")
        else:
            override_texts[name] = values[0]
    return speechbrain_arguments, override_texts


def _parse_speechbrain_arguments(arguments):
    """Runs SpeechBrain's own parser; its errors raise instead of exiting."""
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        try:
            return RunOptions.from_command_line_args(arguments)[:2]
        except SystemExit as stop:
            if not stop.code:
                raise
            _, _, message = stderr.getvalue().rpartition("error: ")
            raise ValueError(" ".join(message.split())) from None


def _read_entries(hparams_file):
    try:
        entries = ruamel.yaml.YAML().load(read_text(hparams_file)) or {}
    except FileNotFoundError:
        raise FileNotFoundError(
            must_be(
                "param_file",
                "the path of a YAML file",
                f"{hparams_file!r}, which does not exist",
            )
        ) from None
    except (OSError, ValueError, ruamel.yaml.YAMLError) as error:
        raise ValueError(
            must_be(
                "param_file",
                "the path of a YAML file",
                f"{hparams_file!r}: {error}",
            )
        ) from error
    if not isinstance(entries, dict):
        raise ValueError(
            must_be(
                "param_file",
                "a YAML file of entries with names",
                repr(hparams_file),
            )
        )
    return entries


def _check_run_options(run_options):
    changes = {}
    if "optimizer_step_limit" in run_options.overridden_args:
        changes["optimizer_step_limit"] = check_optimizer_step_limit(
            run_options.optimizer_step_limit
        )
    if "max_grad_norm" in run_options.overridden_args:
        check_max_grad_norm(run_options.max_grad_norm)
    return dataclasses.replace(run_options, **changes)


def _read_value(name, text):
    kind = "rt" if "!" in text else "safe"
    try:
        return ruamel.yaml.YAML(typ=kind).load(text)
    except ruamel.yaml.YAMLError:
        raise ValueError(
            must_be(f"--{name}", "a YAML value", repr(text))
        ) from None


def _check_overrides(overrides, entries):
    for name, value in overrides.items():
        if name not in entries:
            near = difflib.get_close_matches(name, {*entries, *_RUN_OPTIONS})
            hint = f"; near to it: {', '.join(near)}" if near else ""
            raise ValueError(
                must_be(
                    f"--{name}",
                    "an entry of the YAML file or a run option",
                    f"an unknown name{hint}",
                )
            )
        listed = isinstance(value, list) and name in _LISTED_INTEGERS
        for each in value if listed else [value]:
            _check_type(name, each, entries[name])


def _check_type(name, value, entry):
    allowed = {bool: (bool,), int: (int,), float: (int, float)}
    for kind in (bool, int, float):
        if not isinstance(entry, kind) or hasattr(entry, "tag_value"):
            continue
        type_matches = isinstance(value, allowed[kind])
        if type_matches and isinstance(value, bool) == (kind is bool):
            return
        raise TypeError(
            must_be(
                f"--{name}",
                f"{kind.__name__}, as {entry} in the YAML file is",
                repr(value),
            )
        )


def _resolve_checkpoint_interval(overrides, entries, typed):
    """SpeechBrain allows only one of the two intervals: the typed one wins."""
    minutes, steps = "ckpt_interval_minutes", "ckpt_interval_steps"
    for one, other in ((minutes, steps), (steps, minutes)):
        if one in typed and other not in typed and other in entries:
            overrides[other] = 0
