"""Moonshine's encoder at tiny size, with random weights."""

import math

import torch
from torch.nn import functional as F

from speechbrain_llsa.pretrained.moonshine import MoonshineSizes

SIZES = MoonshineSizes(
    features=20, heads=2, layers=3, hidden=24, rotary_features=8
)


def make_weights():
    """Random ones, with the names of transformers' ``MoonshineEncoder``."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 25
        return torch.randn(shape, generator=generator).double() / fan_in**0.5

    n, hidden = SIZES.features, SIZES.hidden
    weights = {
        "conv1.weight": random(n, 1, 127),
        "conv2.weight": random(2 * n, n, 7),
        "conv2.bias": random(2 * n),
        "conv3.weight": random(n, 2 * n, 3),
        "conv3.bias": random(n),
        "groupnorm.weight": 1 + random(n),
        "groupnorm.bias": random(n),
        "layer_norm.weight": 1 + random(n),
    }
    for layer in range(SIZES.layers):
        name = f"layers.{layer}"
        for part in "qkvo":
            weights[f"{name}.self_attn.{part}_proj.weight"] = random(n, n)
        weights |= {
            f"{name}.mlp.fc1.weight": random(hidden, n),
            f"{name}.mlp.fc1.bias": random(hidden),
            f"{name}.mlp.fc2.weight": random(n, hidden),
            f"{name}.mlp.fc2.bias": random(n),
            f"{name}.input_layernorm.weight": 1 + random(n),
            f"{name}.post_attention_layernorm.weight": 1 + random(n),
        }
    return weights


def moonshine(weights, wavs):
    """Moonshine's encoder, written down from its paper and its code: the
    input, the output of each layer, and that of the closing norm last."""

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[name])

    x = F.conv1d(wavs[:, None], weights["conv1.weight"], stride=64).tanh()
    x = F.group_norm(
        x, 1, weights["groupnorm.weight"], weights["groupnorm.bias"]
    )
    for number, stride in ((2, 3), (3, 2)):
        weight, bias = (
            weights[f"conv{number}.{kind}"] for kind in ("weight", "bias")
        )
        x = F.gelu(F.conv1d(x, weight, bias, stride=stride))
    x = x.transpose(1, 2)
    states = [x]
    for layer in range(SIZES.layers):
        name = f"layers.{layer}"
        normed = norm(x, f"{name}.input_layernorm.weight")
        query, key, value = (
            F.linear(normed, weights[f"{name}.self_attn.{part}_proj.weight"])
            .unflatten(2, (SIZES.heads, -1))
            .transpose(1, 2)
            for part in "qkv"
        )
        attended = F.scaled_dot_product_attention(
            rotated(query), rotated(key), value
        )
        attended = attended.transpose(1, 2).flatten(2)
        x = x + F.linear(attended, weights[f"{name}.self_attn.o_proj.weight"])
        y = norm(x, f"{name}.post_attention_layernorm.weight")
        for part in ("fc1", "fc2"):
            weight, bias = (
                weights[f"{name}.mlp.{part}.{kind}"]
                for kind in ("weight", "bias")
            )
            y = F.linear(y, weight, bias)
            if part == "fc1":
                y = F.gelu(y)
        x = x + y
        states.append(x)
    return [*states, norm(x, "layer_norm.weight")]


def rotated(x):
    """Neighbours of the first features turn together."""
    n = SIZES.rotary_features
    frequency = 10000.0 ** (-torch.arange(0, n, 2).double() / n)
    angle = torch.arange(x.shape[2]).double()[:, None] * frequency
    cosine, sine = angle.cos().to(x), angle.sin().to(x)
    even, odd = x[..., 0:n:2], x[..., 1:n:2]
    pairs = [even * cosine - odd * sine, odd * cosine + even * sine]
    return torch.cat([torch.stack(pairs, dim=-1).flatten(-2), x[..., n:]], -1)
