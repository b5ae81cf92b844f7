"""SpeechBrain's transformer for ASR around our encoder."""

import inspect

import pytest
import torch
from speechbrain.lobes.models.transformer.TransformerASR import (
    EncoderWrapper,
    TransformerASR,
)
from speechbrain.nnet.activations import Swish
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa.lobes.transformer_asr import StreamingTransformerASR
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa_runtime.geometry import ATTENTIONS
from tiny_model import CONFORMER

STREAMING = ("maa", "sa", "llsa")
TOLERANCE = 1e-5


def make_net(**changes):
    torch.manual_seed(0)
    settings = {
        "tgt_vocab": 20,
        "input_size": 24,
        "d_model": 16,
        "nhead": 2,
        "num_encoder_layers": 2,
        "num_decoder_layers": 0,
        "d_ffn": 32,
        "dropout": 0.0,
        "look_back": 10,
        "look_ahead": 3,
    }
    return StreamingTransformerASR(**{**settings, **changes}).eval()


def test_holds_our_encoder_and_no_other():
    """SpeechBrain's encoder is not built, nor a table of positions without a
    decoder to use it."""
    net = make_net()
    assert isinstance(net, TransformerASR)
    assert type(net.encoder) is StreamingTransformerEncoder
    names = {name.split(".")[0] for name in net.state_dict()}
    assert names == {"custom_src_module", "encoder"}


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_settings_reach_the_encoder(attention):
    """Attention, geometry and options are those of the encoder."""
    net = make_net(
        attention=attention,
        look_back=7,
        look_ahead=2,
        hop=3,
        positional_encoding=None,
        layerdrop_prob=0.2,
        attention_dropout=0.3,
        normalize_before=True,
        activation=torch.nn.SiLU,
    )
    assert net.encoder.attention == attention
    assert net.encoder.geometry.look_back == 7
    assert net.encoder.geometry.look_ahead == 2
    assert net.encoder.geometry.hop == 3
    assert net.encoder.positional_encoding is None
    assert net.encoder.layerdrop_prob == 0.2
    layer = net.encoder.layers[0]
    assert layer.normalize_before
    assert layer.self_att.dropout == 0.3
    assert any(isinstance(m, torch.nn.SiLU) for m in layer.modules())


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_encode_is_projection_and_encoder(attention):
    """No positions are added to the encoder's input, in encode and forward."""
    net = make_net(attention=attention)
    src = torch.randn(2, 40, 24)
    with torch.no_grad():
        expected, _ = net.encoder(net.custom_src_module(src))
        assert torch.equal(net.encode(src), expected)
        out, attention_list = net(src, tgt=None)
    assert torch.equal(out, expected)
    assert len(attention_list) == 2


def test_features_in_two_axes():
    """Four axes, as a convolutional front end gives, are flattened."""
    net = make_net()
    src = torch.randn(2, 30, 6, 4)
    with torch.no_grad():
        flat = net.encode(src.flatten(2))
        assert torch.equal(net.encode(src), flat)
        context = net.make_streaming_context()
        streamed = [net.encode_streaming(src, context), net.flush(context)]
    assert (torch.cat(streamed, dim=1) - flat).abs().max() < TOLERANCE


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_lengths_are_rounded_as_in_speechbrain(attention):
    """A row gives what its rounded number of frames gives alone."""
    net = make_net(attention=attention)
    src = torch.randn(3, 33, 24)
    wav_len = torch.tensor([1.0, 0.5, 0.2])
    with torch.no_grad():
        out = net.encode(src, wav_len)
        forwarded, _ = net(src, None, wav_len)
        for row, frames in enumerate((33, 16, 7)):  # 16.5 rounds to even
            alone = net.encode(src[row : row + 1, :frames])
            assert (out[row, :frames] - alone[0]).abs().max() < TOLERANCE
    assert torch.equal(out, forwarded)


def test_settings_reach_a_conformer():
    """Its options, and an activation of its own, beside the decoder's."""
    net = make_net(
        num_decoder_layers=1,
        activation=torch.nn.GELU,
        normalize_before=True,
        macaron=False,
        **CONFORMER,
    )
    layer = net.encoder.layers[0]
    assert net.encoder.encoder_module == "conformer"
    assert layer.convolution.conv.look_back == 4
    assert layer.convolution.conv.look_ahead == 2
    assert layer.macaron_ffn is None
    assert any(isinstance(m, Swish) for m in layer.pos_ffn.modules())
    assert any(isinstance(m, torch.nn.GELU) for m in net.decoder.modules())


@pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)
@pytest.mark.parametrize("num_decoder_layers", [0, 2])
@pytest.mark.parametrize("attention", STREAMING)
def test_streams(attention, num_decoder_layers, options):
    """Any pushes, empty ones too, and a flush give what encode gives, through
    the net and through SpeechBrain's wrapper of it."""
    net = make_net(
        attention=attention,
        num_decoder_layers=num_decoder_layers,
        normalize_before=True,
        **options,
    )
    src = torch.randn(2, 50, 24)
    with torch.no_grad():
        offline = net.encode(src)
        for stream in (net.encode_streaming, EncoderWrapper(net)):
            stream = getattr(stream, "forward_streaming", stream)
            context = net.make_streaming_context(DynChunkTrainConfig(16))
            outs = [
                stream(push, context)
                for push in src.split((1, 0, 20, 29), dim=1)
            ]
            outs.append(net.flush(context))
            streamed = torch.cat(outs, dim=1)
            assert (streamed - offline).abs().max() < TOLERANCE
    assert context.encoder_context.finished


@pytest.mark.parametrize("hop", [2, 5, 1])
def test_a_chunk_is_a_hop(hop):
    """With several hops SpeechBrain's chunk size chooses one; offline the
    geometry does."""
    net = make_net(hop=[2, 5, 1])
    src, wav_len = torch.randn(2, 50, 24), torch.tensor([1.0, 0.7])
    context = net.make_streaming_context(DynChunkTrainConfig(hop))
    geometry = context.encoder_context.geometry
    assert geometry.hop == hop
    alone = make_net(hop=hop)
    with torch.no_grad():
        offline = net.encode(src, wav_len, geometry=geometry)
        assert torch.equal(offline, alone.encode(src, wav_len))
        outs = [net.encode_streaming(src[:1], context), net.flush(context)]
    streamed = torch.cat(outs, dim=1)
    assert (streamed - offline[:1]).abs().max() < TOLERANCE
    with pytest.raises(ValueError, match=r"chunk_size must be one.*got 3"):
        net.make_streaming_context(DynChunkTrainConfig(3))


def test_rows_that_end():
    """`end` reaches the encoder: a row that ends gives what it gives alone."""
    net = make_net(hop=2)
    src = torch.randn(2, 30, 24)
    context = net.make_streaming_context()
    end = torch.tensor([-1, 21])
    with torch.no_grad():
        outs = [net.encode_streaming(src, context, end=end)]
        outs.append(net.flush(context))
        alone = net.encode(src[1:, :21])[0]
    streamed = torch.cat(outs, dim=1)[1, :21]
    assert (streamed - alone).abs().max() < TOLERANCE


def test_failed_push_leaves_the_context():
    """A push of the wrong size is refused and forgotten."""
    net = make_net()
    src = torch.randn(2, 30, 24)
    context = net.make_streaming_context()
    with torch.no_grad():
        outs = [net.encode_streaming(src[:, :11], context)]
        with pytest.raises(ValueError, match="rows"):
            net.encode_streaming(src[:1], context)
        outs.append(net.encode_streaming(src[:, 11:], context))
        outs.append(net.flush(context))
        difference = torch.cat(outs, dim=1) - net.encode(src)
    assert difference.abs().max() < TOLERANCE


@pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_decoder(attention, options):
    """forward with targets and decode work as SpeechBrain's, with gradients in
    every parameter."""
    net = make_net(
        attention=attention,
        num_decoder_layers=2,
        normalize_before=True,
        **options,
    )
    src, tgt = torch.randn(2, 30, 24), torch.randint(1, 20, (2, 7))
    encoder_out, decoder_out = net(src, tgt, wav_len=torch.tensor([1.0, 0.6]))
    assert encoder_out.shape == (2, 30, 16)
    assert decoder_out.shape == (2, 7, 16)
    # the sum of what a layer norm gives is the same for any input
    weights = torch.arange(16.0)
    (decoder_out @ weights).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    prediction, _ = net.decode(tgt, encoder_out.detach())
    full = net(src, tgt)[1].detach()
    assert prediction.shape == full.shape


def test_decode_agrees_with_forward():
    """Token by token, the decoder says what it says at once."""
    net = make_net(num_decoder_layers=1)
    src, tgt = torch.randn(2, 30, 24), torch.randint(1, 20, (2, 7))
    with torch.no_grad():
        encoder_out, decoder_out = net(src, tgt)
        for tokens in range(1, 8):
            prediction, _ = net.decode(tgt[:, :tokens], encoder_out)
            difference = prediction[:, -1] - decoder_out[:, tokens - 1]
            assert difference.abs().max() < TOLERANCE


def test_hidden_states():
    """The input and every layer's output, as in SpeechBrain."""
    net = make_net(num_decoder_layers=1, output_hidden_states=True)
    reference = TransformerASR(
        20, 24, 16, 2, 2, 1, 32, causal=False, output_hidden_states=True
    )
    src, tgt = torch.randn(2, 30, 24), torch.randint(1, 20, (2, 7))
    for model in (net, reference):
        out, hidden_states = model.encode(src)
        assert out.shape == (2, 30, 16)
        assert [x.shape for x in hidden_states] == [out.shape] * 3
        out, hidden_states, decoder_out = model(src, tgt)
        assert len(hidden_states) == 3 and decoder_out.shape == (2, 7, 16)
        assert len(model(src, None)) == 3


def test_weights_of_one_attention_load_into_another():
    """The layout of the parameters is one."""
    weights = make_net(attention="aa").state_dict()
    for attention in STREAMING:
        make_net(attention=attention).load_state_dict(weights, strict=True)


def test_initialisation_is_speechbrain():
    """Matrices have the spread of SpeechBrain's, biases are its biases."""
    settings = {
        "tgt_vocab": 20,
        "input_size": 64,
        "d_model": 128,
        "nhead": 4,
        "num_encoder_layers": 1,
        "num_decoder_layers": 0,
        "d_ffn": 256,
    }
    ours = StreamingTransformerASR(**settings)
    reference = TransformerASR(**settings, causal=False)

    def spreads(module):
        return sorted(
            (tuple(p.shape), round(p.std().item(), 2))
            for p in module.parameters()
            if p.dim() > 1
        )

    assert spreads(ours) == spreads(reference)
    assert ours.encoder.layers[0].self_att.in_proj.bias.abs().max() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_module": "branchformer"},
        {"conv_look_back": -1, "encoder_module": "conformer"},
        {"attention_type": "RelPosMHAXL"},
        {"causal": True},
        {"causal": None},
        {"num_encoder_layers": 0},
        {"num_decoder_layers": -1},
        {"positional_encoding": "fixed_abs_sine"},
        {"attention": "regularMHA"},
        {"look_back": -1},
        {"hop": 0},
        {"d_model": 18, "nhead": 4},
    ],
    ids=str,
)
def test_refuses_what_it_cannot_honour(changes):
    """The error names the argument, what came, and what is allowed."""
    with pytest.raises(
        ValueError, match=f"{next(iter(changes))} must .*got"
    ) as info:
        make_net(**changes)
    assert "must be" in str(info.value)


def test_refuses_what_it_cannot_do():
    """Dynamic chunks, and streaming with an acausal attention."""
    net = make_net()
    config = DynChunkTrainConfig(8, 2)
    with pytest.raises(ValueError, match=r"dynchunktrain_config must .*got"):
        net.encode(torch.randn(1, 20, 24), dynchunktrain_config=config)
    with pytest.raises(ValueError, match="'aa'"):
        make_net(attention="aa").make_streaming_context(config)
    context = net.make_streaming_context()
    net.flush(context)
    with pytest.raises(ValueError, match="flushed"):
        net.encode_streaming(torch.randn(1, 20, 24), context)
    with pytest.raises(ValueError, match=r"context must .*got that of one"):
        make_net(look_ahead=1).encode_streaming(
            torch.randn(1, 20, 24), net.make_streaming_context()
        )


def test_a_chunk_of_training_is_a_hop():
    """Where llsa is trained for several hops, a dynamic chunk of one of them
    is that hop; others are refused."""
    net, src = make_net(hop=[4, 1]), torch.randn(1, 20, 24)
    chosen = [
        net.encode(src, dynchunktrain_config=DynChunkTrainConfig(size))
        for size in (4, 1)
    ]
    expected = [
        net.encode(src, geometry=net.encoder.geometries.choose(hop))
        for hop in (4, 1)
    ]
    assert torch.equal(chosen[0], expected[0])
    assert torch.equal(chosen[1], expected[1])
    assert not torch.equal(*chosen)
    with pytest.raises(ValueError, match=r"chunk_size must be .*4.*1.*got 8"):
        net.encode(src, dynchunktrain_config=DynChunkTrainConfig(8))
    with pytest.raises(ValueError, match="beside a geometry"):
        net.encode(
            src,
            dynchunktrain_config=DynChunkTrainConfig(4),
            geometry=net.encoder.geometry,
        )


def test_signatures_take_the_hosts_calls():
    """Arguments of encode, forward and the streaming methods stand where
    SpeechBrain's stand."""
    for name in ("forward", "encode", "make_streaming_context"):
        ours, reference = (
            list(inspect.signature(getattr(cls, name)).parameters)
            for cls in (StreamingTransformerASR, TransformerASR)
        )
        assert ours[: len(reference)] == reference
