"""The front end of SpeechBrain's transducers arrives with its weights, and
gives what SpeechBrain gives."""

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_llsa.pretrained import log_mel_from_speechbrain
from tiny_model import make_signal

HYPERPARAMETERS = """\
sample_rate: 16000
n_fft: 512
n_mels: 80
win_length: 32

normalize: !new:speechbrain.processing.features.InputNormalization
   norm_type: global
   update_until_epoch: 4

compute_features: !new:speechbrain.lobes.features.Fbank
   sample_rate: !ref <sample_rate>
   n_fft: !ref <n_fft>
   n_mels: !ref <n_mels>
   win_length: !ref <win_length>

CNN: !new:speechbrain.lobes.models.convolution.ConvolutionFrontEnd
   input_shape: (8, 10, 80)
   num_blocks: 2
   num_layers_per_block: 1
   out_channels: (64, 32)
   kernel_sizes: (3, 3)
   strides: (2, 2)
   residuals: (False, False)

other: !new:torch.nn.Linear
   in_features: 640
   out_features: 4

model: !new:torch.nn.ModuleList
   - [!ref <CNN>, !ref <other>]
"""
"""The entries of SpeechBrain's ``conformer_transducer.yaml`` that make the
front end."""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A checkpoint as SpeechBrain writes it, and its modules."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("experiment")
    hparams = load_hyperpyyaml(HYPERPARAMETERS)
    for parameter in hparams["model"].parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    normalize = hparams["normalize"].train()
    for seed in range(3):
        energies = hparams["compute_features"](make_signal(20000, seed)[None])
        normalize(energies, torch.ones(1), epoch=1)
    resolved = resolve_references(HYPERPARAMETERS).read()
    (folder / "hyperparams.yaml").write_text(resolved)
    Checkpointer(
        folder / "save",
        {"model": hparams["model"], "normalizer": normalize},
    ).save_checkpoint(name="tiny")
    normalize.eval(), hparams["model"].eval()
    return folder, hparams


def run_speechbrain(hparams, signal, top_db=80.0):
    hparams["compute_features"].compute_fbanks.top_db = top_db
    with torch.no_grad():
        energies = hparams["compute_features"](signal)
        frames = hparams["CNN"](hparams["normalize"](energies))
    return frames.flatten(2)


@pytest.mark.parametrize("samples", [2400, 20000, 20160, 20480, 20639])
def test_frames_are_those_of_speechbrain(experiment, samples):
    """From the second to the last that the utterance suffices for, with the
    statistics too; SpeechBrain has one or two more."""
    folder, hparams = experiment
    front_end = log_mel_from_speechbrain(folder)
    # with no silence that top_db would raise
    signal = make_signal(samples, 7)[None] + 0.5 * make_signal(samples, 8)[None]
    theirs = run_speechbrain(hparams, signal)
    with torch.no_grad():
        ours = front_end(signal)
    count = ours.shape[1]
    assert 1 <= theirs.shape[1] - count <= 2
    error = (ours - theirs[:, :count]).abs().amax(dim=(0, 2))
    assert error[1:].max() < 1e-5
    assert error[0] > 1e-2
    # the front end of a longer utterance has the frames that are missing
    longer = torch.cat([signal, signal.flip(1)], dim=1)
    with torch.no_grad():
        further = front_end(longer)[:, count : theirs.shape[1]]
    differs = (further - theirs[:, count:]).abs().amax(dim=(0, 2))
    assert differs.min() > 1e-3


def test_top_db_is_what_a_stream_cannot_know(experiment):
    """A loud sound in the end changes SpeechBrain's energies before it; where
    it is off they are the same."""
    folder, hparams = experiment
    front_end = log_mel_from_speechbrain(folder)
    signal = make_signal(20000, 7)[None]
    signal[:, :10000] *= 1e-4
    with torch.no_grad():
        ours = front_end(signal)
    count = ours.shape[1]
    with_it = run_speechbrain(hparams, signal)[:, :count]
    without = run_speechbrain(hparams, signal, float("inf"))[:, :count]
    assert (ours - without)[:, 1:].abs().max() < 1e-5
    assert (ours - with_it)[:, 1:15].abs().max() > 0.1


def test_a_yaml_file_names_it(experiment):
    """So that a training begins with it."""
    folder, _ = experiment
    function = "speechbrain_llsa.hparams.log_mel_from_speechbrain"
    text = f"extractor: !apply:{function} {{folder: {folder}}}"
    assert load_hyperpyyaml(text)["extractor"].is_measured


def test_folders_are_the_same(experiment):
    """That of the experiment, of its checkpoints, and of one."""
    folder, _ = experiment
    (checkpoint,) = (folder / "save").iterdir()
    wanted = log_mel_from_speechbrain(folder).state_dict()
    assert wanted["log_mel.measured"] == 3 * 126  # frames
    for place in (folder / "save", checkpoint):
        for name, weight in (
            log_mel_from_speechbrain(place).state_dict().items()
        ):
            assert torch.equal(weight, wanted[name]), name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_layers_per_block: 1", "num_layers_per_block: 2",
         "num_layers_per_block of ConvolutionFrontEnd must be"),
        ("(False, False)", "(False, True)", "residuals of Convolution"),
        ("residuals: (False, False)", "padding: causal", "residuals of"),
        ("strides: (2, 2)", "strides: (2, x)", "strides of Convolution"),
        ("sample_rate: 16000", "sample_rate: 8000", "sample_rate of Fbank"),
        ("win_length: !ref <win_length>", "deltas: True", "deltas of Fbank"),
        ("lobes.features.Fbank", "lobes.features.MFCC", "hyperparams.yaml"),
    ],
)  # fmt: skip
def test_other_models_are_refused(experiment, tmp_path, old, new, message):
    folder, _ = experiment
    (checkpoint,) = (folder / "save").iterdir()
    for name in ("model.ckpt", "normalizer.ckpt"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    assert old in HYPERPARAMETERS
    path = tmp_path / "hyperparams.yaml"
    path.write_text(HYPERPARAMETERS.replace(old, new))
    with pytest.raises(ValueError, match=f"^{message}"):
        log_mel_from_speechbrain(tmp_path)
    path.write_text(HYPERPARAMETERS)
    assert log_mel_from_speechbrain(tmp_path).is_measured


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("normalizer.ckpt", {"count": 1}, "normalizer.ckpt must be global"),
        ("normalizer.ckpt", [1], "normalizer.ckpt must be global"),
        ("model.ckpt", {"weight": torch.ones(1)}, "weights must be those"),
        ("model.ckpt", [1], "model.ckpt is damaged"),
    ],
)
def test_damaged_files_are_refused(
    experiment, tmp_path, file, content, message
):
    folder, _ = experiment
    (checkpoint,) = (folder / "save").iterdir()
    for name in ("model.ckpt", "normalizer.ckpt"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    (tmp_path / "hyperparams.yaml").write_text(HYPERPARAMETERS)
    torch.save(content, tmp_path / file)
    with pytest.raises(ValueError, match=f"^{message}"):
        log_mel_from_speechbrain(tmp_path)


def test_a_folder_without_hyperparameters(experiment, tmp_path):
    folder, _ = experiment
    (checkpoint,) = (folder / "save").iterdir()
    nested = tmp_path / "deep" / "in" / "here"
    nested.mkdir(parents=True)
    for name in ("model.ckpt", "normalizer.ckpt"):
        (nested / name).write_bytes((checkpoint / name).read_bytes())
    with pytest.raises(FileNotFoundError, match=r"^folder must be .* a hyper"):
        log_mel_from_speechbrain(nested)
