"""Labels of a source that stand for no text."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import torch

from speechbrain_llsa.pretrained.imported import ImportedModel

_SPECIAL = re.compile(r"<[^<>]+>|\[[^\[\]]+\]")
"""Such as <s> and [UNK]."""


@torch.no_grad()
def without_special_labels(model: ImportedModel) -> ImportedModel:
    """Leaves out labels that stand for no text, other than the blank, with
    their rows of the head.

    Arguments
    ---------
    model : ImportedModel
        The model; not changed.

    Returns
    -------
    ImportedModel
        The same model if it has no such labels.

    Example
    -------
    >>> from speechbrain_llsa.pretrained import from_torchaudio
    >>> model = from_torchaudio(getfixture("tiny_wav2vec2"))
    >>> model.labels = ["<blank>", "<s>", "</s>", " ", "A"]
    >>> fewer = without_special_labels(model)
    >>> fewer.labels, fewer.head.out_features
    (['<blank>', ' ', 'A'], 3)
    >>> fewer.notes[-1]
    'labels <s>, </s> are left out: they stand for no text'
    """
    if model.head is None or model.labels is None:
        return model
    special = [label for label in model.labels[1:] if _SPECIAL.fullmatch(label)]
    if not special:
        return model
    kept = [
        index
        for index, label in enumerate(model.labels)
        if index == 0 or label not in special
    ]
    old = model.head
    head = torch.nn.Linear(
        old.in_features, len(kept), bias=old.bias is not None
    ).to(old.weight)
    head.load_state_dict(
        {name: rows[kept] for name, rows in old.named_parameters()}
    )
    return replace(
        copy.deepcopy(model),
        head=head.eval(),
        labels=[model.labels[index] for index in kept],
        notes=[
            *model.notes,
            f"labels {', '.join(special)} are left out: they stand for no text",
        ],
    )
