"""Options of the server's deployment on Ray Serve."""

from pathlib import Path

from speechbrain_llsa_runtime.commands.serve import (
    add_arguments,
    check_arguments,
)
from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser

NOT_HERE = ("host", "port", "certificate", "private_key", "message_bytes")
"""Options of ``serve`` that Ray's proxy has in its place."""


def parse(options):
    """Reads and checks the options.

    Arguments
    ---------
    options : dict of str to object
        Options of the command ``serve`` by their names without dashes, such
        as ``store``; those without a value are ``True``. And
        ``fewest_replicas``, ``most_replicas``, and ``cpus`` of each replica.

    Returns
    -------
    argparse.Namespace

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If an option is not allowed.
    """
    for name in NOT_HERE:
        if name in options:
            raise ValueError(must_be(name, "left to Ray's proxy", "a value"))
    parser = _Parser(prog="ray_serve", allow_abbrev=False)
    add_arguments(parser)
    group = parser.add_argument_group("replicas")
    group.add_argument("--fewest_replicas", type=int, default=1)
    group.add_argument("--most_replicas", type=int, default=4)
    group.add_argument("--cpus", type=float, default=1.0)
    arguments = parser.parse_args(_words(options))
    # whoever reaches the proxy reaches every replica
    arguments.host = "0.0.0.0"
    check_arguments(arguments)
    check_integer("--fewest_replicas", arguments.fewest_replicas, 1)
    check_integer(
        "--most_replicas", arguments.most_replicas, arguments.fewest_replicas
    )
    check_number("--cpus", arguments.cpus, 0, 1e4)
    if arguments.most_replicas > 1 and arguments.store == "memory":
        raise ValueError(
            must_be(
                "--store",
                "a folder or a URL of Redis where --most_replicas is above 1",
                "memory",
            )
        )
    _make_absolute(arguments)
    return arguments


def _make_absolute(arguments):
    """For replicas do not run where the options were given."""
    for name in ("model", "tokens", "resume_key"):
        value = getattr(arguments, name)
        if value is not None and Path(value).exists():
            setattr(arguments, name, str(Path(value).absolute()))
    if arguments.store != "memory" and "://" not in arguments.store:
        arguments.store = str(Path(arguments.store).absolute())


class _Parser(OneLineParser):
    def error(self, message):
        raise ValueError(str(message))


def _words(options):
    words = []
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            is_set = str(each).lower() == "true"
            words.append(f"--{name}" if is_set else f"--{name}={each}")
    return words
