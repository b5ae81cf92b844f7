"""Options of the deployment on Ray Serve, without Ray."""

import pytest

from deploy.ray_options import parse


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Those of a deployment, in the folder of its files."""
    monkeypatch.chdir(tmp_path)
    for name in ("tokens", "key"):
        (tmp_path / name).write_text("correct-horse-battery\n")
    return {"tokens": "tokens", "resume_key": "key", "store": "sessions"}


def test_options_of_serve(options):
    """By their names: numbers, switches, and those that are given again."""
    arguments = parse(
        {
            **options,
            "slots": 8,
            "idle": "2.5",
            "insecure": "true",
            "language": ["en", "de"],
        }
    )
    assert (arguments.slots, arguments.idle) == (8, 2.5)
    assert arguments.insecure and arguments.language == ["en", "de"]
    assert (arguments.fewest_replicas, arguments.most_replicas) == (1, 4)


def test_paths_hold_elsewhere(options, tmp_path):
    """Replicas run in other folders."""
    arguments = parse(options)
    assert arguments.tokens == str(tmp_path / "tokens")
    assert arguments.resume_key == str(tmp_path / "key")
    assert arguments.store == str(tmp_path / "sessions")
    assert arguments.model == "english"
    url = "redis://redis:6379"
    assert parse({**options, "store": url}).store == url


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"port": 80}, "port must be left to Ray's proxy, got a value"),
        ({"slots": 0}, "--slots must be"),
        ({"slots": "many"}, "argument --slots: invalid int value: 'many'"),
        ({"speed": 1}, "unrecognized arguments: --speed=1"),
        ({"tokens": None}, "--host must be .* without --tokens or --insecure"),
        ({"store": "memory"}, "--store must be a folder or a URL of Redis"),
        ({"fewest_replicas": 0}, "--fewest_replicas must be"),
        ({"fewest_replicas": 5}, "--most_replicas must be"),
        ({"cpus": -1}, "--cpus must be"),
    ],
)
def test_bad_options(options, changed, message):
    """Are named, before anything is deployed."""
    options = {**options, **changed}
    options = {n: v for n, v in options.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        parse(options)


def test_absent_files(options):
    """Are named as well."""
    with pytest.raises(FileNotFoundError, match="--tokens must be"):
        parse({**options, "tokens": "nowhere"})


def test_one_replica_needs_no_store(options):
    """Its memory is where all sessions are."""
    arguments = parse({**options, "store": "memory", "most_replicas": 1})
    assert arguments.store == "memory"
