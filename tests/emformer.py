"""torchaudio's Emformer, and an encoder of ours with its weights."""

import torch
import torchaudio
from torch import nn

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder


class ClosingNorm(nn.Module):
    """A layer of ours, and the layer norm that closes one of Emformer's."""

    def __init__(self, layer, norm):
        super().__init__()
        self.layer = layer
        self.norm = norm
        self.self_att = layer.self_att

    def forward(self, src, schedule, state):
        out, state = self.layer(src, schedule, state)
        return self.norm(out), state


def copy_layer(layer, oracle):
    """Copies the weights of an Emformer layer into one of ours."""
    attention = oracle.attention
    with torch.no_grad():
        layer.self_att.in_proj.weight.copy_(
            torch.cat(
                [
                    attention.emb_to_query.weight,
                    attention.emb_to_key_value.weight,
                ]
            )
        )
        layer.self_att.in_proj.bias.copy_(
            torch.cat(
                [attention.emb_to_query.bias, attention.emb_to_key_value.bias]
            )
        )
    layer.self_att.out_proj.load_state_dict(attention.out_proj.state_dict())
    layer.norm1.norm = oracle.layer_norm_input
    layer.norm2.norm = oracle.pos_ff[0]
    layer.pos_ffn.ffn[0].load_state_dict(oracle.pos_ff[1].state_dict())
    layer.pos_ffn.ffn[3].load_state_dict(oracle.pos_ff[4].state_dict())
    return ClosingNorm(layer, oracle.layer_norm_output)


def make_pair(
    hop, layers=3, heads=4, width=32, hidden=64, look_back=24, look_ahead=8
):
    """An encoder of ours with the weights of an Emformer, and the Emformer.

    All weights are random, those of norms as well; matrices are smaller in
    wider models, so that the outputs are not.
    """
    oracle = torchaudio.models.Emformer(
        input_dim=width,
        num_heads=heads,
        ffn_dim=hidden,
        num_layers=layers,
        segment_length=hop,
        left_context_length=look_back,
        right_context_length=look_ahead,
        max_memory_size=0,
        activation="gelu",
    ).eval()
    for parameter in oracle.parameters():
        scale = (32 / width) ** 0.5 if parameter.ndim == 2 else 1.0
        nn.init.normal_(parameter, std=0.3 * scale)
    encoder = StreamingTransformerEncoder(
        num_layers=layers,
        nhead=heads,
        d_ffn=hidden,
        d_model=width,
        attention="llsa",
        look_back=look_back,
        look_ahead=look_ahead,
        hop=hop,
        positional_encoding=None,
    ).eval()
    encoder.layers = nn.ModuleList(
        copy_layer(layer, oracle_layer)
        for layer, oracle_layer in zip(
            encoder.layers, oracle.emformer_layers, strict=True
        )
    )
    encoder.norm = nn.Identity()
    return encoder, oracle
