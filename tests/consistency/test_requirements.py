"""What setup.cfg allows, what requirements/ pins, and what works agree."""

import configparser
import re
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import speechbrain_llsa
import speechbrain_llsa_runtime
from source_files import FILES, ROOT, imported_modules
from speechbrain_llsa.torch_versions import (
    REPAIR,
    WORKING_PAIRS,
    known_to_work,
)

PYTHONS = ("3.10", "3.11", "3.12")
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
SETUPS = {
    "speechbrain-llsa": configparser.ConfigParser(),
    "speechbrain-llsa-runtime": configparser.ConfigParser(),
}
SETUPS["speechbrain-llsa"].read(ROOT / "setup.cfg", encoding="utf-8")
SETUPS["speechbrain-llsa-runtime"].read(
    ROOT / "runtime" / "setup.cfg", encoding="utf-8"
)
EXTRAS = SETUPS["speechbrain-llsa"]["options.extras_require"]

DECLARED_TORCH = {
    (2, 9, 0): "==2.9.0",
    (2, 9, 1): "==2.9.1",
    (2, 10, 0): "==2.10.0",
    (2, 11, 0): "",
    (2, 11, 1): ">=2.11",
}
"""What each release of torchaudio says of torch: all that pip knows."""

TORCH_RELEASES = [
    *("2.9.0", "2.9.1", "2.10.0", "2.11.0", "2.12.0", "2.12.1"),
    *("2.13.0", "2.14.0", "2.14.1", "2.15.0", "2.16.0"),
]


def requirements(extra=None, distribution="speechbrain-llsa"):
    """What a distribution requires, or an extra of it, with those of this
    repository in place of their names."""
    setup = SETUPS[distribution]
    text = setup["options"]["install_requires"]
    if extra is not None:
        text = setup["options.extras_require"][extra]
    for line in filter(None, text.splitlines()):
        requirement = Requirement(line)
        if requirement.name not in SETUPS:
            yield requirement
            continue
        if requirement.name != distribution:
            yield from requirements(None, requirement.name)
        for name in requirement.extras:
            yield from requirements(name, requirement.name)


def test_both_distributions_have_one_version():
    """The one with PyTorch takes no other version of the runtime."""
    version = speechbrain_llsa.__version__
    assert speechbrain_llsa_runtime.__version__ == version
    pins = re.findall(
        r"speechbrain-llsa-runtime\S*==(\S+)",
        (ROOT / "setup.cfg").read_text(encoding="utf-8"),
    )
    assert len(pins) == 5 and set(pins) == {version}


def test_commits_and_make_lint_have_one_ruff():
    """What one of them accepts, the other accepts."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    revisions = re.findall(r"ruff-pre-commit\n +rev: v(\S+)", hooks)
    (ruff,) = (r for r in requirements("develop") if r.name == "ruff")
    assert [f"=={version}" for version in revisions] == [str(ruff.specifier)]


def pinned(path, python):
    """Versions of a lock file on Linux with a version of Python, by name."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(("#", " ")):
            continue
        requirement = Requirement(line.rstrip(" \\"))
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{path}: {name} twice on Python {python}"
        (version,) = requirement.specifier
        assert version.operator == "=="
        found[name] = version.version
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_satisfy_setup_cfg(python):
    """A range that was narrowed needs ``make lock``."""
    development, docs, kenlm, peers, transformers = (
        pinned(path, python) for path in LOCKS
    )
    for versions, extras in (
        (development, (None, "develop")),
        (docs, ("docs",)),
        (kenlm, ("kenlm",)),
        ({**development, **peers}, ("peers",)),
        ({**development, **transformers}, ("transformers",)),
    ):
        for extra in extras:
            for requirement in requirements(extra):
                version = versions[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version), requirement
    assert known_to_work(development["torch"], development["torchaudio"])
    assert not set(kenlm) & set(development)
    assert not set(peers) & {*development, *kenlm}
    assert not set(transformers) & {*development, *kenlm}
    assert not set(docs) & {*development, *kenlm}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_has_hashes_and_no_address(path):
    """It installs the same files from any index."""
    text = path.read_text(encoding="utf-8")
    assert "://" not in text and "--index" not in text
    entries = re.split(r"\n(?=\S)", text)
    for entry in entries:
        assert entry.startswith("#") or "--hash=sha256:" in entry, entry


def test_pip_can_only_choose_pairs_that_work():
    """Whatever of the ranges it takes: at their ends, and between them."""
    ranges = {each.name: each.specifier for each in requirements()}
    chosen = [
        (torch, ".".join(map(str, torchaudio)))
        for torchaudio, declared in DECLARED_TORCH.items()
        for torch in TORCH_RELEASES
        if torch in ranges["torch"] and torch in SpecifierSet(declared)
    ]
    chosen = [pair for pair in chosen if pair[1] in ranges["torchaudio"]]
    assert chosen[0] == ("2.13.0", "2.11.1")
    assert chosen[-1] == ("2.15.0", "2.11.1")
    assert all(known_to_work(*pair) for pair in chosen)
    assert set(WORKING_PAIRS) == set(DECLARED_TORCH)


def test_the_repair_is_what_setup_cfg_allows():
    """It installs nothing that the package would refuse."""
    ranges = {each.name: each.specifier for each in requirements()}
    told = {
        each.name: each.specifier
        for each in map(Requirement, re.findall('"(.*?)"', REPAIR))
    }
    for torch in TORCH_RELEASES:
        if torch in told["torch"]:
            assert torch in ranges["torch"]
            assert known_to_work(torch, "2.11.1")
    assert "2.11.1" in told["torchaudio"] and "2.11.1" in ranges["torchaudio"]


def test_what_is_imported_is_declared():
    """Nothing comes by way of another package alone."""
    declared = {
        canonicalize_name(requirement.name)
        for extra in (None, *EXTRAS)
        for requirement in requirements(extra)
    }
    homes = packages_distributions()
    for path in [*FILES, *sorted((ROOT / "recipes").rglob("*.py"))]:
        for module in imported_modules(path):
            top = module.split(".")[0]
            names = {canonicalize_name(name) for name in homes.get(top, ())}
            if top == "ruamel":
                names = {"ruamel-yaml"}
            names -= SETUPS.keys()
            assert not names or names & declared, f"{path} imports {module}"
