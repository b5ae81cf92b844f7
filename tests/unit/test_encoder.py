"""The encoder's contract: what it takes, what it gives, what it refuses."""

import copy
import dataclasses
import io

import pytest
import torch
from speechbrain.lobes.models.transformer.Transformer import TransformerEncoder

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa_runtime.geometry import ATTENTIONS
from tiny_model import make_encoder

STREAMING = ("maa", "sa", "llsa")
TOLERANCE = 1e-5


def fields_of(context):
    """Every field of a state and of its layers, tensors copied."""

    def copied(value):
        if isinstance(value, torch.Tensor):
            return value.detach().clone()
        return value

    return [
        {
            item.name: copied(getattr(part, item.name))
            for item in dataclasses.fields(part)
            if item.name != "layers"
        }
        for part in (context, *context.layers)
    ]


def assert_same_fields(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other[name]), name
            else:
                assert value == other[name], name


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_forward_gives_output_and_attention_list(attention):
    """Two values, as SpeechBrain unpacks them: (batch, frames, d_model), and
    one entry for each layer."""
    encoder = make_encoder(attention=attention)
    out, attention_list = encoder(torch.randn(2, 21, 16))
    assert out.shape == (2, 21, 16)
    assert attention_list == [None] * 3


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_hidden_states_are_as_speechbrain(attention):
    """Three values: the input first, then each layer's output; the closing
    norm of the last is the output."""
    encoder = make_encoder(attention=attention, output_hidden_states=True)
    reference = TransformerEncoder(
        num_layers=3, nhead=2, d_ffn=24, d_model=16, output_hidden_states=True
    )
    src = torch.randn(2, 21, 16)
    out, _, hidden_states = encoder(src)
    assert len(hidden_states) == len(reference(src)[2]) == 4
    assert torch.equal(hidden_states[0], src)
    for hidden in hidden_states:
        assert hidden.shape == src.shape
    closed = encoder.norm(hidden_states[-1])
    assert (closed - out).abs().max() < TOLERANCE


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_layerdrop_skips_layers_in_training_only(attention):
    """In training a layer is left out of output and hidden states, in
    evaluation none is."""
    encoder = make_encoder(
        attention=attention,
        num_layers=12,
        layerdrop_prob=0.5,
        output_hidden_states=True,
    )
    src = torch.randn(1, 21, 16)
    assert len(encoder(src)[2]) == 13
    encoder.train()
    lengths = {len(encoder(src)[2]) for _ in range(10)}
    assert max(lengths) < 13 and len(lengths) > 1
    encoder.layerdrop_prob = 1.0
    out, _, hidden_states = encoder(src)
    assert len(hidden_states) == 1
    assert torch.equal(out, encoder.norm(src))


def test_state_dict_is_one_for_all_attentions():
    """Names and shapes depend neither on attention, geometry nor positions,
    and weights of one give another its output."""
    encoder = make_encoder(attention="aa", look_back=1, look_ahead=0)
    weights = encoder.state_dict()
    src = torch.randn(1, 21, 16)
    for attention in ATTENTIONS:
        other = make_encoder(attention=attention, positional_encoding=None)
        assert list(other.state_dict()) == list(weights)
    for attention in STREAMING:
        wide = make_encoder(attention=attention, look_back=50, look_ahead=50)
        for parameter in wide.parameters():
            torch.nn.init.normal_(parameter)
        wide.load_state_dict(weights, strict=True)
        difference = wide(src)[0] - encoder(src)[0]
        assert difference.abs().max() < TOLERANCE, attention


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("hop", [1, 4])
def test_gradient_reaches_every_parameter(attention, hop):
    """None is unused, which DistributedDataParallel would refuse."""
    encoder = make_encoder(attention=attention, hop=hop).train()
    out, _ = encoder(torch.randn(2, 21, 16))
    (out @ torch.arange(16.0)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_dropout_is_seeded_and_off_in_evaluation(attention):
    """Training draws, and draws again the same with the same seed."""
    encoder = make_encoder(attention=attention, dropout=0.2)
    src = torch.randn(1, 21, 16)
    assert torch.equal(encoder(src)[0], encoder(src)[0])
    encoder.train()
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(encoder(src)[0])
    assert torch.equal(outs[0], outs[1])
    assert not torch.allclose(outs[0], outs[2])


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_float64(attention):
    """Double precision in and out, near to single."""
    encoder = make_encoder(attention=attention)
    src = torch.randn(2, 21, 16)
    single, _ = encoder(src)
    double, _ = encoder.double()(src.double())
    assert double.dtype == torch.float64
    assert (double - single).abs().max() < TOLERANCE


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_bfloat16_autocast(attention):
    """Mixed precision trains, and stays near to single precision."""
    encoder = make_encoder(attention=attention).train()
    src = torch.randn(2, 21, 16)
    padding_mask = torch.arange(21) >= torch.tensor([[21], [9]])
    single, _ = encoder(src, src_key_padding_mask=padding_mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = encoder(src, src_key_padding_mask=padding_mask)
        loss = mixed.float().square().mean()
    loss.backward()
    assert (mixed - single)[~padding_mask].abs().max() < 0.1
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("attention", STREAMING)
def test_bfloat16_weights_stream(attention):
    """A model in half the memory gives its offline frames, nearly."""
    encoder = make_encoder(attention=attention).bfloat16()
    src = torch.randn(1, 40, 16, dtype=torch.bfloat16)
    context = encoder.make_streaming_context()
    with torch.no_grad():
        outs = [
            encoder.forward_streaming(push, context)[0]
            for push in src.split(7, dim=1)
        ]
        outs.append(encoder.flush(context)[0])
        offline, _ = encoder(src)
    streamed = torch.cat(outs, dim=1)
    assert streamed.dtype == torch.bfloat16
    assert (streamed - offline).abs().max() < 0.1


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_copies_and_files(attention):
    """deepcopy and a saved state_dict give the same output."""
    encoder = make_encoder(attention=attention)
    src = torch.randn(2, 21, 16)
    expected, _ = encoder(src)
    assert torch.equal(copy.deepcopy(encoder)(src)[0], expected)
    file = io.BytesIO()
    torch.save(encoder.state_dict(), file)
    file.seek(0)
    other = make_encoder(attention=attention)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(src)[0], expected)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_input_is_not_written_to(attention):
    """Neither frames nor padding mask change."""
    encoder = make_encoder(attention=attention)
    src = torch.randn(2, 21, 16)
    padding_mask = torch.arange(21) >= torch.tensor([[21], [9]])
    frames, mask = src.clone(), padding_mask.clone()
    encoder(src, src_key_padding_mask=padding_mask)
    assert torch.equal(src, frames) and torch.equal(padding_mask, mask)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_no_frames(attention):
    """No frames in, no frames out; a row of padding alone is finite."""
    encoder = make_encoder(attention=attention)
    assert encoder(torch.zeros(2, 0, 16))[0].shape == (2, 0, 16)
    padding_mask = torch.tensor([[False] * 5, [True] * 5])
    src = torch.randn(2, 5, 16)
    out, _ = encoder(src, src_key_padding_mask=padding_mask)
    assert out.isfinite().all()
    alone, _ = encoder(src[:1])
    assert (out[:1] - alone).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "name, argument",
    [
        ("src_mask", torch.zeros(21, 21, dtype=torch.bool)),
        ("pos_embs", torch.zeros(1, 41, 16)),
        ("dynchunktrain_config", object()),
    ],
)
def test_refuses_speechbrains_other_arguments(name, argument):
    """They say who sees whom, which is up to the attention."""
    with pytest.raises(ValueError, match=f"{name} must be None, .*got"):
        make_encoder()(torch.randn(1, 21, 16), **{name: argument})
    if name == "pos_embs":
        encoder = make_encoder()
        with pytest.raises(ValueError, match=r"pos_embs must .*got"):
            encoder.forward_streaming(
                torch.randn(1, 21, 16),
                encoder.make_streaming_context(),
                pos_embs=argument,
            )


@pytest.mark.parametrize(
    "shape", [(16,), (21, 16), (1, 21, 15), (1, 16, 21), (1, 1, 21, 16)]
)
def test_refuses_wrong_shapes(shape):
    """Offline and streaming; the message has the shape and what is right."""
    encoder = make_encoder()
    message = r"src must be of shape \(batch, frames, 16\), got"
    with pytest.raises(ValueError, match=message):
        encoder(torch.randn(shape))
    with pytest.raises(ValueError, match=message):
        encoder.forward_streaming(
            torch.randn(shape), encoder.make_streaming_context()
        )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_padding_mask_of_numbers(dtype):
    """Ones and zeros do as well as True and False."""
    encoder = make_encoder()
    src = torch.randn(2, 21, 16)
    padding_mask = torch.arange(21) >= torch.tensor([[21], [9]])
    expected, _ = encoder(src, src_key_padding_mask=padding_mask)
    out, _ = encoder(src, src_key_padding_mask=padding_mask.to(dtype))
    assert torch.equal(out, expected)


@pytest.mark.parametrize(
    "padding_mask, message",
    [
        (torch.zeros(2, 20), "of shape"),
        (torch.zeros(1, 21), "of shape"),
        (torch.zeros(2, 21, 1), "of shape"),
        (torch.arange(21).expand(2, 21) == 3, "frames after padding"),
        (torch.arange(21).expand(2, 21) < 3, "frames after padding"),
    ],
)
def test_refuses_wrong_padding_masks(padding_mask, message):
    """Another shape, a hole, padding in front."""
    with pytest.raises(
        ValueError, match=f"src_key_padding_mask must .*{message}"
    ):
        make_encoder()(
            torch.randn(2, 21, 16), src_key_padding_mask=padding_mask.bool()
        )


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"d_model": 15}, ValueError),
        ({"d_model": 18, "nhead": 4}, ValueError),
        ({"d_model": 6, "nhead": 2}, ValueError),
        ({"d_model": 0}, ValueError),
        ({"nhead": 0}, ValueError),
        ({"num_layers": 0}, ValueError),
        ({"d_ffn": 0}, ValueError),
        ({"attention": "regularMHA"}, ValueError),
        ({"attention": None}, ValueError),
        ({"look_back": -1}, ValueError),
        ({"look_back": 1.5}, TypeError),
        ({"look_ahead": -1}, ValueError),
        ({"look_ahead": None}, TypeError),
        ({"hop": 0}, ValueError),
        ({"hop": True}, TypeError),
        ({"positional_encoding": "fixed_abs_sine"}, ValueError),
    ],
    ids=str,
)
def test_refuses_wrong_settings(changes, error):
    """One sentence: the argument, what came, what is allowed."""
    with pytest.raises(error, match=r"^\w+ must be .*got") as info:
        make_encoder(**changes)
    name, value = next(iter(changes.items()))
    assert str(info.value).startswith(f"{name} must be ")
    assert f", got {value!r}" in str(info.value)


def test_odd_heads_without_positions():
    """Only rotary positions need an even number of features for each head."""
    encoder = make_encoder(d_model=6, nhead=2, positional_encoding=None)
    assert encoder(torch.randn(1, 9, 6))[0].shape == (1, 9, 6)


def test_acausal_attention_does_not_stream():
    """It would have to wait for the end of the utterance."""
    with pytest.raises(
        ValueError, match=r"maa, sa, llsa for streaming, got 'aa'"
    ):
        make_encoder(attention="aa").make_streaming_context()


@pytest.mark.parametrize("attention", STREAMING)
def test_refuses_a_flushed_context(attention):
    """Neither a push nor a second flush follows a flush."""
    encoder = make_encoder(attention=attention)
    context = encoder.make_streaming_context()
    encoder.forward_streaming(torch.randn(1, 21, 16), context)
    encoder.flush(context)
    before = fields_of(context)
    with pytest.raises(ValueError, match=r"context must .*flushed"):
        encoder.forward_streaming(torch.randn(1, 21, 16), context)
    with pytest.raises(ValueError, match=r"context must .*flushed"):
        encoder.flush(context)
    assert_same_fields(fields_of(context), before)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "maa"},
        {"look_back": 9},
        {"look_ahead": 4},
        {"hop": 1},
        {"num_layers": 2},
        {"d_model": 32},
        {"nhead": 1},
    ],
    ids=str,
)
def test_refuses_a_context_of_another_encoder(changes):
    """Whatever sets the two apart."""
    encoder = make_encoder(attention="sa")
    context = make_encoder(
        **{"attention": "sa", **changes}
    ).make_streaming_context()
    with pytest.raises(ValueError, match=r"context must .*got that of one"):
        encoder.forward_streaming(torch.randn(1, 21, 16), context)
    with pytest.raises(ValueError, match=r"context must .*got that of one"):
        encoder.flush(context)


@pytest.mark.parametrize(
    "push, end",
    [
        (torch.zeros(3, 5, 16), None),
        (torch.zeros(1, 0, 16), None),
        (torch.zeros(2, 5, 15), None),
        (torch.zeros(5, 16), None),
        (torch.zeros(2, 5, 16), torch.tensor([3])),
        (torch.zeros(2, 5, 16), torch.tensor([10, 27])),
        (torch.zeros(2, 5, 16), torch.tensor([-1, 20])),
    ],
    ids=[
        "batch size",
        "batch size without frames",
        "features",
        "dimensions",
        "ends of another batch",
        "end ahead of the push",
        "end behind the push",
    ],
)
@pytest.mark.parametrize("attention", STREAMING)
def test_failed_push_leaves_the_context(attention, push, end):
    """Every field is as it was, and what follows is as if nothing had been
    pushed."""
    encoder = make_encoder(attention=attention)
    src = torch.randn(2, 40, 16)
    context = encoder.make_streaming_context()
    with torch.no_grad():
        outs = [encoder.forward_streaming(src[:, :21], context)[0]]
        before = fields_of(context)
        with pytest.raises(ValueError, match="got"):
            encoder.forward_streaming(push, context, end=end)
        assert_same_fields(fields_of(context), before)
        outs.append(encoder.forward_streaming(src[:, 21:], context)[0])
        outs.append(encoder.flush(context)[0])
        offline, _ = encoder(src)
    assert (torch.cat(outs, dim=1) - offline).abs().max() < TOLERANCE


@pytest.mark.parametrize("attention", STREAMING)
def test_error_within_a_layer_leaves_the_context(attention):
    """A push that fails half-way through the stack changes nothing."""
    encoder = make_encoder(attention=attention)
    context = encoder.make_streaming_context()
    encoder.forward_streaming(torch.randn(2, 21, 16), context)
    before = fields_of(context)

    def fail(*_):
        raise MemoryError

    hook = encoder.layers[-1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        encoder.forward_streaming(torch.randn(2, 21, 16), context)
    with pytest.raises(MemoryError):
        encoder.flush(context)
    hook.remove()
    assert_same_fields(fields_of(context), before)


@pytest.mark.parametrize("attention", STREAMING)
def test_fork_and_reset(attention):
    """A fork goes its own way; a state that was reset is as new."""
    encoder = make_encoder(attention=attention)
    src = torch.randn(1, 40, 16)
    context = encoder.make_streaming_context()
    with torch.no_grad():
        encoder.forward_streaming(src[:, :21], context)
        before = fields_of(context)
        fork = context.fork()
        encoder.forward_streaming(torch.randn(1, 9, 16), fork)
        encoder.flush(fork)
        assert_same_fields(fields_of(context), before)
        context.reset()
        new = encoder.make_streaming_context()
        assert_same_fields(fields_of(context), fields_of(new))
        out = [encoder.forward_streaming(src, context)[0]]
        out.append(encoder.flush(context)[0])
        offline, _ = encoder(src)
    assert (torch.cat(out, dim=1) - offline).abs().max() < TOLERANCE


@pytest.mark.parametrize("attention", STREAMING)
def test_state_does_not_grow(attention):
    """However long the stream, the state holds as many bytes."""
    encoder = make_encoder(attention=attention)
    context = encoder.make_streaming_context()
    sizes = []
    with torch.no_grad():
        for _ in range(12):
            encoder.forward_streaming(torch.randn(1, 16, 16), context)
            sizes.append(context.nbytes())
    assert len(set(sizes[4:])) == 1
    assert context.received == 12 * 16


@pytest.mark.parametrize("attention", STREAMING)
def test_one_encoder_serves_many_sessions(attention):
    """Pushes of two sessions, one after the other's, do not mix."""
    encoder = make_encoder(attention=attention)
    utterances = torch.randn(2, 1, 40, 16)
    contexts = [encoder.make_streaming_context() for _ in utterances]
    outs = [[], []]
    with torch.no_grad():
        for start in range(0, 40, 8):
            for session, utterance in enumerate(utterances):
                push = utterance[:, start : start + 8]
                out, _ = encoder.forward_streaming(push, contexts[session])
                outs[session].append(out)
        for session, utterance in enumerate(utterances):
            outs[session].append(encoder.flush(contexts[session])[0])
            offline, _ = encoder(utterance)
            streamed = torch.cat(outs[session], dim=1)
            assert (streamed - offline).abs().max() < TOLERANCE


def test_latency_report():
    """12 layers, look_ahead 8, hop 1: 0.16 s for llsa, 1.92 s for sa and
    maa; the front end's receptive field is added."""
    encoder = make_encoder(num_layers=12, look_ahead=8, hop=1)
    report = encoder.latency_report(receptive_field_samples=641)
    assert report.declared_latency.look_ahead_seconds == 0.16
    assert report["sa"].look_ahead_seconds == 1.92
    assert report["maa"].look_ahead_seconds == 1.92
    assert report["aa"].look_ahead_seconds is None
    assert report.declared_latency.receptive_field_samples == 641


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda e, c: e(torch.zeros(1, 5, 16).long()),
            r"src must .*got torch.int64",
        ),
        (lambda e, c: e([0.0]), r"src must .*got list"),
        (
            lambda e, c: e.forward_streaming(torch.zeros(1, 5, 16), None),
            r"context must .*got NoneType",
        ),
        (lambda e, c: e.flush(None), r"context must .*got NoneType"),
        (
            lambda e, c: e.forward_streaming(torch.zeros(1, 5, 16), c, end=[5]),
            r"end must .*got list",
        ),
    ],
)
def test_wrong_types_are_named(call, words):
    """One sentence: which argument, what came, what is allowed."""
    encoder = StreamingTransformerEncoder(
        num_layers=1, nhead=2, d_ffn=8, d_model=16
    )
    with pytest.raises(TypeError, match=words):
        call(encoder, encoder.make_streaming_context())


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"nhead": "8"}, TypeError, r"nhead must .*got '8'"),
        ({"d_model": 8.0}, TypeError, r"d_model must .*got 8.0"),
        ({"d_ffn": None}, TypeError, r"d_ffn must .*got None"),
        (
            {"layerdrop_prob": 1.5},
            ValueError,
            r"layerdrop_prob must .*got 1.5",
        ),
    ],
)
def test_wrong_sizes_are_named(changes, error, words):
    """Sizes are integers, and probabilities below 1."""
    sizes = {"num_layers": 1, "nhead": 2, "d_ffn": 8, "d_model": 16}
    with pytest.raises(error, match=words):
        StreamingTransformerEncoder(**{**sizes, **changes})
