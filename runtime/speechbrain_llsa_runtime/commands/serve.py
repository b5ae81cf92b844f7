"""Serves live speech recognition over WebSocket and HTTP."""

import asyncio
import ipaddress
import socket
import sys
from pathlib import Path

from speechbrain_llsa_runtime.commands.endpoint_options import (
    add_endpoint_arguments,
)
from speechbrain_llsa_runtime.commands.models import (
    ExportedModels,
    add_geometry_arguments,
)
from speechbrain_llsa_runtime.commands.sessions import load_sessions
from speechbrain_llsa_runtime.model_folder.shipped import DEFAULT_MODEL
from speechbrain_llsa_runtime.server.json_log import log_as_json
from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be

NAME = "serve"

SLOTS = 64


def add_arguments(parser, models=None):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    models : ExportedModels, optional
        The models that the command may work with.
    """
    models = ExportedModels() if models is None else models
    models.add_arguments(parser)
    parser.set_defaults(models=models, channel=None)
    add_geometry_arguments(parser)
    add_endpoint_arguments(parser)
    parser.add_argument(
        "--name",
        help="name that clients call the model (default: that of its folder)",
    )
    parser.add_argument(
        "--language",
        action="append",
        metavar="CODE",
        help="language of the model, such as en, any number of times "
        f"(default: en for {DEFAULT_MODEL!r}, or none)",
    )
    group = parser.add_argument_group("address")
    group.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to bind (default: %(default)s); others than loopback "
        "need --tokens or --insecure",
    )
    group.add_argument(
        "--port", type=int, default=8000, help="(default: %(default)s)"
    )
    group.add_argument("--certificate", metavar="FILE", help="for TLS")
    group.add_argument(
        "--private_key", metavar="FILE", help="of the certificate"
    )
    group = parser.add_argument_group("access")
    group.add_argument(
        "--tokens", metavar="FILE", help="a token that is accepted in each line"
    )
    group.add_argument(
        "--insecure",
        action="store_true",
        help="bind any address without tokens",
    )
    group.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="origin of a page on another host that may connect, any number "
        "of times",
    )
    group = parser.add_argument_group("limits")
    for name, default, meaning in (
        ("slots", SLOTS, "sessions at once"),
        ("sessions_per_token", None, "sessions at once of each token"),
        ("message_bytes", 1 << 20, "bytes of a message"),
        ("file_bytes", 512 << 20, "bytes of a whole file"),
    ):
        text = "any number" if default is None else "%(default)s"
        group.add_argument(
            f"--{name}",
            type=int,
            default=default,
            metavar="N",
            help=f"at most so many {meaning} (default: {text})",
        )
    for name, default, meaning in (
        ("idle", 60.0, "without a message, after which a client is closed"),
        ("longest", 14400.0, "that a connection may last"),
        ("unread", 30.0, "that a message waits for a client to read"),
        ("drain", 30.0, "that sessions may go on after SIGTERM"),
    ):
        group.add_argument(
            f"--{name}",
            type=float,
            default=default,
            metavar="SECONDS",
            help=f"seconds {meaning} (default: %(default)g)",
        )
    group = parser.add_argument_group("sessions of lost connections")
    group.add_argument(
        "--store",
        default="memory",
        metavar="PLACE",
        help="where they are kept: memory, a folder, or a URL of Redis "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--keep",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long they are kept (default: %(default)g)",
    )
    group.add_argument(
        "--resume_key",
        metavar="FILE",
        help="a file of at least 16 bytes that signs their names; needed "
        "where --store is not memory",
    )


def run(arguments):
    """Runs the command.

    Arguments
    ---------
    arguments : argparse.Namespace
        As :func:`add_arguments` declares them.

    Raises
    ------
    FileNotFoundError
        If the model, or another file, does not exist.
    ImportError
        If the packages of the extra ``server`` are not installed.
    ValueError
        If an argument is not allowed.
    """
    check_arguments(arguments)
    sessions = load_sessions(arguments)
    log_as_json()
    asyncio.run(_serve(arguments, sessions))


async def _serve(arguments, sessions):
    server = make_server_of(arguments, sessions)
    listening = _bind(arguments.host, arguments.port)
    port = listening.getsockname()[1]
    scheme = "https" if arguments.certificate else "http"
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    print(f"serving at {scheme}://{host}:{port}", file=sys.stderr, flush=True)
    await server.serve([listening])


def _bind(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(
            must_be("--host and --port", "free", f"{host}:{port}: {error}")
        ) from error


def make_server_of(arguments, sessions):
    """Makes the server that the arguments describe. Called within the event
    loop.

    Arguments
    ---------
    arguments : argparse.Namespace
        As :func:`add_arguments` declares them.
    sessions : Sessions
        The model and the options of its sessions.

    Returns
    -------
    DrainingServer

    Raises
    ------
    ImportError
        If the packages of the extra ``server`` are not installed.
    ValueError
        If an argument is not allowed.
    """
    try:
        from speechbrain_llsa_runtime.server.running import make_server
    except ImportError as error:
        raise _missing(error) from error
    return make_server(
        make_service(arguments, sessions),
        arguments.host,
        arguments.port,
        arguments.drain,
        arguments.message_bytes,
        arguments.certificate,
        arguments.private_key,
    )


def make_service(arguments, sessions):
    """Makes what the arguments describe, without a server around it.

    Arguments
    ---------
    arguments : argparse.Namespace
        As :func:`add_arguments` declares them.
    sessions : Sessions
        The model and the options of its sessions.

    Returns
    -------
    Service

    Raises
    ------
    ImportError
        If the packages of the extra ``server`` are not installed.
    ValueError
        If an argument is not allowed.
    """
    try:
        from speechbrain_llsa_runtime.server.engine import Engine
        from speechbrain_llsa_runtime.server.metrics import Metrics
        from speechbrain_llsa_runtime.server.resumption import (
            Resumption,
            read_key,
        )
        from speechbrain_llsa_runtime.server.service import Limits, Service
        from speechbrain_llsa_runtime.server.session_store import make_store
        from speechbrain_llsa_runtime.server.tokens import Tokens
    except ImportError as error:
        raise _missing(error) from error
    store = make_store(arguments.store, arguments.keep)
    key = arguments.resume_key and read_key(arguments.resume_key)
    if store.shared and key is None:
        raise ValueError(
            must_be(
                "--resume_key",
                "given where --store is not memory",
                "none",
            )
        )
    metrics = Metrics()
    engine = Engine(
        sessions.asr.batcher(
            arguments.slots,
            hop=sessions.options["hop"],
            look_ahead=sessions.options["look_ahead"],
            search=sessions.options["search"],
            endpointer=sessions.endpointer or False,
        ),
        metrics,
    )
    metrics.watch(engine)
    name = arguments.name or Path(arguments.model).name
    languages = arguments.language
    if languages is None:
        languages = ["en"] if arguments.model == DEFAULT_MODEL else []
    return Service(
        engine,
        metrics,
        Resumption(store, key),
        name,
        languages,
        lambda hotwords: arguments.models.hotword_search(
            sessions.asr, sessions.options["search"], hotwords
        ),
        sessions.endpointer,
        arguments.tokens and Tokens.from_file(arguments.tokens),
        arguments.origin,
        Limits(
            arguments.idle,
            arguments.longest,
            arguments.unread,
            arguments.sessions_per_token,
            arguments.file_bytes,
        ),
    )


def check_arguments(arguments):
    """Checks what the parser cannot.

    Arguments
    ---------
    arguments : argparse.Namespace
        As :func:`add_arguments` declares them.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If an argument is not allowed.
    """
    for name in ("slots", "message_bytes", "file_bytes", "sessions_per_token"):
        value = getattr(arguments, name)
        if value is not None:
            check_integer(f"--{name}", value, 1)
    if not 0 <= arguments.port < 1 << 16:
        raise ValueError(must_be("--port", "0 to 65535", arguments.port))
    for name in ("idle", "longest", "unread", "keep"):
        check_number(f"--{name}", getattr(arguments, name), 0.001, 1e9)
    check_number("--drain", arguments.drain, 0, 1e9)
    if bool(arguments.certificate) != bool(arguments.private_key):
        raise ValueError(
            must_be("--certificate", "given with --private_key", "one of them")
        )
    for name in ("tokens", "certificate", "private_key", "resume_key"):
        path = getattr(arguments, name)
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(
                must_be(f"--{name}", "an existing file", repr(path))
            )
    if not (
        arguments.tokens or arguments.insecure or _is_loopback(arguments.host)
    ):
        raise ValueError(
            must_be(
                "--host",
                "an address of loopback without --tokens or --insecure",
                repr(arguments.host),
            )
        )


def _is_loopback(host):
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _missing(error):
    return ImportError(
        f"{error.name}: not installed, needed for serve: pip install "
        '"speechbrain-llsa[server]"'
    )
