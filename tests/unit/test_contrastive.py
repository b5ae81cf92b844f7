"""Negatives of the own row, and the contrastive loss over ragged rows."""

import math

import pytest
import torch
from speechbrain.nnet.losses import ContrastiveLoss

from speechbrain_llsa.lobes.contrastive import (
    MaskedContrastiveLoss,
    sample_negatives,
    stack_rows,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_negatives_stay_in_the_row_and_miss_the_positive():
    """Places lie below the row's count and are never the frame itself."""
    counts = torch.tensor([7, 2, 30])
    negatives = sample_negatives(counts, 500, generator())
    assert negatives.shape == (3, 30, 500)
    for row, count in enumerate(counts.tolist()):
        for frame in range(count):
            drawn = set(negatives[row, frame].tolist())
            assert drawn == set(range(count)) - {frame}


def test_negatives_are_uniform():
    """Each other frame is drawn as often as any."""
    negatives = sample_negatives(torch.tensor([5]), 40000, generator())
    for frame in range(5):
        shares = torch.bincount(negatives[0, frame], minlength=5) / 40000
        others = shares[torch.arange(5) != frame]
        assert float((others - 0.25).abs().max()) < 0.01


def test_rows_without_others_draw_nothing():
    """Rows of one masked frame or none give zeros, an empty batch nothing."""
    assert not sample_negatives(torch.tensor([1, 0, 3]), 4)[:2].any()
    assert sample_negatives(torch.tensor([0, 0]), 4).shape == (2, 0, 4)


def test_negatives_are_seeded():
    """The same generator state gives the same negatives."""
    counts = torch.tensor([9, 4])
    first = sample_negatives(counts, 6, generator(1))
    assert torch.equal(first, sample_negatives(counts, 6, generator(1)))
    assert not torch.equal(first, sample_negatives(counts, 6, generator(2)))


def test_number_of_negatives_is_checked():
    """No negatives at all is an error."""
    with pytest.raises(ValueError, match=r"num_negatives must .*got 0"):
        sample_negatives(torch.tensor([3]), 0)


def test_stack_rows_and_its_gradient():
    """Frames land in their row, padding is zero, gradients come back."""
    frames = torch.randn(5, 3, requires_grad=True)
    stacked = stack_rows(frames, torch.tensor([3, 0, 2]))
    assert stacked.shape == (3, 3, 3)
    assert torch.equal(stacked[0], frames[:3])
    assert torch.equal(stacked[2, :2], frames[3:])
    assert not stacked[1].any() and not stacked[2, 2:].any()
    stacked.sum().backward()
    assert torch.equal(frames.grad, torch.ones(5, 3))
    with pytest.raises(ValueError, match=r"counts must .*got"):
        stack_rows(frames, torch.tensor([3, 1]))


def random_rows(counts, features=16, seed=0):
    most = int(counts.max())
    draw = generator(seed)
    shape = (2, len(counts), most, features)
    return torch.randn(shape, generator=draw).unbind(0)


def test_equal_rows_give_the_numbers_of_speechbrain():
    """With as many masked frames in each row: loss and accuracy as there."""
    counts = torch.tensor([20, 20])
    embeddings, targets = random_rows(counts)
    embeddings = embeddings + targets
    targets[1, 5] = targets[1, 6]  # the same code: a negative to leave out
    negatives = sample_negatives(counts, 10, generator())
    vectors = torch.stack(
        [
            row[places.flatten()].view(20, 10, -1)
            for row, places in zip(targets, negatives, strict=True)
        ]
    )
    expected_loss, expected_accuracy = ContrastiveLoss(0.1)(
        embeddings, targets, vectors.permute(2, 0, 1, 3)
    )
    result = MaskedContrastiveLoss(0.1)(embeddings, targets, negatives, counts)
    torch.testing.assert_close(result.loss, expected_loss)
    torch.testing.assert_close(result.accuracy, expected_accuracy)
    assert int(result.predicted) == 40


def test_padding_does_not_count():
    """A batch of ragged rows gives the sum of its rows alone."""
    counts = torch.tensor([12, 1, 5])
    embeddings, targets = random_rows(counts)
    negatives = sample_negatives(counts, 8, generator())
    loss = MaskedContrastiveLoss(0.1)
    together = loss(embeddings, targets, negatives, counts)
    alone = [
        loss(
            embeddings[row : row + 1, :count],
            targets[row : row + 1, :count],
            negatives[row : row + 1, :count],
            counts[row : row + 1],
        )
        for row, count in enumerate(counts.tolist())
    ]
    torch.testing.assert_close(together.loss, sum(one.loss for one in alone))
    assert int(together.predicted) == 17
    assert int(together.correct) == sum(int(one.correct) for one in alone)


def test_a_single_masked_frame_contributes_nothing():
    """Without other frames there is no loss, no gradient, and no NaN."""
    embeddings, targets = random_rows(torch.tensor([1]))
    embeddings.requires_grad_()
    counts = torch.tensor([1])
    result = MaskedContrastiveLoss(0.1)(
        embeddings, targets, sample_negatives(counts, 4), counts
    )
    assert float(result.loss) == 0 and int(result.predicted) == 0
    assert float(result.mean_loss) == 0 and float(result.accuracy) == 0
    result.mean_loss.backward()
    assert not embeddings.grad.any()


def test_equal_targets_up_to_rounding_are_left_out():
    """A negative with the positive's code does not count against it."""
    targets = torch.tensor([[[1.0, 2.0], [1.0 + 1e-7, 2.0], [-1.0, 1.0]]])
    counts = torch.tensor([3])
    negatives = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    result = MaskedContrastiveLoss(1.0)(targets, targets, negatives, counts)
    other = math.log(
        1 + math.exp(torch.cosine_similarity(*targets[0, [0, 2]], dim=0) - 1)
    )
    both = math.log(
        1
        + 2 * math.exp(torch.cosine_similarity(*targets[0, [0, 2]], dim=0) - 1)
    )
    assert math.isclose(float(result.loss), 2 * other + both, rel_tol=1e-5)
    assert int(result.correct) == 3


def test_collapse_is_not_success():
    """All targets or all embeddings the same: nothing is correct."""
    counts = torch.tensor([6])
    negatives = sample_negatives(counts, 5, generator())
    embeddings, targets = random_rows(counts)
    loss = MaskedContrastiveLoss(0.1)
    one_code = targets[:, :1].expand_as(targets)
    result = loss(embeddings, one_code, negatives, counts)
    assert int(result.predicted) == 0 and float(result.accuracy) == 0
    flat = loss(torch.zeros_like(embeddings), targets, negatives, counts)
    assert int(flat.predicted) == 6 and int(flat.correct) == 0
    assert math.isclose(float(flat.mean_loss), math.log(6), rel_tol=1e-5)


def test_gradients_are_finite_and_reach_both_sides():
    """Left-out negatives (-inf) give no NaN in the gradients."""
    counts = torch.tensor([8, 3])
    embeddings, targets = random_rows(counts)
    targets[0, 1] = targets[0, 0]
    embeddings.requires_grad_()
    targets.requires_grad_()
    result = MaskedContrastiveLoss(0.1)(
        embeddings, targets, sample_negatives(counts, 20, generator()), counts
    )
    result.mean_loss.backward()
    for tensor in (embeddings, targets):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad[0].abs().sum() > 0


@pytest.mark.parametrize("logit_temp", [0, -0.1, float("nan")])
def test_logit_temp_is_checked(logit_temp):
    """A temperature that is not above 0 is refused."""
    with pytest.raises(ValueError, match=r"logit_temp must .*got"):
        MaskedContrastiveLoss(logit_temp)
