"""What ``deploy/`` says agrees with the server, and with itself."""

import json
import re
import shlex
from configparser import ConfigParser

import pytest
import yaml

from source_files import ROOT
from speechbrain_llsa_runtime.__main__ import main
from speechbrain_llsa_runtime.commands import serve
from speechbrain_llsa_runtime.utils.parser import OneLineParser

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

from speechbrain_llsa_runtime import __version__
from speechbrain_llsa_runtime.server.application import make_application
from speechbrain_llsa_runtime.server.metrics import Metrics
from speechbrain_llsa_runtime.server.resumption import read_key
from speechbrain_llsa_runtime.server.running import LAST_SECONDS
from speechbrain_llsa_runtime.server.session_store import RedisStore, make_store
from speechbrain_llsa_runtime.server.tokens import Tokens

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVER = COMPOSE["services"]["server"]
OBJECTS = list(
    yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
)
ENTRYPOINT = "speechbrain-llsa-runtime"


def one(kind, name="llsa"):
    """An object of Kubernetes."""
    (found,) = (
        each
        for each in OBJECTS
        if each["kind"] == kind and each["metadata"]["name"] == name
    )
    return found


POD = one("Deployment")["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]


def instructions(name):
    """The arguments of an instruction of the Dockerfile, each time it is
    there."""
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def read_serve(words):
    """The arguments of a command line of the image."""
    assert words[0] == serve.NAME
    parser = OneLineParser()
    serve.add_arguments(parser)
    return parser.parse_args(words[1:])


def docker_command():
    (entrypoint,) = map(json.loads, instructions("ENTRYPOINT"))
    assert entrypoint[0].rpartition("/")[-1] == ENTRYPOINT
    (command,) = map(json.loads, instructions("CMD"))
    return entrypoint[1:] + command


COMMANDS = {
    "Dockerfile": docker_command(),
    "compose.yaml": SERVER["command"],
    "kubernetes.yaml": CONTAINER["args"],
}


@pytest.mark.parametrize("place", COMMANDS)
def test_commands_are_understood(place):
    """And ask for tokens, on an address that a container is reached at."""
    arguments = read_serve(COMMANDS[place])
    assert arguments.host == "0.0.0.0"
    assert arguments.tokens and not arguments.insecure
    if place != "Dockerfile":
        assert arguments.resume_key
        store = make_store(arguments.store, arguments.keep)
        assert isinstance(store, RedisStore)


def test_the_program_knows_the_command(capsys):
    """That of the image's entrypoint."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--help"])
    assert ended.value.code == 0
    assert "--tokens" in capsys.readouterr().out


def is_in_context(name):
    """Whether .dockerignore leaves a file in the context of a build."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if pattern == "*" or name == pattern or name.startswith(f"{pattern}/"):
            kept = line.startswith("!")
    return kept


def test_copied_files_exist():
    """Each that the Dockerfile takes from the repository."""
    copied = []
    for line in instructions("COPY"):
        *options, _target = shlex.split(line)
        if not options[0].startswith("--from"):
            copied += options
    assert copied
    for name in copied:
        assert (ROOT / name).exists() and is_in_context(name), name
    assert not is_in_context("speechbrain_llsa")
    assert not is_in_context("deploy/secrets/tokens")


def test_versions_are_found():
    """The expression in the Dockerfile finds each version that is locked."""
    (expression,) = re.findall(r"grep -oE '(.*?)'", DOCKERFILE)
    path = ROOT / "requirements" / "development.txt"
    lines = path.read_text("utf-8").splitlines()
    found = [
        match.group().strip()
        for line in lines
        if (match := re.match(expression, line))
    ]
    assert found == [line.rstrip(" \\") for line in lines if line[0].isalnum()]


def test_extras_exist():
    """Those that the image has."""
    setup = ConfigParser()
    setup.read(ROOT / "runtime" / "setup.cfg", encoding="utf-8")
    (extras,) = re.findall(r'"\./runtime\[(.*?)\]"', DOCKERFILE)
    assert set(extras.split(",")) <= set(setup["options.extras_require"])


def test_compose_mounts_files_that_exist():
    """And secrets where the server looks for them."""
    build = SERVER["build"]
    context = DEPLOY / build["context"]
    assert context.resolve() == ROOT
    assert (context / build["dockerfile"]).is_file()
    for mounted in COMPOSE["services"]["caddy"]["volumes"]:
        source, *_ = mounted.split(":")
        if source.startswith("."):
            assert (DEPLOY / source).is_file(), source
        else:
            assert source in COMPOSE["volumes"]
    arguments = read_serve(SERVER["command"])
    for path in (arguments.tokens, arguments.resume_key):
        folder, _, name = path.rpartition("/")
        assert folder == "/run/secrets"
        assert name in SERVER["secrets"] and name in COMPOSE["secrets"]


def test_compose_names_its_services():
    """Where one reaches another."""
    arguments = read_serve(SERVER["command"])
    caddyfile = (DEPLOY / "Caddyfile").read_text("utf-8")
    reached = re.findall(r"reverse_proxy (\w+):(\d+)", caddyfile)
    assert reached == [("server", str(arguments.port))]
    assert re.fullmatch(r"redis://redis:\d+", arguments.store)
    assert {"server", "redis"} < set(COMPOSE["services"])
    variables = re.findall(r"\{\$(\w+)\}", caddyfile)
    assert variables == list(COMPOSE["services"]["caddy"]["environment"])


def probed_paths():
    """Paths that something asks for."""
    for probe in ("readinessProbe", "livenessProbe"):
        yield CONTAINER[probe]["httpGet"]["path"]
    yield POD["metadata"]["annotations"]["prometheus.io/path"]
    (check,) = instructions("HEALTHCHECK")
    yield re.search(r"http://127.0.0.1:8000(/\w+)", check).group(1)


def test_probes_ask_for_paths_that_there_are():
    """Of the application."""
    paths = {route.path for route in make_application(None).routes}
    assert [*probed_paths()] == ["/readyz", "/healthz", "/metrics", "/healthz"]
    assert paths.issuperset(probed_paths())


def test_ports_agree():
    """That of the server, of the image and of its health check, of probes
    and of scraping."""
    (container_port,) = CONTAINER["ports"]
    port = read_serve(CONTAINER["args"]).port
    assert container_port == {"name": "http", "containerPort": port}
    for probe in ("readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"]["port"] == "http"
    (service_port,) = one("Service")["spec"]["ports"]
    assert service_port["targetPort"] == "http"
    annotations = POD["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port)
    assert instructions("EXPOSE") == [str(port)]
    assert read_serve(docker_command()).port == port
    assert f"127.0.0.1:{port}/" in instructions("HEALTHCHECK")[0]


class _Engine:
    slots, free_slots, queued_seconds = 4, 4, 0.0


def test_scaled_by_a_metric_that_there_is():
    """With a target that the slots of a server can reach."""
    metrics = Metrics()
    metrics.watch(_Engine())
    (metric,) = one("HorizontalPodAutoscaler")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert f"\n{name} 0.0\n" in metrics.text().decode()
    target = int(metric["pods"]["target"]["averageValue"])
    assert target < read_serve(CONTAINER["args"]).slots
    adapter = yaml.safe_load(
        (DEPLOY / "prometheus-adapter.yaml").read_text("utf-8")
    )
    (rule,) = adapter["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(f"{name}{{")


def test_there_is_time_to_drain():
    """Before a container is killed."""
    args = read_serve(CONTAINER["args"])
    slept = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = POD["spec"]["terminationGracePeriodSeconds"]
    assert grace > slept + args.drain + LAST_SECONDS
    stops = int(SERVER["stop_grace_period"].removesuffix("s"))
    assert stops > read_serve(SERVER["command"]).drain + LAST_SECONDS


def test_secrets_are_mounted_where_they_are_read():
    """And those of the repository let no server start."""
    secret = one("Secret")
    (mount,) = (
        each for each in CONTAINER["volumeMounts"] if each["name"] == "secrets"
    )
    (volume,) = (
        each for each in POD["spec"]["volumes"] if each["name"] == "secrets"
    )
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    arguments = read_serve(CONTAINER["args"])
    for name in ("tokens", "resume_key"):
        assert getattr(arguments, name) == f"{mount['mountPath']}/{name}"
        assert name in secret["stringData"]


def test_placeholders_are_refused(tmp_path):
    """So that nobody serves with secrets that all know."""
    for name, read in (("tokens", Tokens.from_file), ("resume_key", read_key)):
        path = tmp_path / name
        path.write_text(one("Secret")["stringData"][name])
        with pytest.raises(ValueError, match=f"--{name} must be"):
            read(path)


def test_objects_select_each_other():
    """By labels and names."""
    for name in ("llsa", "llsa-redis"):
        deployment = one("Deployment", name)["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        assert deployment["selector"]["matchLabels"] == labels
        assert one("Service", name)["spec"]["selector"] == labels
    target = one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "llsa")
    store = read_serve(CONTAINER["args"]).store
    (port,) = one("Service", "llsa-redis")["spec"]["ports"]
    assert store == f"redis://llsa-redis:{port['port']}"


def test_nothing_runs_as_root():
    """Neither the image nor the pods."""
    user = str(POD["spec"]["securityContext"]["runAsUser"])
    assert instructions("USER") == [user]
    assert f"--uid {user} " in DOCKERFILE
    for name in ("llsa", "llsa-redis"):
        pod = one("Deployment", name)["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            context = container["securityContext"]
            assert not context["allowPrivilegeEscalation"]
            assert set(container["resources"]) == {"requests", "limits"}


def test_images_are_of_this_version():
    """Compose builds the image that Kubernetes runs."""
    assert SERVER["image"] == CONTAINER["image"]
    assert SERVER["image"] == f"{ENTRYPOINT}:{__version__}"
