"""Parts of a model that learn at rates of their own."""

import pytest
import torch

from speechbrain_llsa.training.learning_rates import (
    parameter_groups,
    scale_learning_rates,
)
from tiny_model import IMPORTED, make_front_end, make_model


@pytest.mark.parametrize("options", [{}, IMPORTED], ids=["own", "imported"])
def test_every_parameter_is_in_one_group(options):
    model = make_model(extractor=make_front_end(), **options)
    groups = parameter_groups(model, head_factor=5, layer_decay=0.5)
    grouped = [id(each) for group in groups for each in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(each) for each in model.parameters()}


def test_factors_are_of_depth():
    """The head's own, 1 for the last layer, less for each layer before it."""
    model = make_model()
    factors = {
        id(each): group["lr_factor"]
        for group in parameter_groups(model, 5, 0.5)
        for each in group["params"]
    }
    wrapper = model.encoder_wrapper
    first, last = wrapper.latent_encoder.layers
    for module, factor in (
        (model.head, 5),
        (wrapper.latent_encoder.norm, 1),
        (last, 1),
        (first, 0.5),
        (wrapper.input_projector, 0.25),
        (model.extractor, 0.25),
    ):
        assert {factors[id(each)] for each in module.parameters()} == {factor}
    assert factors[id(wrapper.mask_emb)] == 0.25


def test_without_factors_there_is_one_group():
    """As before there were any, so that checkpoints load."""
    (group,) = parameter_groups(make_model())
    assert group["lr_factor"] == 1


def test_rates_of_a_step_are_scaled():
    optimizer = torch.optim.SGD(parameter_groups(make_model(), 4, 0.5), lr=1.0)
    for _ in range(2):
        for group in optimizer.param_groups:
            group["lr"] = 0.1  # as a scheduler does
        scale_learning_rates(optimizer)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.1, 0.1, 0.05, 0.025, 0.025, 0.4])


@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        ((-1, 1), ValueError, "head_lr_factor must be"),
        ((1, 1.5), ValueError, "layer_lr_decay must be"),
        (("5", 1), TypeError, "head_lr_factor must be"),
    ],
)
def test_bad_factors(factors, error, message):
    with pytest.raises(error, match=f"^{message}"):
        parameter_groups(make_model(), *factors)
