"""The encoder wrapper: SpeechBrain's weights, no positions, streaming."""

import pytest
import torch
from speechbrain.lobes.models.wav2vec import EncoderWrapper

from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder


def make_wrapper(wrapper=StreamingEncoderWrapper, attention="llsa", **options):
    torch.manual_seed(0)
    encoder = StreamingTransformerEncoder(
        num_layers=2,
        nhead=2,
        d_ffn=32,
        d_model=16,
        attention=attention,
        look_back=8,
        look_ahead=3,
        hop=2,
    )
    return wrapper(12, 16, encoder, **options)


def test_state_dict_loads_into_the_host_and_back():
    """Names and shapes are those of SpeechBrain's wrapper, strictly."""
    ours = make_wrapper()
    reference = make_wrapper(EncoderWrapper)
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(reference.state_dict(), strict=True)
    assert torch.equal(ours.mask_emb, reference.mask_emb)
    reference.load_state_dict(make_wrapper().state_dict(), strict=True)
    assert list(ours.state_dict()) == list(reference.state_dict())


def test_no_positions_are_added():
    """The output is that of projection and encoder alone."""
    wrapper = make_wrapper().eval()
    latents = torch.randn(2, 20, 12)
    expected, _ = wrapper.latent_encoder(wrapper.input_projector(latents))
    assert torch.equal(wrapper(latents)["embeddings"], expected)


def test_masked_frames_are_replaced():
    """A masked latent does not matter; the mask embedding does."""
    wrapper = make_wrapper().eval()
    latents = torch.randn(2, 20, 12)
    mask = torch.zeros(2, 20, dtype=torch.bool)
    mask[:, 4:9] = True
    results = wrapper(latents, mask=mask)
    changed = latents.masked_fill(mask.unsqueeze(2), 7.0)
    again = wrapper(changed, mask=mask)
    assert torch.equal(results["embeddings"], again["embeddings"])
    assert int(results["num_masked"]) == 10
    assert float(results["ratio_masked"]) == 0.25
    assert "num_masked" not in wrapper(latents)
    with torch.no_grad():
        wrapper.mask_emb += 1
    other = wrapper(latents, mask=mask)["embeddings"]
    assert not torch.allclose(other, results["embeddings"])


def test_ratio_masked_leaves_out_padding():
    """The masked part is that of the real frames."""
    mask = torch.zeros(2, 20, dtype=torch.bool)
    mask[:, :5] = True
    padding = torch.zeros(2, 20, dtype=torch.bool)
    padding[1, 10:] = True
    results = make_wrapper()(
        torch.randn(2, 20, 12), padding_mask=padding, mask=mask
    )
    assert abs(float(results["ratio_masked"]) - 10 / 30) < 1e-6


def test_relative_lengths_and_padding_mask_agree():
    """wav_lens gives what the mask of the same lengths gives."""
    wrapper = make_wrapper().eval()
    latents = torch.randn(3, 20, 12)
    lengths = torch.tensor([20, 15, 4])
    padding = torch.arange(20) >= lengths.unsqueeze(1)
    relative = wrapper(latents, wav_lens=lengths / 20)["embeddings"]
    exact = wrapper(latents, padding_mask=padding)["embeddings"]
    assert torch.equal(relative, exact)
    # also when no row has full length
    shorter = wrapper(latents, wav_lens=torch.full((3,), 0.5))["embeddings"]
    assert shorter.shape == (3, 20, 16)


def test_rows_give_what_they_give_alone():
    """Padding and batch mates do not matter."""
    wrapper = make_wrapper().eval()
    latents = torch.randn(2, 30, 12)
    padding = torch.arange(30) >= torch.tensor([[30], [17]])
    together = wrapper(latents, padding_mask=padding)["embeddings"]
    alone = wrapper(latents[1:, :17])["embeddings"]
    torch.testing.assert_close(together[1:, :17], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
@pytest.mark.parametrize("push", [1, 5, 40])
def test_streaming_equals_offline(attention, push):
    """Pushes of any length and the flush give the offline frames."""
    wrapper = make_wrapper(attention=attention).eval()
    latents = torch.randn(2, 40, 12)
    context = wrapper.make_streaming_context()
    with torch.no_grad():
        offline = wrapper(latents)["embeddings"]
        frames = [
            wrapper.forward_streaming(part, context)
            for part in latents.split(push, dim=1)
        ]
        frames.append(wrapper.flush(context))
    streamed = torch.cat(frames, dim=1)
    torch.testing.assert_close(streamed, offline, atol=1e-5, rtol=0)


def test_hidden_states_of_the_encoder_do_not_matter():
    """An encoder that also gives hidden states fits."""
    wrapper = make_wrapper().eval()
    latents = torch.randn(1, 10, 12)
    expected = wrapper(latents)["embeddings"]
    wrapper.latent_encoder.output_hidden_states = True
    assert torch.equal(wrapper(latents)["embeddings"], expected)


def test_bad_masks_are_named():
    """Two masks of the padding, or a mask of another shape, are refused."""
    wrapper = make_wrapper()
    latents = torch.randn(2, 20, 12)
    mask = torch.zeros(2, 19, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"padding_mask must .*got"):
        wrapper(latents, wav_lens=torch.ones(2), padding_mask=mask)
    with pytest.raises(ValueError, match=r"padding_mask must .*got \(2, 19\)"):
        wrapper(latents, padding_mask=mask)
    with pytest.raises(ValueError, match=r"^mask must .*got \(2, 19\)"):
        wrapper(latents, mask=mask)
