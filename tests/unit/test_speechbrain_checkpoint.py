"""Checkpoints of SpeechBrain's pre-training are read without running
anything of theirs, and give what SpeechBrain gives."""

import pytest
import torch

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.pretrained import from_speechbrain
from tiny_model import make_signal
from tiny_speechbrain import HYPERPARAMETERS, load, write_experiment


def checkpoint_of(experiment):
    (path,) = (experiment / "save").iterdir()
    return path


@pytest.mark.parametrize("resolved", [True, False])
def test_every_weight_arrives(tmp_path, resolved):
    """Without positions on either side, outputs are the same."""
    experiment, modules = write_experiment(tmp_path / "experiment")
    if not resolved:
        (experiment / "hyperparams.yaml").write_text(HYPERPARAMETERS)
    imported = from_speechbrain(experiment)
    old = imported.encoder_wrapper.latent_encoder
    assert (old.attention, old.positional_encoding) == ("aa", "rope")
    bare = StreamingTransformerEncoder(
        num_layers=2,
        nhead=2,
        d_ffn=32,
        d_model=16,
        attention="aa",
        positional_encoding=None,
        activation=torch.nn.GELU,
    )
    bare.load_state_dict(old.state_dict())
    imported.encoder_wrapper.latent_encoder = bare.eval()
    signal = make_signal(6000)[None]
    source = modules["latent_encoder"].eval()
    source.positional_encoding.pe.zero_()
    with torch.no_grad():
        latents = imported.extractor(signal)
        theirs = modules["latent_extractor"].eval()(signal, False)
        assert (latents - theirs).abs().max() < 1e-5
        ours = imported.encoder_wrapper(latents)["embeddings"]
        assert (ours - source(theirs)["embeddings"]).abs().max() < 1e-5
    assert torch.equal(imported.encoder_wrapper.mask_emb, source.mask_emb)
    assert imported.normalizes_waveforms
    assert any("sinusoidal positions" in note for note in imported.notes)


def test_a_checkpoint_and_its_folders_are_the_same(tmp_path):
    """And of several the newest is taken."""
    experiment, _ = write_experiment(tmp_path / "experiment")
    checkpoint = checkpoint_of(experiment)
    wanted = from_speechbrain(experiment).encoder_wrapper.state_dict()
    old = experiment / "save" / "CKPT+earlier"
    old.mkdir()
    for path in checkpoint.glob("*.ckpt"):
        (old / path.name).write_bytes(b"old")
    for folder in (experiment, experiment / "save", checkpoint):
        imported = from_speechbrain(folder)
        assert imported.notes[0].endswith(checkpoint.name)
        for name, weight in imported.encoder_wrapper.state_dict().items():
            assert torch.equal(weight, wanted[name]), name


def test_options_come_from_the_file(tmp_path):
    """Those that weights do not show, with SpeechBrain's defaults."""
    experiment, _ = write_experiment(tmp_path / "experiment")
    path = experiment / "hyperparams.yaml"
    text = path.read_text()
    assert from_speechbrain(experiment).extractor.strides == [5, 2, 2]
    lines = [
        line
        for line in text.splitlines()
        if "normalize_before" not in line and "GELU" not in line
    ]
    path.write_text("\n".join(lines))
    layer = from_speechbrain(experiment).encoder_wrapper.latent_encoder.layers[
        0
    ]
    assert not layer.normalize_before
    assert isinstance(layer.pos_ffn.ffn[1], torch.nn.ReLU)


@pytest.mark.parametrize(
    "line",
    [
        "bad: !apply:os.mkdir [ran]",
        "bad: !new:zipfile.ZipFile {file: ran, mode: w}",
        "bad: !!python/object/apply:os.mkdir [ran]",
        "bad: (!!python/object/apply:os.mkdir [ran])",
        "bad: !ref <bad>",
        "bad: &loop [*loop]",
    ],
)
def test_nothing_of_the_file_runs(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    experiment, _ = write_experiment(tmp_path / "experiment")
    path = experiment / "hyperparams.yaml"
    path.write_text(f"{line}\n{path.read_text()}")
    assert from_speechbrain(experiment).extractor.strides == [5, 2, 2]
    assert not (tmp_path / "ran").exists()


def change(old, new):
    """Replaces text of the hyperparameters."""

    def apply(experiment):
        path = experiment / "hyperparams.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return apply


def write(name, content):
    """Replaces a file of the checkpoint."""
    return lambda experiment: (checkpoint_of(experiment) / name).write_bytes(
        content
    )


def swap(experiment):
    """Weights of the one part in the file of the other."""
    folder = checkpoint_of(experiment)
    (folder / "latent_encoder.ckpt").write_bytes(
        (folder / "latent_extractor.ckpt").read_bytes()
    )


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda e: (e / "hyperparams.yaml").unlink(),
            FileNotFoundError,
            "with a hyperparams.yaml beside or above",
        ),
        (
            lambda e: (checkpoint_of(e) / "latent_extractor.ckpt").unlink(),
            FileNotFoundError,
            "with a latent_extractor.ckpt beside",
        ),
        (
            lambda e: (e / "hyperparams.yaml").write_text("a: ["),
            ValueError,
            "^hyperparams.yaml must be YAML",
        ),
        (
            lambda e: (e / "hyperparams.yaml").write_text("- 1"),
            ValueError,
            "entries with names",
        ),
        (
            change("TransformerEncoder", "OtherEncoder"),
            ValueError,
            "one that builds one TransformerEncoder, got 0",
        ),
        (change("nhead: 2", "heads: 2"), ValueError, "nhead must be a number"),
        (change("nhead: 2", "nhead: 3"), ValueError, "nhead"),
        (change("nhead: 2", "nhead: x"), TypeError, "nhead"),
        (change("[5, 2, 2]", "[5, 2]"), ValueError, "strides"),
        (change("[5, 2, 2]", "5"), TypeError, "strides"),
        (change("nn.GELU", "nn.Linear"), ValueError, "activation must be"),
        (
            change("nhead: 2", "nhead: 2\n  attention_type: hypermixing"),
            ValueError,
            "attention_type must be 'regularMHA'",
        ),
        (write("latent_encoder.ckpt", b"x"), ValueError, "latent_encoder.ckpt"),
        (swap, ValueError, "weights must be those of"),
    ],
)
def test_bad_folders(tmp_path, damage, error, message):
    experiment, _ = write_experiment(tmp_path / "experiment")
    damage(experiment)
    with pytest.raises(error, match=message):
        from_speechbrain(experiment)


def test_both_parts_are_needed(tmp_path):
    """The weights of another front end are named."""
    experiment, _ = write_experiment(tmp_path / "experiment")
    modules = load()
    weights = modules["latent_extractor"].state_dict()
    del weights["norm.bias"]
    torch.save(weights, checkpoint_of(experiment) / "latent_extractor.ckpt")
    with pytest.raises(ValueError, match=r"got no norm\.bias$"):
        from_speechbrain(experiment)
