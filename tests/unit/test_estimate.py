"""What a training costs, counted by PyTorch, against the sums on paper."""

import pytest

import compare
from comparison.estimate import estimate_training
from source_files import ROOT

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


def on_paper(keys):
    """Operations of a fine-tuning, forward and backward, where each of 2 s of
    frames sees so many keys."""
    samples, channels, convolutions = round(SECONDS * 16000), 1, []
    kernels, strides = (11, 3, 3, 3, 3, 3, 3), (5, 2, 2, 2, 2, 2, 2)
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
        convolutions.append(2 * samples * kernel * channels * 8)
        channels = 8
    layer = 4 * 16 * 16 + 2 * 16 * 40
    products = 2 * samples * (8 * 16 + 3 * layer + 16 * 29)
    attention = 3 * 4 * samples * keys * 16
    forward = sum(convolutions) + products + attention
    # no gradient of the waveform; attention computes its weights once more
    backward = 2 * (sum(convolutions) + products) + 2.5 * attention
    return samples, forward, forward + backward - convolutions[0]


def count(attention, **overrides):
    found = estimate_training(
        "finetune",
        HPARAMS / "finetune_small.yaml",
        {
            **SIZES,
            "attention": attention,
            "pretrained_folder": "none",
            "freeze_extractor": False,
            "speeds": [100],
            "silence_prob": 0,
            **overrides,
        },
        SECONDS,
    )
    return found.forward * SECONDS, found.step * SECONDS


def test_every_product_is_counted():
    """aa and maa: to the last operation."""
    frames, _, _ = on_paper(0)
    for attention in ("aa", "maa"):
        assert count(attention) == pytest.approx(on_paper(frames)[1:], abs=0.5)


def test_streaming_attention():
    """sa saves keys. llsa at hop 1 computes each frame of a layer with all of
    its look-ahead, at hop 8 with one provisional frame each; several hops cost
    the mean."""
    sizes = {"look_back": 4, "look_ahead": 2}
    with pytest.MonkeyPatch.context() as patch:
        # the band of an utterance that is not short
        patch.setattr("speechbrain_llsa.ops.attend.DENSE_WIDTHS", (0, 0))
        (maa, _), (sa, _) = count("maa"), count("sa", **sizes)
    assert sa < maa
    ones, eights, both = (
        count("llsa", look_back=4, look_ahead=8, hop=hop)
        for hop in (1, 8, [1, 8])
    )
    # frames of a layer: 9 and 2 times as many
    layers = 2 * on_paper(0)[0] * 3 * (4 * 16 * 16 + 2 * 16 * 40)
    assert ones[0] - sa > 7.5 * layers
    assert 0.9 * layers < eights[0] - sa < 2.5 * layers
    assert both == pytest.approx(
        [(one + eight) / 2 for one, eight in zip(ones, eights, strict=True)]
    )


def test_pretraining():
    """The whole step, with quantiser and loss; its cost is that of the audio
    of all steps."""
    found = estimate_training(
        "pretrain",
        HPARAMS / "pretrain_small.yaml",
        {**SIZES, "final_dim": 8, "optimizer_step_limit": 10},
        SECONDS,
    )
    assert found.parameters > 0
    assert 2 < found.step / found.forward < 3.5
    assert found.total == found.step * found.audio_seconds
    assert found.audio_seconds % 10 == 0


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
