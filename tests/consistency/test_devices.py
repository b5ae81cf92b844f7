"""Tensors are made on a device that is named: PyTorch's default device is a
program's own business."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "speechbrain_llsa"
MAKERS = {
    "arange",
    "as_tensor",
    "empty",
    "eye",
    "full",
    "linspace",
    "normal",
    "ones",
    "rand",
    "randint",
    "randn",
    "randperm",
    "scalar_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
}
"""Functions of PyTorch that make a tensor on the default device."""

FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    # a training is the program, and chooses the default device itself
    if path.parent.name != "training"
]


def made_anywhere(source):
    """Lines that make a tensor without saying where. The parameters of a
    module are made where PyTorch's own are."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    parameters = {
        id(argument)
        for call in calls
        if ast.unparse(call.func) == "nn.Parameter"
        for argument in call.args
    }
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value) == "torch"
        and call.func.attr in MAKERS
        and id(call) not in parameters
        # ** may hold it
        and not {"device", None} & {each.arg for each in call.keywords}
    ]


@pytest.mark.parametrize(
    "path",
    FILES,
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_every_tensor_has_a_device(path):
    assert made_anywhere(path.read_text(encoding="utf-8")) == []


def test_a_tensor_without_a_device_is_seen():
    """The test itself sees what it is to see."""
    assert made_anywhere("torch.zeros(2)\ntorch.rand(1, dtype=x)") == [1, 2]
    assert made_anywhere("torch.zeros(2, device=x)\nx.new_zeros(2)") == []
    assert made_anywhere("nn.Parameter(torch.zeros(2))") == []
