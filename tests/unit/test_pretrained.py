"""Imported encoders give what their sources give, layer by layer, and what is
made of them streams."""

import json

import pytest
import torch
from torchaudio.models import wavlm_model

from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.model_folder.load import load_parts
from speechbrain_llsa.model_folder.write import write_encoder_folder
from speechbrain_llsa.nnet.convolutional_front_end import (
    ConvolutionalFrontEnd,
)
from speechbrain_llsa.pretrained import (
    ImportedModel,
    calibrate,
    from_torchaudio,
    from_transformers,
)
from tiny_model import make_signal, split
from tiny_transformers import make_transformers, write_folder
from tiny_wav2vec2 import TORCHAUDIO, disturb, make_torchaudio

SAMPLES = 6000
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}
TYPES = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
LARGE = pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
TAPS = pytest.mark.parametrize("taps", [8, 7, 1])


def run(imported, waveforms, lengths=None):
    """Output of every layer, and logits where there is a head."""
    encoder = imported.encoder_wrapper.latent_encoder
    encoder.output_hidden_states = True
    mask = None
    with torch.no_grad():
        latents = imported.extractor(waveforms)
        if lengths is not None:
            frames = imported.extractor.get_output_lengths(lengths)
            mask = torch.arange(latents.shape[1]) >= frames[:, None]
        out, _, hidden = encoder(
            imported.encoder_wrapper.project(latents),
            src_key_padding_mask=mask,
        )
        logits = None if imported.head is None else imported.head(out)
    return hidden, out, logits


def assert_close(ours, theirs, tolerance, lengths=None):
    """The largest error of the frames that are not padding."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    rows = range(len(ours))
    for row, length in zip(rows, lengths or [None] * len(ours), strict=True):
        error = (ours[row, :length] - theirs[row, :length]).abs().max()
        assert error < tolerance


def make_waveforms(dtype):
    return torch.stack([make_signal(SAMPLES, seed) for seed in (0, 1)]).to(
        dtype
    )


@TYPES
@LARGE
@TAPS
def test_torchaudio(large, taps, dtype):
    """Every layer, the output and the logits."""
    source = make_torchaudio(large, taps).to(dtype)
    imported = from_torchaudio(source)
    waveforms = make_waveforms(dtype)
    hidden, _, logits = run(imported, waveforms)
    with torch.no_grad():
        expected, _ = source.extract_features(waveforms)
        expected_logits, _ = source(waveforms)
    assert len(hidden) == len(expected) + 1 == 4
    for ours, theirs in zip(hidden[1:], expected, strict=True):
        assert_close(ours, theirs, TOLERANCES[dtype])
    assert_close(logits, expected_logits, TOLERANCES[dtype])


@TYPES
def test_padded_rows_of_torchaudio(dtype):
    """With layer norms, a row does not depend on its padding."""
    source = make_torchaudio(large=True).to(dtype)
    lengths = torch.tensor([SAMPLES, 3500])
    waveforms = make_waveforms(dtype)
    waveforms[1, 3500:] = 0.0
    hidden, _, logits = run(from_torchaudio(source), waveforms, lengths)
    with torch.no_grad():
        expected, frames = source.extract_features(waveforms, lengths)
        expected_logits, _ = source(waveforms, lengths)
    for ours, theirs in zip(hidden[1:], expected, strict=True):
        assert_close(ours, theirs, TOLERANCES[dtype], frames.tolist())
    assert_close(logits, expected_logits, TOLERANCES[dtype], frames.tolist())


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
@LARGE
def test_any_front_end_with_any_encoder(mode, large):
    """The norms of both parts are options of their own, and so is a head."""
    source = make_torchaudio(large, mode=mode, aux_num_out=None).double()
    imported = from_torchaudio(source)
    waveforms = make_waveforms(torch.float64)
    _, out, logits = run(imported, waveforms)
    assert logits is None and imported.head is None
    with torch.no_grad():
        assert_close(out, source(waveforms)[0], 1e-10)


def test_the_source_is_copied():
    """What is done to one does not change the other."""
    source = make_torchaudio(large=False)
    before = {name: w.clone() for name, w in source.state_dict().items()}
    imported = from_torchaudio(source)
    for part in (imported.extractor, imported.encoder_wrapper, imported.head):
        disturb(part)
    for name, weight in source.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_bundle_says_that_it_normalises():
    """Bundles of LARGE models wrap them."""

    class Wrapped(torch.nn.Module):
        normalize_waveform = True
        append_star = True

        def __init__(self, model):
            super().__init__()
            self.model = model

    imported = from_torchaudio(Wrapped(make_torchaudio(large=True)))
    assert "zero mean and unit variance" in imported.notes[0]
    assert "star" in imported.notes[1]


def test_wavlm_is_refused_by_name():
    model = wavlm_model(
        extractor_mode="group_norm",
        extractor_conv_bias=False,
        encoder_layer_norm_first=False,
        encoder_pos_conv_kernel=8,
        encoder_num_buckets=8,
        encoder_max_distance=16,
        **TORCHAUDIO,
    )
    with pytest.raises(ValueError, match=r"^model must be .* got WavLM$"):
        from_torchaudio(model)


@pytest.mark.parametrize("importer", [from_torchaudio, from_transformers])
def test_other_objects_are_refused(importer):
    with pytest.raises(TypeError, match=r"^model.* must be .*, got Linear"):
        importer(torch.nn.Linear(2, 2))


def test_weights_that_do_not_fit_are_named():
    source = make_torchaudio(large=False)
    source.encoder.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"got encoder\.extra\.bias besides$"):
        from_torchaudio(source)
    source = make_torchaudio(large=False)
    layer = source.encoder.transformer.layers[1]
    layer.final_layer_norm = torch.nn.Identity()
    with pytest.raises(
        ValueError, match=r"got no encoder\.layers\.1\.final_layer_norm\.bias$"
    ):
        from_torchaudio(source)
    layer.final_layer_norm = torch.nn.LayerNorm(3)
    with pytest.raises(ValueError, match=r"final_layer_norm\.bias must be of"):
        from_torchaudio(source)


def stream(model, signal, lengths):
    context = model.make_streaming_context()
    with torch.no_grad():
        pieces = [
            model.forward_streaming(push[None], context)
            for push in split(signal, lengths)
        ]
        return torch.cat([*pieces, model.flush(context)], dim=1)


@pytest.mark.parametrize("positional_look_ahead", [0, 2, 3])
@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
@LARGE
def test_streaming_equals_offline(large, attention, positional_look_ahead):
    """After streaming() and, for a norm over time, calibrate()."""
    model = from_torchaudio(make_torchaudio(large).double())
    model = model.streaming(attention, 20, 4, 3, positional_look_ahead)
    if not large:
        signals = [make_signal(SAMPLES, seed) for seed in range(3)]
        model = calibrate(model, signals)
    ctc = StreamingCTC(model.extractor, model.encoder_wrapper, model.head)
    signal = make_signal(SAMPLES).double()
    with torch.no_grad():
        offline, _ = ctc(signal[None])
    for lengths in ([], [1, 0, 2000, 777], [320] * 12):
        streamed = stream(ctc, signal, lengths)
        assert_close(streamed, offline, 1e-10)


@LARGE
def test_streaming_keeps_the_weights(large):
    """With all taps, the new model is the old one with another attention; with
    fewer, the taps behind are as they were."""
    model = from_torchaudio(make_torchaudio(large).double())
    same = model.streaming("aa", positional_look_ahead=3)
    waveforms = make_waveforms(torch.float64)
    for old, new in zip(
        run(model, waveforms)[0], run(same, waveforms)[0], strict=True
    ):
        assert torch.equal(old, new)
    fewer = model.streaming(look_back=12, look_ahead=[4, 0], hop=[2, 1])
    encoders = [each.encoder_wrapper.latent_encoder for each in (model, fewer)]
    old, new = (encoder.positions.conv.weight for encoder in encoders)
    assert torch.equal(old[..., :5], new)
    assert encoders[1].geometries.look_ahead == (4, 0)
    assert encoders[0].attention == "aa"
    assert fewer.notes[:-2] == model.notes
    assert old.data_ptr() != new.data_ptr()


@LARGE
def test_a_model_folder(tmp_path, large):
    """What was made of a source is written and loaded."""
    model = from_torchaudio(make_torchaudio(large)).streaming()
    signal = make_signal(SAMPLES)
    if not large:
        model = calibrate(model, [signal])
    folder = tmp_path / "folder"
    write_encoder_folder(folder, model.extractor, model.encoder_wrapper)
    parts = load_parts(folder, "encoder")
    loaded = ImportedModel(
        parts["extractor"].eval(), parts["encoder_wrapper"].eval()
    )
    _, expected, _ = run(model, signal[None])
    assert torch.equal(run(loaded, signal[None])[1], expected)


def test_streaming_refuses_what_the_source_lacks():
    model = from_torchaudio(make_torchaudio(large=True))
    with pytest.raises(ValueError, match=r"^positional_look_ahead must be at"):
        model.streaming(positional_look_ahead=4)
    with pytest.raises(ValueError, match=r"^attention must be"):
        model.streaming("full")
    with pytest.raises(ValueError, match="hop"):
        model.streaming(hop=0)


def test_a_norm_over_time_has_to_be_calibrated():
    model = from_torchaudio(make_torchaudio(large=False)).streaming()
    with pytest.raises(ValueError, match=r"calibrate\), got one with"):
        model.extractor.make_streaming_context()


FUNCTIONS = {
    "wav2vec2": [["instance_norm", "gelu"], ["gelu"], ["gelu"]],
    "moonshine": [["tanh", "group_norm"], ["gelu"], ["layer_norm", "gelu"]],
    "both": [
        ["instance_norm", "group_norm", "tanh", "instance_norm"],
        ["group_norm", "gelu"],
        ["group_norm"],
    ],
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("functions", FUNCTIONS.values(), ids=FUNCTIONS)
def test_an_utterance_with_its_own_statistics(functions, bias):
    """Folded, it gives what the norms give."""
    model = from_torchaudio(make_torchaudio(large=False).double())
    front_end = ConvolutionalFrontEnd(
        out_channels=[8, 8, 12],
        kernel_sizes=[10, 4, 2],
        strides=[5, 4, 2],
        biases=[bias] * 3,
        functions=functions,
    )
    model.extractor = disturb(front_end).double()
    signal = make_signal(SAMPLES).double()
    before = {n: w.clone() for n, w in front_end.state_dict().items()}
    calibrated = calibrate(model, iter([signal.numpy()]))
    assert calibrated.extractor.norms_over_time == []
    assert front_end.state_dict().keys() == before.keys()
    assert calibrated.notes[-1].endswith("averages of 1 utterances")
    with torch.no_grad():
        expected = front_end(signal[None])
        assert_close(calibrated.extractor(signal[None]), expected, 1e-10)


def test_statistics_are_averages_of_utterances():
    """A long utterance counts as much as a short one."""
    model = from_torchaudio(make_torchaudio(large=False).double())
    signals = [make_signal(size, size).double() for size in (800, 6000)]
    convolution = model.extractor.convolutions[0]
    norm = model.extractor.following[0][0]
    with torch.no_grad():
        seen = [convolution(signal[None]) for signal in signals]
        mean = sum(each.mean(1) for each in seen) / 2
        deviation = (
            sum((each.var(1, correction=0) + 1e-5).sqrt() for each in seen) / 2
        )
        expected = (seen[1] - mean[:, None]) / deviation[:, None]
        expected = expected * norm.weight[:, None] + norm.bias[:, None]
        fixed = calibrate(model, signals).extractor.convolutions[0]
        assert (fixed(signals[1][None]) - expected).abs().max() < 1e-10


BAD_AUDIO = {
    "none": ([], ValueError, "audio must be at least one utterance, got none"),
    "path": ("folder", TypeError, "audio must be an iterable of utterances"),
    "short": ([torch.rand(5)], ValueError, r"audio\[0\] must be at least 45"),
    "batch": ([torch.rand(1, 900)], ValueError, r"of shape \(samples,\)"),
    "integers": ([torch.ones(900, dtype=int)], TypeError, "floating point"),
    "silence": ([torch.zeros(900)], ValueError, "must be speech"),
    "nan": ([torch.full((900,), torch.nan)], ValueError, "must be finite"),
    "text": ([["a"]], TypeError, r"audio\[0\] must be a tensor or an array"),
}


@pytest.mark.parametrize("audio,error,match", BAD_AUDIO.values(), ids=BAD_AUDIO)
def test_bad_audio(audio, error, match):
    model = from_torchaudio(make_torchaudio(large=False))
    with pytest.raises(error, match=match):
        calibrate(model, audio)
    assert not model.extractor.following[0][0]._forward_pre_hooks


def test_front_ends_that_cannot_be_calibrated():
    model = from_torchaudio(make_torchaudio(large=True))
    with pytest.raises(ValueError, match=r"^front end must be one with norms"):
        calibrate(model, [make_signal(SAMPLES)])
    for functions in (
        [["gelu", "group_norm", "tanh"]],
        [["gelu", "group_norm"]],
    ):
        model.extractor = ConvolutionalFrontEnd(
            [12], [10], [5], [True], functions
        )
        with pytest.raises(ValueError, match="stands next to a convolution"):
            calibrate(model, [make_signal(SAMPLES)])
    with pytest.raises(TypeError, match=r"^model must be"):
        calibrate(model.extractor, [make_signal(SAMPLES)])


NAMES = pytest.mark.parametrize(
    "name", ["Wav2Vec2Model", "HubertModel", "Wav2Vec2ForCTC", "HubertForCTC"]
)


def run_transformers(source, waveforms, mask=None):
    """The input of the first layer, every layer's output, and the model's."""
    base = getattr(source, source.base_model_prefix, source)
    last = []
    hook = base.encoder.layers[-1].register_forward_hook(
        lambda module, inputs, output: last.append(output)
    )
    with torch.no_grad():
        out = base(waveforms, mask, output_hidden_states=True)
    hook.remove()
    # some versions have the closing norm in their last hidden state
    last = last[0] if isinstance(last[0], torch.Tensor) else last[0][0]
    return [*out.hidden_states[:-1], last], out.last_hidden_state


@TYPES
@LARGE
@TAPS
@NAMES
def test_transformers(name, taps, large, dtype):
    """Every layer, the output and the logits."""
    source = make_transformers(name, large, taps).to(dtype)
    imported = from_transformers(source)
    waveforms = make_waveforms(dtype)
    hidden, out, logits = run(imported, waveforms)
    expected, expected_out = run_transformers(source, waveforms)
    assert len(hidden) == 4
    for ours, theirs in zip(hidden, expected, strict=True):
        assert_close(ours, theirs, TOLERANCES[dtype])
    assert_close(out, expected_out, TOLERANCES[dtype])
    if name.endswith("ForCTC"):
        with torch.no_grad():
            assert_close(logits, source(waveforms).logits, TOLERANCES[dtype])
    else:
        assert logits is None
    assert any("unit variance" in note for note in imported.notes) == large


@TYPES
@NAMES
def test_padded_rows_of_transformers(name, dtype):
    """With layer norms, a row does not depend on its padding."""
    source = make_transformers(name, large=True).to(dtype)
    lengths = torch.tensor([SAMPLES, 3500])
    waveforms = make_waveforms(dtype)
    waveforms[1, 3500:] = 0.0
    mask = torch.arange(SAMPLES) < lengths[:, None]
    imported = from_transformers(source)
    hidden, out, _ = run(imported, waveforms, lengths)
    expected, expected_out = run_transformers(source, waveforms, mask.long())
    frames = imported.extractor.get_output_lengths(lengths).tolist()
    for ours, theirs in zip(
        [*hidden, out], [*expected, expected_out], strict=True
    ):
        assert_close(ours, theirs, TOLERANCES[dtype], frames)


@pytest.mark.parametrize("feat_proj_layer_norm", [False, True])
def test_hubert_without_the_front_ends_closing_norm(feat_proj_layer_norm):
    source = make_transformers(
        "HubertModel", False, feat_proj_layer_norm=feat_proj_layer_norm
    ).double()
    waveforms = make_waveforms(torch.float64)
    _, out, _ = run(from_transformers(source), waveforms)
    assert_close(out, run_transformers(source, waveforms)[1], 1e-10)


@NAMES
def test_a_folder(tmp_path, name):
    """The same as its object, with labels; the blank comes first."""
    source = make_transformers(name, large=False, pad_token_id=2)
    labels = ["A", "B", "<pad>", "|", "C"]
    imported = from_transformers(write_folder(tmp_path, source, labels))
    waveforms = make_waveforms(torch.float32)
    _, out, logits = run(imported, waveforms)
    with torch.no_grad():
        expected = source(waveforms)
    if name.endswith("Model"):
        assert imported.labels is None
        assert_close(out, expected.last_hidden_state, 1e-5)
        return
    assert imported.labels == ["<blank>", "A", "B", " ", "C"]
    assert_close(logits, expected.logits[..., [2, 0, 1, 3, 4]], 1e-5)
    assert "the blank is label 0, in the source 2" in imported.notes
    assert isinstance(imported.streaming(), ImportedModel)


def test_an_older_file(tmp_path):
    """pytorch_model.bin, weight norm under its older names, no vocabulary."""
    source = make_transformers("Wav2Vec2ForCTC", large=True).double()
    weights = source.state_dict()
    new, old = "parametrizations.weight.original", "weight_"
    renamed = {
        name.replace(f"{new}0", f"{old}g").replace(f"{new}1", f"{old}v"): each
        for name, each in weights.items()
    }
    assert sum(name.endswith(("weight_g", "weight_v")) for name in renamed) == 2
    source.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(renamed, tmp_path / "pytorch_model.bin")
    imported = from_transformers(tmp_path)
    assert imported.labels is None
    waveforms = make_waveforms(torch.float64)
    with torch.no_grad():
        expected = source(waveforms).logits
    assert_close(run(imported, waveforms)[2], expected, 1e-10)
    source.state_dict = lambda: renamed
    assert_close(run(from_transformers(source), waveforms)[2], expected, 1e-10)


def test_what_only_pre_training_needs_is_left_out_and_named(tmp_path):
    """A pre-trained model has a quantiser, in a folder and as an object."""
    source = make_transformers("Wav2Vec2ForPreTraining", large=False)
    for given in (source, write_folder(tmp_path, source)):
        imported = from_transformers(given)
        assert "weight project_q.bias is left out" in imported.notes
        assert "weight quantizer.codevectors is left out" in imported.notes
        mask = imported.encoder_wrapper.mask_emb
        assert torch.equal(mask, source.wav2vec2.masked_spec_embed)
        waveforms = make_waveforms(torch.float32)
        _, expected = run_transformers(source, waveforms)
        assert_close(run(imported, waveforms)[1], expected, 1e-5)


def test_half_precision_becomes_single():
    source = make_transformers("HubertForCTC", large=True).half()
    imported = from_transformers(source)
    waveforms = make_waveforms(torch.float32)
    with torch.no_grad():
        expected = source.float()(waveforms).logits
    assert_close(run(imported, waveforms)[2], expected, 1e-5)


@pytest.mark.parametrize("large,says", [(False, True), (True, False)])
def test_a_folder_says_whether_it_normalises(tmp_path, large, says):
    source = make_transformers("Wav2Vec2ForCTC", large)
    write_folder(tmp_path, source)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": says})
    )
    notes = from_transformers(tmp_path).notes
    assert any("unit variance" in note for note in notes) == says


BAD_OPTIONS = {
    "add_adapter": {"add_adapter": True},
    "adapter_attn_dim": {"adapter_attn_dim": 4},
    "hidden_act": {"hidden_act": "relu"},
    "feat_extract_activation": {"feat_extract_activation": "relu"},
    "layer_norm_eps": {"layer_norm_eps": 1e-3},
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_options_that_have_no_counterpart(name):
    model = make_transformers("Wav2Vec2Model", False, **BAD_OPTIONS[name])
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got"):
        from_transformers(model)


@pytest.mark.parametrize(
    "name,kind",
    [("WavLMModel", "wavlm"), ("Data2VecAudioModel", "data2vec-audio")],
)
def test_other_families_are_refused_by_name(tmp_path, name, kind):
    model = make_transformers(name, large=False)
    with pytest.raises(ValueError, match=f"wav2vec2 or hubert, got '{kind}'"):
        from_transformers(model)
    with pytest.raises(ValueError, match=f"wav2vec2 or hubert, got '{kind}'"):
        from_transformers(write_folder(tmp_path, model))


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"with a config\.json, got"):
        from_transformers(tmp_path)
    source = make_transformers("Wav2Vec2ForCTC", large=False)
    write_folder(tmp_path, source, ["<pad>", "A"])
    with pytest.raises(ValueError, match=r"^vocab\.json must be of 5 labels"):
        from_transformers(tmp_path)
    (tmp_path / "vocab.json").write_text('{"A": 3, "B": 7}')
    with pytest.raises(ValueError, match=r"^vocab\.json must be labels with"):
        from_transformers(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="a folder that transformers loads"):
        from_transformers(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="a folder that transformers loads"):
        from_transformers(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="a folder that transformers loads"):
        from_transformers(tmp_path)


def test_labels_that_a_tokenizer_adds(tmp_path):
    """As transformers' guide to fine-tuning has them: the head counts them,
    vocab.json does not."""
    source = make_transformers("Wav2Vec2ForCTC", large=False, pad_token_id=2)
    write_folder(tmp_path, source, ["A", "|", "[PAD]"])
    added = tmp_path / "added_tokens.json"
    added.write_text('{"<s>": 3, "</s>": 4}')
    labels = from_transformers(tmp_path).labels
    assert labels == ["<blank>", "A", " ", "<s>", "</s>"]
    write_folder(tmp_path, source, ["A", "|", "[PAD]", "B", "C"])
    labels = from_transformers(tmp_path).labels
    assert labels == ["<blank>", "A", " ", "B", "C"]


def test_labels_without_a_blank_or_with_two_spaces(tmp_path):
    source = make_transformers("Wav2Vec2ForCTC", large=False)
    write_folder(tmp_path, source, ["<pad>", "|", " ", "B", "C"])
    with pytest.raises(ValueError, match=r"\.json must be of one label fo"):
        from_transformers(tmp_path)
    source.config.pad_token_id = None
    with pytest.raises(ValueError, match="pad_token_id must be the number"):
        from_transformers(source)


def test_weights_that_a_folder_lacks_are_named(tmp_path):
    source = make_transformers("Wav2Vec2ForCTC", large=True)
    weights = source.state_dict()
    del weights["wav2vec2.encoder.layers.1.attention.k_proj.bias"]
    source.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(ValueError, match=r"no .*layers\.1\.attention\.k_proj"):
        from_transformers(tmp_path)
