"""Commands of the documentation that deploy the server."""

import argparse
import itertools
from pathlib import Path

from deploy.ray_options import parse
from speechbrain_llsa_runtime.commands import serve

SYSTEM = {"curl", "mkdir", "openssl"}
"""Programs of the system, whose arguments are their own."""

PROGRAMS = {"docker", "kubectl", "helm", "serve", *SYSTEM}

FILE_OPTIONS = {"--file", "--filename", "--values"}

IMAGE = "speechbrain-llsa-runtime"

APPLICATION = "deploy.ray_serve:build"


def check_command(program, arguments, root, folder):
    """Fails where a command is not understood.

    Arguments
    ---------
    program : str
        One of ``PROGRAMS``.
    arguments : sequence of str
        Its arguments.
    root : pathlib.Path
        The repository.
    folder : pathlib.Path
        An empty one, for the secrets that a command names.
    """
    for option, value in itertools.pairwise(arguments):
        if option in FILE_OPTIONS:
            assert (root / value).is_file(), value
    if program == "docker" and arguments[0] == "run":
        _check_run(arguments[1:])
    elif program == "docker":
        assert arguments[0] in ("build", "compose")
        if arguments[0] == "build":
            assert arguments[-1] == "."
    elif program == "serve":
        _check_ray(arguments, folder)
    elif program == "kubectl":
        assert arguments[0] in ("apply", "get")


def _check_run(arguments):
    (image,) = (
        i for i, word in enumerate(arguments) if word.startswith(f"{IMAGE}:")
    )
    command = arguments[image + 1 :]
    if command:
        assert command[0] == serve.NAME
        parser = argparse.ArgumentParser(exit_on_error=False)
        serve.add_arguments(parser)
        _, unknown = parser.parse_known_args(command[1:])
        assert not unknown


def _check_ray(arguments, folder):
    assert arguments[:2] == ("run", APPLICATION)
    options = dict(word.split("=", 1) for word in arguments[2:])
    for name in ("tokens", "resume_key"):
        path = folder / Path(options[name]).name
        path.write_text("correct-horse-battery\n")
        options[name] = path
    parse(options)
