"""Fingerprint of a model: a digest of everything that determines its output."""

import hashlib
import json
from dataclasses import astuple
from weakref import WeakKeyDictionary

import torch

from speechbrain_llsa.nnet.convolutional_front_end import (
    ConvolutionalFrontEnd,
)
from speechbrain_llsa.nnet.log_mel_front_end import LogMelFrontEnd
from speechbrain_llsa_runtime.utils.processes import fork_safe_lock

_KNOWN = WeakKeyDictionary()
"""Versions of the weights, and their digest, by model."""

_KNOWN_LOCK = fork_safe_lock()


def ctc_fingerprint(model):
    """Computes a digest of the geometries, sizes and weights of a CTC model.

    The digest of the weights is computed at the first call, and again whenever
    they have changed.

    Arguments
    ---------
    model : StreamingCTC
        The model.

    Returns
    -------
    str
        64 hexadecimal digits, identical for equal models on any device.
    """
    extractor = model.extractor
    encoder = model.encoder_wrapper.latent_encoder
    layer = encoder.layers[0]
    _, activation, *_ = layer.pos_ffn.ffn
    description = {
        "attention": encoder.attention,
        "geometries": astuple(encoder.geometries),
        "heads": layer.self_att.nhead,
        "positions": encoder.positional_encoding,
        "normalize_before": layer.normalize_before,
        "activation": type(activation).__qualname__,
        "kernel_sizes": list(extractor.kernel_sizes),
        "strides": list(extractor.strides),
        "weights": _weights_digest(model),
        **encoder.unusual_options(),
    }
    if isinstance(extractor, ConvolutionalFrontEnd):
        description["functions"] = extractor.functions
    if isinstance(extractor, LogMelFrontEnd):
        # no weight shows them
        description["window_samples"] = extractor.log_mel.window_samples
        description["f_min"] = extractor.log_mel.f_min
        description["f_max"] = extractor.log_mel.f_max
        description["floor_db"] = extractor.log_mel.floor_db
    return hashlib.sha256(json.dumps(description).encode()).hexdigest()


def _weights_digest(model):
    weights = model.state_dict()
    versions = [
        (
            weight.data_ptr(),
            weight.dtype,
            weight.device,
            0 if weight.is_inference() else weight._version,
        )
        for weight in weights.values()
    ]
    with _KNOWN_LOCK:
        known_versions, digest = _KNOWN.get(model, (None, None))
    if known_versions != versions:
        digest = _digest(weights)
        with _KNOWN_LOCK:
            _KNOWN[model] = versions, digest
    return digest


def _digest(weights):
    """Digest of names, types, shapes (and thus the sizes of the model) and
    content."""
    digest = hashlib.sha256()
    for name, weight in weights.items():
        kind = [name, str(weight.dtype), list(weight.shape)]
        digest.update(json.dumps(kind).encode())
        content = weight.detach().cpu().contiguous().flatten()
        digest.update(content.view(torch.uint8).numpy().data)
    return digest.hexdigest()
