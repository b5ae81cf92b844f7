"""Learning rates of the parts of a model, relative to that of a step."""

import torch

from speechbrain_llsa_runtime.utils.checks import check_number

NAME = "lr_factor"
"""Entry of an optimiser's parameter group that holds its factor."""


def check_factors(head_factor, layer_decay):
    """Checks the factors of :func:`parameter_groups`.

    Arguments
    ---------
    head_factor : float
        At least 0.
    layer_decay : float
        From 0 to 1.

    Raises
    ------
    TypeError
        If one is not a number.
    ValueError
        If one is out of range.
    """
    check_number("head_lr_factor", head_factor, 0)
    check_number("layer_lr_decay", layer_decay, 0, 1)


def parameter_groups(model, head_factor=1.0, layer_decay=1.0, heads=()):
    """Divides the parameters of a CTC model into groups whose learning rates
    differ: the head learns faster than an encoder that knows much already, and
    deep layers faster than those that they build on.

    The layer-wise decay is that of Clark et al., "ELECTRA" (arXiv 2003.10555),
    appendix A.

    Arguments
    ---------
    model : StreamingCTC or StreamingTransducer
        The model.
    head_factor : float
        Learning rate of the head, and of a transducer's decoder, relative to
        that of the last layer.
    layer_decay : float
        Learning rate of a layer, relative to that of the layer after it; front
        end, projection and positions come before the first layer.
    heads : iterable of torch.nn.Module
        Heads beside the model, which learn as its own does.

    Returns
    -------
    list of dict
        Groups for an optimiser, each with ``params`` and ``lr_factor``; the
        first has factor 1. A single one where both arguments are 1.

    Raises
    ------
    TypeError
        If a factor is not a number.
    ValueError
        If one is out of range.

    Example
    -------
    >>> model, _ = getfixture("tiny_ctc")
    >>> groups = parameter_groups(model, head_factor=5, layer_decay=0.5)
    >>> [group["lr_factor"] for group in groups]
    [1.0, 1.0, 0.5, 0.25, 0.25, 5]
    """
    check_factors(head_factor, layer_decay)
    if head_factor == layer_decay == 1:
        modules = torch.nn.ModuleList([model, *heads])
        return [{"params": list(modules.parameters()), NAME: 1.0}]
    encoder = model.encoder_wrapper.latent_encoder
    parts = [(encoder.norm, 1.0)]
    for depth, layer in enumerate(reversed(encoder.layers)):
        parts.append((layer, layer_decay**depth))
    first = layer_decay ** len(encoder.layers)
    parts += [(model.encoder_wrapper, first), (model.extractor, first)]
    heads = [model.head, *heads]
    if hasattr(model, "decoder"):
        heads.append(model.decoder)
    parts += [(head, head_factor) for head in heads]
    groups, taken = [], set()
    for module, factor in parts:
        parameters = [
            each for each in module.parameters() if id(each) not in taken
        ]
        taken.update(map(id, parameters))
        if parameters:
            groups.append({"params": parameters, NAME: factor})
    return groups


def scale_learning_rates(optimizer):
    """Multiplies the learning rate of each group with its factor.

    Arguments
    ---------
    optimizer : torch.optim.Optimizer
        The optimiser, all of whose groups have the rate of the step.
    """
    for group in optimizer.param_groups:
        group["lr"] *= group.get(NAME, 1.0)
