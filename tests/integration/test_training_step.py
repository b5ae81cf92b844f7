"""The benchmark of a training step: its clock, and a smoke run."""

import pytest
import torch

import training_step


class Time:
    """A clock that only goes on when told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class Slow(torch.autograd.Function):
    """Takes some seconds forward, and some backward."""

    @staticmethod
    def forward(ctx, x, time, forward_seconds, backward_seconds):
        time.now += forward_seconds
        ctx.time, ctx.seconds = time, backward_seconds
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        ctx.time.now += ctx.seconds
        return gradient * 2, None, None, None


def test_backward_time_goes_to_the_part_that_caused_it(monkeypatch):
    """Also of a side path, of functions within others, and of what comes
    after the backward pass."""
    time = Time()
    monkeypatch.setattr(training_step, "time", time)
    clock = training_step.Clock()

    def slow(*seconds):
        return lambda x: Slow.apply(x, time, *seconds)

    front_end = clock.watch(slow(1, 10), "front end")
    encoder = clock.watch(lambda x: {"embeddings": slow(2, 20)(x)}, "encoder")
    quantiser = clock.watch(slow(3, 30), "loss")
    note = clock.watch(lambda: setattr(time, "now", time.now + 7), "logging")

    def compare(embeddings, targets):
        note()
        return slow(4, 40)((embeddings - targets).sum())

    compare = clock.watch(compare, "loss")
    backward = clock.watch(lambda loss: loss.backward(), "loss backward")
    latents = front_end(torch.ones(3, requires_grad=True))
    embeddings = encoder(latents)["embeddings"]
    loss = compare(embeddings, quantiser(latents))
    backward(loss)
    time.now += 5
    assert clock.read() == {
        "front end": 1,
        "encoder": 2,
        "loss": 7,
        "logging": 7,
        "loss backward": 70,
        "encoder backward": 20,
        "front end backward": 10,
        "other": 5,
    }


def test_an_error_gives_the_clock_back():
    """What runs after a part that failed is not counted as that part."""
    clock = training_step.Clock()

    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        clock.watch(fail, "loss")()
    assert clock.running == "other"


def test_padding_is_counted_in_frames():
    """Two rows of 6 and 3 frames, and one alone: 3 of 16 are padding."""

    class Sampler:
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            assert self.epoch == 4
            return iter([[0, 1], [2]])

    share = training_step.padding_share(Sampler(), [6, 3, 4], epochs=[4])
    assert share == pytest.approx(3 / 16)


@pytest.fixture(scope="module")
def tiny(digits_corpus, tmp_path_factory):
    """A smoke run: its table and its result."""
    folder = tmp_path_factory.mktemp("benchmark")
    line = ["--tiny", "--data_folder", str(digits_corpus)]
    line += ["--work_folder", str(folder), "--out", str(folder / "step.md")]
    with pytest.MonkeyPatch.context() as patch:
        # listing the installed packages takes seconds for each run
        patch.setattr(
            "speechbrain.utils.logger.get_environment_description", str
        )
        result = training_step.main([*line, "--seconds_per_batch", "12"])
    return (folder / "step.md").read_text(), result


def test_both_recipes_are_measured(tiny):
    """Every part of a step took time, and the table names it."""
    table, result = tiny
    assert set(result["runs"]) == {"pretrain", "finetune"}
    for name, (run,) in result["runs"].items():
        parts = {
            *training_step.OVERHEAD,
            *training_step.CORE,
            "front end backward",
            "encoder backward",
            "loss backward",
            "head backward",
        }
        assert set(run["seconds"]) == parts
        assert all(seconds > 0 for seconds in run["seconds"].values())
        assert run["steps"] == 2
        assert 2 < run["audio_seconds"] < 24
        assert 0 < training_step.overhead_share(run) < 1
        assert 0 <= result["padding"][name] < 0.5
        for part in parts:
            assert f"| {part} |" in table


def test_being_measured_changes_nothing(tiny, digits_corpus, tmp_path):
    """The weights after two steps, watched and not."""
    weights = []
    for watch in (False, True):
        recipe = training_step.Recipe(
            "finetune",
            digits_corpus,
            ["train"],
            tmp_path,
            ["--optimizer_step_limit", "2", "--seconds_per_batch", "6"],
        )
        brain, train_data, options = recipe.build(int(watch))
        if watch:
            training_step.time_steps(brain, options, train_data, 2, 0)
        else:
            brain.fit(
                range(1, 2),
                train_data,
                progressbar=False,
                train_loader_kwargs=options,
            )
        assert brain.optimizer_step == 2
        weights.append(brain.modules.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
