"""Options that say where a command closes segments."""

import argparse

from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from speechbrain_llsa_runtime.utils.errors import must_be

RULES = {
    "without_speech": (
        "silence_without_speech",
        "silence_seconds",
        "silence in which nothing has been said",
    ),
    "after_speech": (
        "silence_after_speech",
        "silence_seconds",
        "silence behind what has been said",
    ),
    "maximum_length": (
        "maximum_length",
        "length_seconds",
        "length of a segment, up to the next word",
    ),
}
"""Option of each rule, the field that the option sets, and its help."""


def add_endpoint_arguments(parser, default=None):
    """Declares ``--endpoint`` and one option per rule.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    default : bool, optional
        Whether segments are closed if the command line does not say. By
        default, the model's YAML file decides.
    """
    otherwise = "as the model's YAML file says"
    if default is not None:
        otherwise = "yes" if default else "no"
    parser.add_argument(
        "--endpoint",
        action=argparse.BooleanOptionalAction,
        default=default,
        help="close segments at endpoints, and print a line for each "
        f"(default: {otherwise})",
    )
    for name, (option, field, meaning) in RULES.items():
        seconds = getattr(Endpointer().rules[name], field)
        parser.add_argument(
            f"--{option}",
            type=float,
            metavar="SECONDS",
            help=f"{meaning} that closes it, 0 for never; implies --endpoint "
            f"(default: as the YAML file says, or {seconds:g})",
        )


def rules_from_options(arguments):
    """Reads the rules that are set by options.

    Arguments
    ---------
    arguments : argparse.Namespace
        Arguments of the command.

    Returns
    -------
    dict of str to EndpointRule or None
        Rules by name; ``None`` for those that are off.

    Raises
    ------
    ValueError
        If a number is out of range, or endpoints are off.
    """
    rules = {}
    for name, (option, field, _) in RULES.items():
        seconds = getattr(arguments, option)
        if seconds is None:
            continue
        if arguments.endpoint is False:
            raise ValueError(
                must_be(f"--{option}", "absent with --no-endpoint", seconds)
            )
        try:
            rule = EndpointRule(name == "after_speech", **{field: seconds})
        except ValueError as error:
            if seconds != 0:
                raise ValueError(f"--{option}: {error}") from error
            rule = None
        rules[name] = rule
    return rules


def choose_endpointer(arguments, rules, model_endpointer):
    """Chooses the endpointer: options take precedence over the model.

    Arguments
    ---------
    arguments : argparse.Namespace
        Arguments of the command.
    rules : dict of str to EndpointRule or None
        The result of :func:`rules_from_options`.
    model_endpointer : Endpointer or None
        The endpointer of the model.

    Returns
    -------
    Endpointer or None
        ``None`` if segments are never closed.
    """
    if arguments.endpoint is False:
        return None
    if arguments.endpoint is None and not rules:
        return model_endpointer
    return Endpointer(**{**(model_endpointer or Endpointer()).rules, **rules})
