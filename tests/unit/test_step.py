"""The step of fixed shapes gives what offline gives, row by row."""

import pytest
import torch

from speechbrain_llsa.lobes.streaming_step import StreamingStep
from speechbrain_llsa_runtime.geometry import StreamGeometry
from speechbrain_llsa_runtime.step_clock import NEVER, StepClock
from tiny_model import CONFORMER, make_model, make_signal

CASES = [
    ("llsa", {"hop": hop, "look_ahead": look_ahead}, None)
    for hop in (1, 3, 8)
    for look_ahead in (0, 1, 4, 9)
] + [
    (attention, {"look_ahead": look_ahead}, step_frames)
    for attention in ("sa", "maa")
    for look_ahead in (0, 3)
    for step_frames in (1, 5)
]
CASES += [
    ("llsa", {"hop": 3, **CONFORMER}, None),
    ("llsa", {"hop": 1, "look_ahead": 0, **CONFORMER}, None),
    ("llsa", {**CONFORMER, "conv_look_back": 0, "conv_look_ahead": 9}, None),
    ("sa", CONFORMER, 1),
    ("maa", {**CONFORMER, "macaron": False}, 5),
    ("sa", {**CONFORMER, "look_ahead": 0, "conv_look_back": 30}, 5),
    ("sa", {**CONFORMER, "conv_look_ahead": 0}, 5),
]


def run_alone(step, signal):
    """All log-probabilities of one utterance, (frames, labels)."""
    clock = step.clock
    steps = clock.steps_to_end(len(signal))
    padded = torch.zeros(steps * clock.step_samples)
    heard = signal[: max(0, len(padded) - clock.leading_samples)]
    padded[clock.leading_samples :][: len(heard)] = heard
    state = step.initial_state(1)
    position = torch.tensor([clock.first_frame])
    end = torch.tensor([clock.frames_of(len(signal))])
    pieces = []
    for samples in padded.view(steps, 1, clock.step_samples):
        with torch.no_grad():
            log_probs, _, *state = step(samples, position, end, *state)
        first = int(position) - clock.delay_frames
        pieces.append(log_probs[0, max(0, -first) : max(0, int(end) - first)])
        position = position + clock.step_frames
    return torch.cat(pieces) if pieces else torch.zeros(0)


@pytest.mark.parametrize(("attention", "geometry", "step_frames"), CASES)
@pytest.mark.parametrize("samples", [641, 20000, 33333])
def test_steps_give_what_offline_gives(
    attention, geometry, step_frames, samples
):
    """Every frame of an utterance, and no other, to 1e-4."""
    model = make_model(attention, **geometry)
    step = StreamingStep(model, step_frames)
    signal = make_signal(samples)
    with torch.no_grad():
        offline, _ = model(signal[None])
    streamed = run_alone(step, signal)
    assert streamed.shape == offline[0].shape
    assert (streamed - offline[0]).abs().max() < 1e-4


@pytest.mark.parametrize("attention", ["llsa", "sa"])
@pytest.mark.parametrize(("look_ahead", "hop"), [(7, 5), (0, 1)])
def test_steps_of_a_geometry_of_many(attention, look_ahead, hop):
    """A step takes one of those that the model is trained for."""
    model = make_model(attention, look_ahead=[4, 7, 0], hop=[2, 5, 1])
    geometry = model.geometries.choose(hop, look_ahead)
    step = StreamingStep(model, geometry=geometry)
    assert step.clock.geometry == geometry
    signal = make_signal(20000)
    with torch.no_grad():
        offline, _ = model(signal[None], geometry=geometry)
    streamed = run_alone(step, signal)
    assert streamed.shape == offline[0].shape
    assert (streamed - offline[0]).abs().max() < 1e-4
    with pytest.raises(ValueError, match=r"hop must be one of.*got 3"):
        StreamingStep(model, geometry=StreamGeometry(12, 4, 3))


@pytest.mark.parametrize("samples", [0, 1, 640])
def test_too_short_for_a_frame(samples):
    """An utterance without a frame takes no step."""
    step = StreamingStep(make_model())
    assert step.clock.steps_to_end(samples) == 0
    assert run_alone(step, make_signal(samples)).numel() == 0


@pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)
def test_rows_have_clocks_of_their_own(options):
    """A row that starts later, and beside another, gives what it gives
    alone."""
    step = StreamingStep(make_model(**options))
    clock = step.clock
    signal = make_signal(40 * clock.step_samples)
    early = torch.cat([torch.zeros(clock.leading_samples), signal])
    state, positions = step.initial_state(2), [clock.first_frame] * 2
    delay, given = 7, {0: [], 1: []}
    for number in range(30):
        rows = []
        for begin in (number, max(0, number - delay)):
            start = begin * clock.step_samples
            rows.append(early[start : start + clock.step_samples])
        if number == delay:
            fresh = step.initial_state(1)
            state = [
                torch.cat([old[:1], new])
                for old, new in zip(state, fresh, strict=True)
            ]
            positions[1] = clock.first_frame
        with torch.no_grad():
            log_probs, _, *state = step(
                torch.stack(rows),
                torch.tensor(positions),
                torch.tensor([NEVER, NEVER]),
                *state,
            )
        for row in given:
            given[row].append(log_probs[row])
        positions = [place + clock.step_frames for place in positions]
    first = torch.cat(given[0][: 30 - delay])
    second = torch.cat(given[1][delay:])
    exist = clock.delay_frames - clock.first_frame
    assert (first - second)[exist:].abs().max() < 1e-4


@pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)
def test_nothing_drifts(options):
    """A day later a step gives what it gives at the start."""
    step = StreamingStep(make_model(look_back=8, **options))
    clock = step.clock
    day = 24 * 3600 * 50 // clock.step_frames * clock.step_frames
    results = []
    for begin in (clock.first_frame + 40 * clock.step_frames, day):
        state, position = step.initial_state(1), torch.tensor([begin])
        for samples in make_signal(60 * clock.step_samples).view(60, 1, -1):
            with torch.no_grad():
                log_probs, _, *state = step(
                    samples, position, torch.tensor([NEVER]), *state
                )
            position = position + clock.step_frames
        results.append(log_probs)
    assert (results[0] - results[1]).abs().max() < 1e-4


def test_what_cannot_step_is_refused():
    """aa cannot stream; the step of llsa is its hop."""
    with pytest.raises(ValueError, match=r"attention must .*got 'aa'"):
        StreamingStep(make_model("aa"))
    with pytest.raises(ValueError, match=r"step_frames must .*got 3"):
        StreamingStep(make_model(hop=2), step_frames=3)
    with pytest.raises(ValueError, match=r"step_frames must .*got 0"):
        StepClock("sa", StreamGeometry(1, 1), 1, 0, 641, 320)
