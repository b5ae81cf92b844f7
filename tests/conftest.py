"""What all tests share: the device, the seed, the recipes, a tiny corpus."""

import signal

import pytest
import torch


def pytest_addoption(parser):
    """Adds --device, as SpeechBrain's own tests have it."""
    parser.addoption("--device", action="store", default="cpu")


def pytest_generate_tests(metafunc):
    """Gives tests with a `device` argument what --device says."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", [metafunc.config.getoption("device")])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Puts the tests of a file that share one of its fixtures on one worker of
    --dist loadgroup, which then makes the fixture once."""
    for item in items:
        definitions = item._fixtureinfo.name2fixturedefs.values()
        if any(each[-1].scope == "module" for each in definitions if each):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1234)


@pytest.fixture(autouse=True)
def _foreground_signals():
    """Signals as a shell hands them to a program in the foreground, also where
    the tests run under nohup or behind an ampersand."""
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {
        number: signal.signal(number, handler)
        for number, handler in defaults.items()
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def digits_corpus(tmp_path_factory):
    """A tiny corpus of digit strings in LibriSpeech layout.

    Splits train (2 voices, 12 utterances), valid (1, 2) and test (1, 4),
    with the times of the words. Not to be written to.
    """
    pytest.importorskip("espeakng_loader")
    from synthesize import synthesize_corpus

    folder = tmp_path_factory.mktemp("corpus") / "digits"
    synthesize_corpus(
        folder,
        {"train": (2, 12), "valid": (1, 2), "test": (1, 4)},
        seed=1,
        progress=False,
    )
    return folder
