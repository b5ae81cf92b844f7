"""Batches of like length: little padding, every utterance, any resumption."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import ruamel.yaml
import torch
from hypothesis import given
from hypothesis import strategies as st
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import DistributedSamplerWrapper
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
from speechbrain_llsa.training.data import even_boundaries, train_loader_options

ROOT = Path(__file__).parents[2]

HPARAMS = (
    "pretrain_small.yaml",
    "finetune_small.yaml",
    "pretrain_base.yaml",
    "finetune_base.yaml",
)


def librispeech(draw, count):
    """2 to 17 s, most of them long, as in train-clean-100."""
    return 2 + 15 * draw.beta(4, 1.5, count)


def digits(draw, count):
    """0.9 to 5.5 s, as `make demo` synthesises them."""
    silence, pace = draw.uniform(0.2, 1, count), draw.uniform(0.3, 0.6, count)
    return (silence + 0.3 + pace * draw.integers(1, 9, count)).clip(0.9, 5.5)


def any_length(draw, count):
    """0.5 to 20 s, as many of 0.5 to 1 s as of 10 to 20 s."""
    return np.exp(draw.uniform(np.log(0.5), np.log(20), count))


CORPORA = (librispeech, digits, any_length)


def make_sampler(durations, seed=1, num_buckets=20, **options):
    dataset = DynamicItemDataset(
        {
            f"{number:05d}": {"duration": float(duration)}
            for number, duration in enumerate(durations)
        }
    )
    options = {"max_batch_length": 20.0, **options}
    return train_loader_options(
        dataset, seed=seed, num_buckets=num_buckets, **options
    )["batch_sampler"]


def batches_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("count", [300, 3000])
@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("hparams", HPARAMS)
def test_at_most_a_tenth_of_an_epoch_is_padding(hparams, corpus, count):
    """Of its frames, for the batches and buckets of every recipe, and each
    epoch lays out every utterance once."""
    entries = ruamel.yaml.YAML().load(ROOT / "hparams" / hparams)
    durations = corpus(np.random.default_rng(5), count)
    sampler = make_sampler(
        durations,
        num_buckets=entries["num_buckets"],
        max_batch_length=entries["seconds_per_batch"],
        sorted_epochs=entries["sorted_epochs"],
    )
    extractor = StreamingLatentExtractor(out_channels=[4] * 7)
    frames = extractor.get_output_lengths(
        torch.from_numpy(durations * 16000).round()
    )
    for epoch in (1, 2):
        batches = batches_of(sampler, epoch)
        laid_out = sum(int(frames[b].max()) * len(b) for b in batches)
        assert 1 - int(frames.sum()) / laid_out <= 0.1
        assert sorted(itertools.chain(*batches)) == list(range(count))


@pytest.mark.parametrize("corpus", CORPORA)
def test_no_batch_is_too_long(corpus):
    """With its padding; a longer utterance is alone."""
    durations = corpus(np.random.default_rng(6), 500)
    for batch in batches_of(make_sampler(durations, max_batch_length=12), 1):
        longest = max(durations[place] for place in batch)
        assert len(batch) * longest <= 12 or len(batch) == 1


@pytest.mark.parametrize("corpus", CORPORA)
def test_most_batches_are_full(corpus):
    """At most one of each bucket has room for another of its longest."""
    durations = corpus(np.random.default_rng(7), 500)
    sampler = make_sampler(durations, max_batch_length=30)
    limits = np.array(even_boundaries(durations, 20))
    with_room = set()
    for batch in batches_of(sampler, 1):
        bucket = int(np.searchsorted(limits, durations[batch[0]]))
        if (len(batch) + 1) * limits[bucket] <= 30:
            assert bucket not in with_room
            with_room.add(bucket)


@given(
    durations=st.lists(st.floats(0.1, 40), min_size=1, max_size=40),
    num_buckets=st.integers(1, 30),
)
def test_padding_is_bounded_whatever_the_durations(durations, num_buckets):
    """Boundaries rise to the longest, and no batch is padded by more than
    the documented part."""
    limits = even_boundaries(durations, num_buckets)
    assert limits[-1] == max(durations)
    assert 1 <= len(limits) <= num_buckets
    assert all(a < b for a, b in itertools.pairwise(limits))
    bound = 1 - (min(durations) / max(durations)) ** (1 / num_buckets)
    sampler = make_sampler(
        durations, num_buckets=num_buckets, max_batch_length=100
    )
    batches = batches_of(sampler, 1)
    assert sorted(itertools.chain(*batches)) == list(range(len(durations)))
    for batch in batches:
        lengths = [durations[place] for place in batch]
        assert 1 - np.mean(lengths) / max(lengths) <= bound + 1e-9


def test_equal_durations_are_one_bucket():
    """And the batches hold as many of them as fit."""
    assert even_boundaries([2.5] * 9, 20) == [2.5]
    batches = batches_of(make_sampler([2.5] * 9, max_batch_length=10), 1)
    assert sorted(map(len, batches)) == [1, 4, 4]


@pytest.mark.parametrize("num_buckets", [0, -3])
def test_no_bucket_is_refused(num_buckets):
    """One sentence that names the argument."""
    with pytest.raises(
        ValueError, match=f"num_buckets must .*got {num_buckets}"
    ):
        make_sampler([1.0, 2.0], num_buckets=num_buckets)


@pytest.mark.parametrize("sorted_epochs", [0, 3])
def test_an_epoch_does_not_depend_on_those_before(sorted_epochs):
    """A sampler that gave epochs 1 and 2 and a new one agree on epoch 3."""
    durations = digits(np.random.default_rng(8), 200)
    options = {"durations": durations, "sorted_epochs": sorted_epochs}
    old = make_sampler(**options)
    epochs = [batches_of(old, epoch) for epoch in (1, 2, 3)]
    assert epochs[0] != epochs[1]
    assert epochs[2] == batches_of(make_sampler(**options), 3)
    assert epochs[2] != batches_of(make_sampler(seed=2, **options), 3)


@pytest.mark.parametrize("done", [0, 1, 17])
def test_an_epoch_cut_off_goes_on_with_its_next_batch(done, tmp_path):
    """A loader saved after some batches of epoch 2 gives the others."""
    durations = digits(np.random.default_rng(9), 200)

    def make_loader():
        sampler = make_sampler(durations)
        sampler.set_epoch(2)
        loader = SaveableDataLoader(
            range(len(durations)), batch_sampler=sampler, collate_fn=list
        )
        return loader, Checkpointer(tmp_path, {"loader": loader})

    expected = list(make_loader()[0])
    loader, checkpointer = make_loader()
    begun = list(itertools.islice(loader, done))
    checkpointer.save_checkpoint(end_of_epoch=False)
    loader, checkpointer = make_loader()
    checkpointer.recover_if_possible()
    assert begun + list(loader) == expected


def test_ranks_share_the_batches():
    """Two ranks take as many batches in every epoch, none of them twice but
    one to make the numbers even, and none is left out."""
    durations = digits(np.random.default_rng(10), 201)
    ranks = [
        DistributedSamplerWrapper(
            make_sampler(durations), num_replicas=2, rank=rank
        )
        for rank in (0, 1)
    ]
    for epoch in (1, 2, 5):
        taken = [batches_of(rank, epoch) for rank in ranks]
        assert len(taken[0]) == len(taken[1])
        expected = batches_of(make_sampler(durations), epoch)
        together = [tuple(batch) for batch in [*taken[0], *taken[1]]]
        assert set(together) == set(map(tuple, expected))
        assert len(together) - len(expected) in (0, 1)
