"""The soak: its checks, on streams of seconds, and that they can fail."""

import pytest
import torch

import server_soak
import soak
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.nnet import attention as attention_module
from tiny_model import make_model, make_tokenizer


def encoder_checkpoints(model, frames=3000, push=501):
    encoder = model.encoder_wrapper.latent_encoder
    return list(
        soak.soak(
            lambda: soak.EncoderStream(encoder),
            soak.Noise(1, 400, encoder.d_model),
            frames,
            push,
            3,
            soak.look_back_frames(encoder),
        )
    )


@pytest.fixture(autouse=True)
def _compare_less(monkeypatch):
    monkeypatch.setattr(soak, "COMPARED_FRAMES", 100)


@pytest.mark.parametrize(
    ("attention", "hop"), [("llsa", 1), ("llsa", 5), ("sa", 1), ("maa", 2)]
)
def test_long_streams_agree_with_fresh_ones(attention, hop):
    """Frames and samples: all checkpoints pass, and the last one is at the
    end."""
    model = make_model(attention, hop=hop)
    found = encoder_checkpoints(model)
    samples = soak.soak(
        lambda: soak.SessionStream(model, TextDecoder(make_tokenizer())),
        soak.Noise(2, 16000),
        320000,
        3001,
        3,
        soak.look_back_frames(model.encoder_wrapper.latent_encoder),
    )
    for checkpoints, frames in ((found, 3000), (list(samples), 998)):
        assert len(checkpoints) == 3
        assert checkpoints[-1].frames == frames
        assert all(checkpoint.passed for checkpoint in checkpoints)
        assert all(c.resident_bytes > 0 for c in checkpoints)


def test_positions_that_drift_are_found(monkeypatch):
    """Angles that are not exact far from the start: no checkpoint passes."""
    exact = attention_module.rotary_angles

    def drifting(position, *arguments, **options):
        return exact(position + position**2 // 4000, *arguments, **options)

    assert all(c.passed for c in encoder_checkpoints(make_model()))
    monkeypatch.setattr(attention_module, "rotary_angles", drifting)
    found = encoder_checkpoints(make_model())
    assert not any(checkpoint.passed for checkpoint in found[1:])


def test_a_window_that_is_too_short_is_found():
    """One hop less than the output depends on: the comparison fails."""
    model = make_model(hop=1)
    encoder = model.encoder_wrapper.latent_encoder
    for less, passes in ((0, True), (1, False)):
        look_back = soak.look_back_frames(encoder) - less
        found = soak.soak(
            lambda: soak.EncoderStream(encoder),
            soak.Noise(1, 400, encoder.d_model),
            2000,
            500,
            2,
            look_back,
        )
        assert all(checkpoint.passed for checkpoint in found) is passes


def test_not_a_number_does_not_pass():
    """Neither does an error that is no number."""
    assert soak.Checkpoint(1, 1e-5, 0.1, 1).passed
    assert not soak.Checkpoint(1, 1e-3, 0.1, 1).passed
    assert not soak.Checkpoint(1, float("nan"), 0.1, 1).passed


def test_noise_depends_on_its_place_alone():
    """However it is read."""
    noise = soak.Noise(3, 10, 2)
    whole = noise.read(0, 95)
    parts = [noise.read(first, min(7, 95 - first)) for first in range(0, 95, 7)]
    assert torch.equal(torch.cat(parts), whole)
    assert len(whole.unique()) > 180


def test_exit_status(monkeypatch, capsys):
    """Seconds of both parts: 0, and 1 where an output differs."""
    line = ["--hours", "0.01", "--minutes", "0.1", "--push_frames", "600"]
    assert soak.main([*line, "--checkpoints", "2"]) == 0
    assert capsys.readouterr().out.count("MiB") == 4
    monkeypatch.setattr(soak, "TOLERANCE", 1e-12)
    assert soak.main([*line, "--checkpoints", "2"]) == 1
    assert "differs" in capsys.readouterr().out


@pytest.mark.slow
def test_a_long_stream_of_a_server(capsys):
    """Three rounds on one connection: text and times of the last are those of
    the one before, and characters or words that are not would be counted."""
    assert server_soak.main(["--hours", "0"]) == 0
    assert "MB" in capsys.readouterr().out
    words = [("A", 0.1), ("AB", 2.1), ("BC", 2.5), ("AB", 4.1), ("CC", 4.5)]
    assert server_soak.compare_rounds(words, 2.0) == (1 / 5, 0)
    assert server_soak.compare_rounds(words[:3], 2.0) == (0, 0)
    words[3] = ("AB", 4.2)
    assert server_soak.compare_rounds(words, 2.0) == (1 / 5, 1)
