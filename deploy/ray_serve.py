"""The server as a deployment of Ray Serve: ``serve run
deploy.ray_serve:build``, with the options of ``serve`` as ``name=value``."""

from ray import serve

from speechbrain_llsa_runtime.commands.serve import (
    add_arguments,
    check_arguments,
    make_service,
)
from speechbrain_llsa_runtime.commands.sessions import load_sessions
from speechbrain_llsa_runtime.server.application import make_application
from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser

FULLNESS = 0.75
"""Share of the slots that are taken where another replica is started."""

NOT_HERE = ("host", "port", "certificate", "private_key", "message_bytes")
"""Options of ``serve`` that Ray's proxy has in its place."""


def build(options):
    """Makes the application.

    Arguments
    ---------
    options : dict of str to object
        Options of the command ``serve`` by their names without dashes, such
        as ``store``; those without a value are ``True``. And
        ``fewest_replicas``, ``most_replicas``, and ``cpus`` of each replica.

    Returns
    -------
    ray.serve.Application

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If an option is not allowed.
    """
    arguments = parse(options)

    def make_replica_application():
        return make_application(
            make_service(arguments, load_sessions(arguments))
        )

    return serve.deployment(
        serve.ingress(make_replica_application)(Replica),
        name="speechbrain_llsa",
        max_ongoing_requests=arguments.slots,
        autoscaling_config={
            "min_replicas": arguments.fewest_replicas,
            "max_replicas": arguments.most_replicas,
            "target_ongoing_requests": arguments.slots * FULLNESS,
            "downscale_delay_s": 600,
        },
        graceful_shutdown_timeout_s=arguments.drain,
        ray_actor_options={"num_cpus": arguments.cpus},
    ).bind()


class Replica:
    """What Ray asks of a replica beside its application."""

    def check_health(self):
        """Tells Ray to replace a replica whose engine has stopped.

        Raises
        ------
        RuntimeError
            If it has.
        """
        if not self.app.state.service.engine.alive:
            raise RuntimeError("the engine has stopped")


def parse(options):
    """Reads and checks the options.

    Arguments
    ---------
    options : dict of str to object
        As for :func:`build`.

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
    return arguments


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
