"""What every test and docstring example needs."""

import pytest
import torch
from speechbrain.utils.importutils import LazyModule

# tiny tensors: more threads only wait for each other
torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """hypothesis asks every loaded module for its file, and the host's lazy
    modules answer by importing what may not be installed: tell it of none."""
    ask = LazyModule.__getattr__
    LazyModule.__getattr__ = _no_file(ask)
    try:
        return (yield)
    finally:
        LazyModule.__getattr__ = ask


def _no_file(ask):
    def __getattr__(self, name):
        if name == "__file__":
            raise AttributeError(name)
        return ask(self, name)

    return __getattr__
