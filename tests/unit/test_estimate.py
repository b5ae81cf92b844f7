"""What a training costs, counted by PyTorch, against the sums on paper."""

import pytest

import compare
from comparison.estimate import estimate_training
from source_files import ROOT
from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.model_folder.write import write_encoder_folder
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor

HPARAMS = ROOT / "hparams"
SECONDS = 2.0
SIZES = {
    "num_layers": 3,
    "embedding_dim": 16,
    "nhead": 2,
    "d_ffn": 40,
    "extractor_channels": [8, 8, 8, 8, 8, 8, 8],
    "extractor_dim": 8,
}
ATTENTION, FEED_FORWARD = 4 * 16 * 16, 2 * 16 * 40


def on_paper(keys, layer=ATTENTION + FEED_FORWARD, positions=0):
    """Operations of a fine-tuning, forward and backward, where each of 2 s of
    frames sees so many keys, and takes so many multiplications of a layer and
    of the positions."""
    samples, channels, convolutions = round(SECONDS * 16000), 1, []
    kernels, strides = (11, 3, 3, 3, 3, 3, 3), (5, 2, 2, 2, 2, 2, 2)
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
        convolutions.append(2 * samples * kernel * channels * 8)
        channels = 8
    products = 2 * samples * (8 * 16 + positions + 3 * layer + 16 * 29)
    attention = 3 * 4 * samples * keys * 16
    forward = sum(convolutions) + products + attention
    # no gradient of the waveform; attention computes its weights once more
    backward = 2 * (sum(convolutions) + products) + 2.5 * attention
    return samples, forward, forward + backward - convolutions[0]


def count(attention, file="finetune_small.yaml", sizes=SIZES, **overrides):
    found = estimate_training(
        "finetune",
        HPARAMS / file,
        {
            **sizes,
            "attention": attention,
            "pretrained_folder": "none",
            "freeze_extractor": False,
            **overrides,
        },
        SECONDS,
    )
    return found.forward * SECONDS, found.step * SECONDS


@pytest.fixture
def folder(tmp_path):
    """An encoder whose positions are a convolution of 6 taps in 4 groups."""
    encoder = StreamingTransformerEncoder(
        num_layers=3,
        nhead=2,
        d_ffn=40,
        d_model=16,
        positional_encoding="convolution",
        positional_look_back=5,
        positional_groups=4,
    )
    return write_encoder_folder(
        tmp_path / "pretrained",
        StreamingLatentExtractor(out_channels=[8] * 7),
        StreamingEncoderWrapper(8, 16, encoder),
    )


def test_every_product_is_counted():
    """aa and maa: to the last operation."""
    frames, _, _ = on_paper(0)
    for attention in ("aa", "maa"):
        assert count(attention) == pytest.approx(on_paper(frames)[1:], abs=0.5)


def test_convolutions_in_groups_are_counted(folder):
    """That of a Conformer, feature by feature, and that of positions, to the
    last operation as well: PyTorch counts the gradient of their weights as if
    each channel saw all others."""
    frames, _, _ = on_paper(0)
    layer = ATTENTION + 2 * FEED_FORWARD + 3 * 16 * 16 + 16 * 16
    assert count("aa", encoder_module="conformer") == pytest.approx(
        on_paper(frames, layer)[1:], abs=0.5
    )
    found = count(
        "aa",
        "finetune_pretrained.yaml",
        {},
        output_units=29,
        pretrained_folder=str(folder),
    )
    assert found == pytest.approx(
        on_paper(frames, positions=6 * 16 * 16 // 4)[1:], abs=0.5
    )


def test_streaming_attention():
    """sa saves keys. llsa at hop 1 computes each frame of a layer with all of
    its look-ahead, at hop 8 with one provisional frame each."""
    sizes = {"look_back": 4, "look_ahead": 2}
    with pytest.MonkeyPatch.context() as patch:
        # the band of an utterance that is not short
        patch.setattr("speechbrain_llsa.ops.attend.DENSE_WIDTHS", (0, 0))
        (maa, _), (sa, _) = count("maa"), count("sa", **sizes)
    assert sa < maa
    (ones, _), (eights, _) = (
        count("llsa", look_back=4, look_ahead=8, hop=hop) for hop in (1, 8)
    )
    # frames of a layer: 9 and 2 times as many
    layers = 2 * on_paper(0)[0] * 3 * (ATTENTION + FEED_FORWARD)
    assert ones - sa > 7.5 * layers
    assert 0.9 * layers < eights - sa < 2.5 * layers


def test_several_geometries():
    """Their cost is the mean, whatever the seed and the batches of a step."""
    each = [count("llsa", hop=hop) for hop in (8, 4, 1)]
    mean = [sum(counts) / 3 for counts in zip(*each, strict=True)]
    for factor, seed in ((1, 1), (2, 2), (3, 3), (8, 4)):
        found = count(
            "llsa", hop=[8, 4, 1], grad_accumulation_factor=factor, seed=seed
        )
        assert found == pytest.approx(mean)


def test_pretraining():
    """The whole step, with quantiser and loss; its cost is that of the audio
    of all steps, whatever the seed."""
    found, other = (
        estimate_training(
            "pretrain",
            HPARAMS / "pretrain_small.yaml",
            {**SIZES, "final_dim": 8, "optimizer_step_limit": 10, "seed": seed},
            SECONDS,
        )
        for seed in (1, 2)
    )
    assert found == other
    assert found.parameters > 0
    assert 2 < found.step / found.forward < 3.5
    assert found.total == found.step * found.audio_seconds
    assert found.audio_seconds % 10 == 0


def test_a_teacher_is_not_counted(capsys, tmp_path, folder):
    """And the table says so, of a teacher in the plan and in a YAML file."""
    entries = (HPARAMS / "finetune_pretrained.yaml").read_text()
    (tmp_path / "taught.yaml").write_text(
        entries.replace("teacher: null", f"teacher: {folder}")
    )
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"""
        finetune: {HPARAMS}/finetune_pretrained.yaml
        test_split: test
        seeds: [1]
        rows:
          - {{name: alone}}
          - {{name: by a row, teacher: alone}}
          - {{name: by a folder, finetune: taught.yaml}}
        """
    )
    arguments = ("--estimate", "--pretrained_folder", str(folder))
    assert compare.main([str(plan), *arguments]) == 0
    rows = capsys.readouterr().out.strip().splitlines()[2:]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert [row[1] for row in cells] == [
        "finetune",
        "finetune, without its teacher",
        "finetune, without its teacher",
    ]
    assert cells[0][2:] == cells[1][2:] == cells[2][2:]


def test_command(capsys, tmp_path):
    """A row for each training, without any data; a plan of fine-tunings needs
    its folder here as well."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"""
        pretrain: {HPARAMS}/pretrain_small.yaml
        finetune: {HPARAMS}/finetune_small.yaml
        test_split: test
        seeds: [1]
        overrides: {SIZES}
        rows:
          - {{name: sa, overrides: {{attention: sa}}}}
          - {{name: maa, weights_of: sa, overrides: {{attention: maa}}}}
        """
    )
    assert compare.main([str(plan), "--estimate"]) == 0
    head, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert "FLOP/s" in head
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert [row[:2] for row in cells] == [
        ["sa", "pretrain"],
        ["sa", "finetune"],
        ["maa", "pretrain"],
        ["maa", "finetune"],
    ]
    assert float(cells[0][4]) < float(cells[2][4])
    for arguments in (
        [str(HPARAMS / "compare_english.yaml"), "--estimate"],
        [
            str(HPARAMS / "compare_transducer.yaml"),
            *("--estimate", "--pretrained_folder", str(tmp_path)),
        ],
        [str(plan), "--estimate", "--operations_per_second", "0"],
        [str(plan)],
    ):
        with pytest.raises(SystemExit) as stop:
            compare.main(arguments)
        assert stop.value.code == 2
