"""Loss, predictor, joiner and greedy search of a transducer, against plain
loops."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from speechbrain_llsa.lobes.transducer import (
    StreamingTransducer,
    TransducerDecoder,
)
from speechbrain_llsa.lobes.transducer_loss import transducer_loss
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.decoders.transducer import (
    TransducerGreedySearch,
    TransducerWeights,
)
from speechbrain_llsa_runtime.inference.onnx_transducer import load_decoder
from speechbrain_llsa_runtime.utils.checksums import file_checksum
from tiny_transducer import FEATURES, make_decoder, make_transducer

LENGTHS = torch.tensor([6, 4, 1, 5])
TARGET_LENGTHS = torch.tensor([3, 2, 2, 0])
TARGETS = torch.tensor([[1, 2, 2], [3, 1, 0], [4, 4, 0], [0, 0, 0]])


def make_logits(frames=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, frames, 4, 5, generator=generator) * 2


def loss_by_hand(log_probs, targets, emission_scale=1.0):
    """Sum over all alignments of one utterance, (frames, targets + 1, labels),
    frame by frame. The gradient of emissions is scaled."""
    frames, places, _ = log_probs.shape
    sums = {(0, 0): log_probs.new_zeros(())}
    for frame in range(frames):
        for place in range(places):
            ways = []
            if frame:
                wait = log_probs[frame - 1, place, 0]
                ways.append(sums[frame - 1, place] + wait)
            if place:
                emit = log_probs[frame, place - 1, targets[place - 1]]
                scaled = emit * emission_scale
                # the number of ``emit``, and the gradient of ``scaled``
                emit = scaled - (scaled - emit).detach()
                ways.append(sums[frame, place - 1] + emit)
            if ways:
                sums[frame, place] = torch.logsumexp(torch.stack(ways), 0)
    return -(sums[frames - 1, places - 1] + log_probs[-1, -1, 0])


@pytest.mark.parametrize("fast_emit", [0, 0.01, 1.5])
def test_loss_and_gradients_are_those_of_a_plain_loop(fast_emit):
    """Of rows of different lengths, one of them without any target; padding
    has no gradient."""
    logits = make_logits().requires_grad_()
    losses = transducer_loss(
        logits, TARGETS, LENGTHS, TARGET_LENGTHS, fast_emit
    )
    weights = torch.tensor([1.0, -0.5, 2.0, 0.7])
    (gradient,) = torch.autograd.grad((losses * weights).sum(), logits)
    exact = logits.detach().double().requires_grad_()
    expected = torch.stack(
        [
            loss_by_hand(
                row[:length, : count + 1].log_softmax(-1),
                targets.tolist(),
                1 + fast_emit,
            )
            for row, length, count, targets in zip(
                exact, LENGTHS, TARGET_LENGTHS, TARGETS, strict=True
            )
        ]
    )
    (exact_gradient,) = torch.autograd.grad((expected * weights).sum(), exact)
    assert (losses - expected).abs().max() < 1e-5
    assert (gradient - exact_gradient).abs().max() < 1e-5
    assert not gradient[1, 4:].any() and not gradient[3, :, 1:].any()


def test_fast_emit_changes_the_gradient_alone():
    logits = make_logits().requires_grad_()
    plain, fast = (
        transducer_loss(logits, TARGETS, LENGTHS, TARGET_LENGTHS, scale)
        for scale in (0, 0.5)
    )
    assert torch.equal(plain, fast)
    (before,), (after,) = (
        torch.autograd.grad(loss.sum(), logits) for loss in (plain, fast)
    )
    assert (before - after).abs().max() > 0.01


def test_a_row_without_frames_has_no_loss():
    """Nor a gradient, and no effect on the others."""
    logits = make_logits().requires_grad_()
    lengths = LENGTHS.clone()
    lengths[0] = 0
    losses = transducer_loss(logits, TARGETS, lengths, TARGET_LENGTHS)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses[0] == 0 and not gradient[0].any()
    others = transducer_loss(logits, TARGETS, LENGTHS, TARGET_LENGTHS)
    assert torch.allclose(losses[1:], others[1:])
    none = transducer_loss(logits[:, :0], TARGETS, lengths * 0, TARGET_LENGTHS)
    assert none.tolist() == [0] * 4


def test_the_loss_of_one_alignment():
    """One frame and no label: the probability of a blank."""
    logits = make_logits(1)
    losses = transducer_loss(
        logits, TARGETS, torch.ones(4), torch.zeros(4, dtype=torch.int64)
    )
    expected = -logits.log_softmax(-1)[:, 0, 0, 0]
    assert torch.allclose(losses, expected, atol=1e-6)


def predict_by_hand(decoder, labels):
    """What the predictor says after labels, one label and place at a time."""
    context_size = decoder.context_size
    history = ([0] * context_size + labels)[-context_size:]
    mixed = sum(
        decoder.convolution.weight[:, 0, place]
        * decoder.embedding.weight[label]
        for place, label in enumerate(history)
    )
    return decoder.projection(mixed.relu())


@pytest.mark.parametrize("context_size", [1, 2, 3])
def test_predictor_and_joiner_are_plain_sums(context_size):
    """For whole utterances, and in NumPy for one place of one."""
    decoder = make_decoder(
        7, 6, context_size=context_size, embedding_dim=5
    ).double()
    weights = decoder.weights()
    targets = torch.tensor([[3, 1, 6, 6], [2, 2, 5, 1]])
    frames = torch.randn(2, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        logits = decoder(frames, targets)
        for row, labels in enumerate(targets.tolist()):
            for place in range(len(labels) + 1):
                predicted = predict_by_hand(decoder, labels[:place])
                expected = decoder.output(torch.tanh(frames[row] + predicted))
                assert (logits[row, :, place] - expected).abs().max() < 1e-12
                history = ([0] * context_size + labels[:place])[-context_size:]
                given = weights.log_probs(
                    frames[row].numpy(), weights.predict(tuple(history))
                )
                assert (
                    np.abs(given - expected.log_softmax(-1).numpy()).max()
                    < 1e-12
                )


def search_by_hand(decoder, frames, max_symbols):
    """Labels, their frames and probabilities, one joiner call at a time."""
    labels, tokens = [], []
    with torch.no_grad():
        for index, frame in enumerate(frames):
            for _ in range(max_symbols):
                predicted = predict_by_hand(decoder, labels)
                logits = decoder.output(torch.tanh(frame + predicted))
                probabilities = logits.softmax(-1)
                label = int(probabilities.argmax())
                if label == 0:
                    break
                labels.append(label)
                confidence = float(probabilities[label])
                tokens.append(Token(label, index, index + 1, confidence))
    return tokens


@pytest.mark.parametrize("max_symbols", [1, 2, 5])
def test_greedy_search_is_a_plain_loop(max_symbols):
    """For one frame a push, for all at once and for odd pushes; a frame may
    yield several labels."""
    decoder = make_decoder(blank_bias=2.0).double()
    search = TransducerGreedySearch(decoder.weights(), max_symbols)
    frames = torch.randn(90, decoder.features, dtype=torch.float64) * 1.5
    expected = search_by_hand(decoder, frames, max_symbols)
    starts = [token.start for token in expected]
    assert 20 < len(set(starts)) < 80
    assert max(map(starts.count, starts)) == max_symbols
    for sizes in ([90], [1] * 90, [7, 0, 40, 43]):
        state = search.make_streaming_context()
        tokens = []
        for part in frames.split(sizes):
            labels = search.frame_labels(part, state)
            said = search.look_ahead(part, state)
            new = search.advance(part.numpy(), state)
            assert said == new
            first = state.frames - len(part)
            spoken = {each.start - first: each.label for each in new[::-1]}
            assert labels == [spoken.get(at, 0) for at in range(len(part))]
            tokens += new
        assert len(tokens) == len(expected)
        for token, other in zip(tokens, expected, strict=True):
            assert token.confidence == pytest.approx(other.confidence, 1e-10)
            assert vars(token) | {"confidence": 0} == vars(other) | {
                "confidence": 0
            }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": 1}, "labels must be .*got 1"),
        ({"features": 0}, "features must be .*got 0"),
        ({"context_size": 0}, "context_size must be .*got 0"),
        ({"max_symbols": 0}, "max_symbols must be .*got 0"),
        # what no folder can hold
        ({"context_size": 17}, "context_size must be .*to 16, got 17"),
        ({"max_symbols": 101}, "max_symbols must be .*to 100, got 101"),
    ],
)
def test_bad_sizes_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        TransducerDecoder(**{"labels": 5, "features": 4, **arguments})


def test_a_head_of_other_features_is_named():
    model = make_transducer()
    head = torch.nn.Linear(model.head.in_features, FEATURES + 1)
    with pytest.raises(ValueError, match=r"head must be .*12 .*got one of 13"):
        StreamingTransducer(
            model.extractor, model.encoder_wrapper, head, model.decoder
        )


def test_bad_numbers_are_named():
    logits = make_logits()
    with pytest.raises(ValueError, match=r"fast_emit must be .*got -1"):
        transducer_loss(logits, TARGETS, LENGTHS, TARGET_LENGTHS, -1)
    with pytest.raises(ValueError, match=r"fast_emit must be a finite number"):
        transducer_loss(logits, TARGETS, LENGTHS, TARGET_LENGTHS, math.inf)
    weights = TransducerWeights.random(5, 4)
    search = TransducerGreedySearch(weights)
    half = torch.zeros(3, 4, dtype=torch.bfloat16)
    for frames in (half, half.tolist()):
        search.advance(frames, search.make_streaming_context())
    for shape in ((3, 5), (1, 3, 4)):
        with pytest.raises(ValueError, match="frames must be of shape"):
            search.advance(np.zeros(shape), search.make_streaming_context())
    with pytest.raises(ValueError, match="max_symbols must be"):
        TransducerGreedySearch(weights, 0)


@pytest.mark.parametrize("name", ["output.weight", "embedding.weight"])
def test_damaged_weights_are_named(name):
    """Of another shape, not finite, missing, or too many."""
    tensors = {
        name: tensor.numpy()
        for name, tensor in make_decoder().state_dict().items()
    }
    TransducerWeights.from_tensors(tensors)
    for changed, words in (
        (tensors[name][:-1], "must be"),
        (tensors[name][0], "must be of 2 axes"),
        (tensors[name] * np.nan, "must be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            TransducerWeights.from_tensors({**tensors, name: changed})
    with pytest.raises(ValueError, match="tensors must be"):
        TransducerWeights.from_tensors({**tensors, "more": tensors[name]})
    for kind in (np.float16, np.float64, np.int64, bool):
        changed = {**tensors, name: tensors[name].astype(kind)}
        with pytest.raises(ValueError, match="tensors must be all float32"):
            TransducerWeights.from_tensors(changed)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.int32])
def test_a_file_of_another_type_is_named(kind, tmp_path):
    """Also of a type that NumPy has not."""
    path = tmp_path / "decoder.safetensors"
    weights = make_decoder().state_dict()
    save_file({name: each.to(kind) for name, each in weights.items()}, path)
    with pytest.raises(ValueError, match=r"decoder\.safetensors is damaged"):
        load_decoder(path, file_checksum(path))
