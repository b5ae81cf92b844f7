"""SpeechBrain's own recipe scripts run on our classes by YAML alone.

The scripts are not part of SpeechBrain's package. With SPEECHBRAIN_RECIPES set
to the ``recipes`` folder of a checkout of SpeechBrain, of the version that is
installed, five of them are run as they are; without, the same calls are made
here.
"""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import soundfile
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.core import Stage
from speechbrain.lobes.models.wav2vec import (
    EncoderWrapper,
    sample_negatives,
    w2v_mask_collate_fn,
)
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig
from speechbrain.utils.parameter_transfer import Pretrainer

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa_runtime.geometry import ATTENTIONS, StreamGeometry

HPARAMS = Path(__file__).parents[2] / "hparams" / "speechbrain"
RECIPES = os.environ.get("SPEECHBRAIN_RECIPES")

WAV2VEC2 = {
    "latentextractor_channels": [8] * 7,
    "extractor_dim": 8,
    "num_layers": 2,
    "embedding_dim": 16,
    "d_ffn": 32,
    "nhead": 2,
}
SMALL = {
    "wav2vec2_pretrain": {
        **WAV2VEC2,
        "final_dim": 8,
        "num_vars": 8,
        "num_negatives": 5,
        "warmup": 2,
        "decay_steps": 4,
        "seconds_per_batch": 6,
        "train_num_buckets": 2,
        "valid_batch_size": 2,
        "log_interval": 1,
    },
    "wav2vec2_finetune_ctc": {
        **WAV2VEC2,
        "dnn_blocks": 1,
        "dnn_neurons": 16,
        "output_neurons": 17,  # blank, space and 15 letters
        "beam_size": 4,
        "batch_size": 3,
    },
    "transformer_ctc": {
        "cnn_channels": [4, 2],
        "input_size": 40,
        "d_model": 16,
        "nhead": 2,
        "d_ffn": 32,
        "num_encoder_layers": 2,
        "output_neurons": 19,  # <unk>, <s>, </s>, space and 15 letters
        "beam_size": 4,
        "avg_checkpoints": 2,
        "max_batch_length_train": 6,
        "max_batch_length_val": 6,
        "num_bucket": 2,
        "grad_accumulation_factor": 1,
    },
    "conformer_transducer": {
        "cnn_channels": [4, 2],
        "input_size": 40,
        "d_model": 16,
        "joint_dim": 12,
        "dec_dim": 12,
        "nhead": 2,
        "d_ffn": 32,
        "num_encoder_layers": 2,
        "output_neurons": 20,
        "beam_size": 20,  # with fewer, the search waits for a blank for ever
        "lm_embedding_dim": 8,
        "lm_neurons": 8,
        "lm_dnn_neurons": 8,
        "avg_checkpoints": 2,
        "max_batch_len": 6,
        "max_batch_len_val": 6,
        "num_bucket": 2,
        "grad_accumulation_factor": 1,
    },
    "conformer_seq2seq": {
        "cnn_channels": [4, 2],
        "input_size": 40,
        "d_model": 16,
        "nhead": 2,
        "d_ffn": 32,
        "num_encoder_layers": 2,
        "num_decoder_layers": 1,
        "output_neurons": 20,
        "lm_d_model": 8,
        "lm_heads": 2,
        "lm_layers": 1,
        "lm_d_ffn": 16,
        "valid_search_interval": 1,
        "valid_beam_size": 2,
        "test_beam_size": 3,
        "avg_checkpoints": 2,
        "max_batch_length_train": 6,
        "max_batch_length_val": 6,
        "num_bucket": 2,
    },
}


def load(name, folder, **changes):
    """Loads a YAML file at toy size, writing to a folder."""
    overrides = {
        "data_folder": str(folder),
        "output_folder": str(folder / name),
        **SMALL[name],
        **changes,
    }
    text = (HPARAMS / f"{name}.yaml").read_text(encoding="utf-8")
    return load_hyperpyyaml(text, overrides)


def waveforms():
    """Two utterances of 2 and 1.6 s: samples and relative lengths."""
    wavs = 0.1 * torch.randn(2, 32000)
    wavs[1, 25600:] = 0
    return wavs, torch.tensor([1.0, 0.8])


def tokens(hparams):
    """Labels of the two: (batch, labels) and relative lengths."""
    labels = torch.randint(1, hparams["output_neurons"], (2, 6))
    return labels, torch.tensor([1.0, 0.5])


def pretraining_step(hparams):
    """What train_sb_wav2vec2.py does with a batch."""
    modules = hparams["modules"]
    wavs, wav_lens = waveforms()
    wavs, wav_lens, mask = w2v_mask_collate_fn(
        [
            {"id": row, "sig": wavs[row, : int(part * wavs.shape[1])]}
            for row, part in enumerate(wav_lens.tolist())
        ],
        get_out_len_fn=modules["latent_extractor"].get_output_lengths,
        mask_prob=hparams["mask_prob"],
        mask_length=hparams["mask_length"],
    )
    latents = modules["latent_extractor"](wavs, normalize_signal=False)
    results = modules["latent_encoder"](latents, mask=mask, wav_lens=wav_lens)
    embeddings = modules["feat_proj"](results["embeddings"][mask])
    targets, meta = modules["target_quantiser"](
        latents[mask].view(len(wavs), -1, latents.shape[2])
    )
    loss, _ = hparams["loss"](
        embeddings.view(len(wavs), -1, embeddings.shape[1]),
        targets,
        sample_negatives(targets, hparams["num_negatives"]),
    )
    return loss + (
        meta["diversity_loss"]
        * hparams["diversity_loss_weight"]
        * results["num_masked"]
    )


def finetuning_forward(hparams, wavs, wav_lens):
    """What train_with_wav2vec.py does between waveforms and log
    probabilities."""
    modules = hparams["modules"]
    latents = modules["extractor"](wavs)
    results = modules["encoder_wrapper"](latents, wav_lens=wav_lens)
    logits = modules["ctc_lin"](modules["enc"](results["embeddings"]))
    return hparams["log_softmax"](logits)


def finetuning_step(hparams):
    """What train_with_wav2vec.py does with a batch."""
    augment = hparams["wav_augment"]
    wavs, wav_lens = augment(*waveforms())
    labels, label_lens = augment.replicate_multiple_labels(*tokens(hparams))
    log_probs = finetuning_forward(hparams, wavs, wav_lens)
    return hparams["ctc_cost"](log_probs, labels, wav_lens, label_lens)


def transformer_step(hparams):
    """What train.py does with a batch."""
    modules, augment = hparams["modules"], hparams["wav_augment"]
    wavs, wav_lens = augment(*waveforms())
    labels, label_lens = map(augment.replicate_labels, tokens(hparams))
    feats = hparams["compute_features"](wavs)
    feats = modules["normalize"](feats, wav_lens, epoch=1)
    out, _ = modules["Transformer"](
        modules["CNN"](feats), tgt=None, wav_len=wav_lens
    )
    log_probs = hparams["log_softmax"](modules["ctc_lin"](out))
    return hparams["ctc_cost"](log_probs, labels, wav_lens, label_lens)


def transducer_step(hparams):
    """What the transducers' train.py does with a batch, and its validation."""
    modules, augment = hparams["modules"], hparams["wav_augment"]
    wavs, wav_lens = augment(*waveforms())
    labels, label_lens = map(augment.replicate_labels, tokens(hparams))
    feats = hparams["compute_features"](wavs)
    feats, _ = hparams["fea_augment"](feats, wav_lens)
    config = None
    if hparams["streaming"]:
        config = hparams["dynchunktrain_config_sampler"](Stage.TRAIN)
    feats = modules["normalize"](feats, wav_lens, epoch=1)
    out = modules["enc"](
        modules["CNN"](feats),
        wav_lens,
        pad_idx=hparams["pad_index"],
        dynchunktrain_config=config,
    )
    out = modules["proj_enc"](out)
    begun = torch.nn.functional.pad(labels, (1, 0), value=hparams["bos_index"])
    predicted, _ = modules["dec"](modules["emb"](begun))
    predicted = modules["proj_dec"](predicted)
    joint = modules["Tjoint"](out.unsqueeze(2), predicted.unsqueeze(1))
    loss = hparams["transducer_cost"](
        modules["transducer_lin"](joint), labels, wav_lens, label_lens
    )
    log_probs = hparams["log_softmax"](modules["proj_ctc"](out))
    ctc = hparams["ctc_cost"](log_probs, labels, wav_lens, label_lens)
    with torch.no_grad():
        for search in ("Greedysearcher", "Beamsearcher"):
            hypotheses = hparams[search](out[:1, :5])[0]
            assert len(hypotheses) == 1
    return loss + hparams["ctc_weight"] * ctc


def seq2seq_step(hparams):
    """What the encoder-decoders' train.py does with a batch, and its
    searches."""
    modules, augment = hparams["modules"], hparams["fea_augment"]
    wavs, wav_lens = waveforms()
    feats = hparams["compute_features"](wavs)
    feats = modules["normalize"](feats, wav_lens, epoch=1)
    feats, _ = augment(feats, wav_lens)
    labels, label_lens = map(augment.replicate_labels, tokens(hparams))
    begun = torch.nn.functional.pad(labels, (1, 0), value=hparams["bos_index"])
    ended = torch.nn.functional.pad(labels, (0, 1), value=hparams["eos_index"])
    out, predicted = modules["Transformer"](
        modules["CNN"](feats), begun, wav_lens, pad_idx=hparams["pad_index"]
    )
    ctc = hparams["log_softmax"](modules["ctc_lin"](out))
    sequence = hparams["log_softmax"](modules["seq_lin"](predicted))
    with torch.no_grad():
        for search in ("valid_search", "test_search"):
            hypotheses = hparams[search](out[:1], wav_lens[:1])[0]
            assert len(hypotheses) == 1
    return (
        hparams["ctc_cost"](ctc, labels, wav_lens, label_lens).sum()
        + hparams["seq_cost"](sequence, ended, length=label_lens).sum()
    )


STEPS = {
    "wav2vec2_pretrain": (pretraining_step, "optimizer", "encoder"),
    "wav2vec2_finetune_ctc": (finetuning_step, "model_opt_class", "encoder"),
    "transformer_ctc": (transformer_step, "model_opt_class", "Transformer"),
    "conformer_transducer": (transducer_step, "opt_class", "Transformer"),
    "conformer_seq2seq": (seq2seq_step, "Adam", "Transformer"),
}


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", STEPS)
def test_training_step(name, attention, tmp_path):
    """Each YAML with each attention: forward, loss, backward and an optimizer
    step; attention and geometry are set at the top level."""
    geometry = {"look_back": 9, "look_ahead": 3, "hop": 2}
    changes = {"attention": attention, **geometry}
    if name == "wav2vec2_finetune_ctc":
        changes["wav2vec2_hub"] = str(tmp_path)
    hparams = load(name, tmp_path, **changes)
    step, optimizer_class, encoder = STEPS[name]
    encoder = getattr(hparams[encoder], "encoder", hparams[encoder])
    assert isinstance(encoder, StreamingTransformerEncoder)
    assert encoder.attention == attention
    assert encoder.geometry == StreamGeometry(**geometry)

    loss = step(hparams)
    loss.backward()
    assert loss.isfinite()
    weight = encoder.layers[0].self_att.in_proj.weight
    assert weight.grad.isfinite().all() and weight.grad.abs().sum() > 0
    before = weight.detach().clone()
    optimizer = hparams[optimizer_class](encoder.parameters())
    if name == "wav2vec2_pretrain":
        hparams["lr_scheduler"](optimizer, 1)
    elif name != "wav2vec2_finetune_ctc":
        hparams["noam_annealing"](optimizer)
    optimizer.step()
    assert not torch.equal(weight, before)
    assert step(hparams).isfinite()


def test_one_transducer_for_many_latencies(tmp_path):
    """With streaming: True each batch takes one of the hops; what the script
    does with a chunk that is none of them, is refused."""
    hparams = load(
        "conformer_transducer", tmp_path, streaming=True, hop=[4, 1, 2]
    )
    for _ in range(3):
        assert transducer_step(hparams).isfinite()
    assert hparams["dynchunktrain_config_sampler"](Stage.VALID).chunk_size == 4
    hparams["dynchunktrain_config_sampler"] = lambda stage: DynChunkTrainConfig(
        chunk_size=8
    )
    with pytest.raises(ValueError, match=r"chunk_size must be .*got 8"):
        transducer_step(hparams)


def test_pretrained_weights_reach_the_fine_tuning(tmp_path):
    """A checkpoint of the pre-training loads, by SpeechBrain's Pretrainer, into
    another attention and geometry; a second run in the same folder with
    another checkpoint loads that one."""
    for seed in (1, 2):
        pretraining = load("wav2vec2_pretrain", tmp_path, seed=seed)
        checkpoint = pretraining["checkpointer"].save_checkpoint()
        hparams = load(
            "wav2vec2_finetune_ctc",
            tmp_path,
            wav2vec2_hub=str(checkpoint.path),
            attention="sa",
            look_back=5,
        )
        hparams["pretrainer"].collect_files()
        hparams["pretrainer"].load_collected()
        for name, loaded in (
            ("extractor", "latent_extractor"),
            ("encoder_wrapper", "latent_encoder"),
        ):
            expected = pretraining["modules"][loaded].state_dict()
            for key, value in hparams["modules"][name].state_dict().items():
                assert torch.equal(value, expected[key]), key


def test_fine_tuning_checkpoint_is_whole(tmp_path):
    """Log probabilities survive a checkpoint: nothing is left out of it."""
    log_probs = []
    wavs, wav_lens = waveforms()
    for seed in (1, 2):
        hparams = load(
            "wav2vec2_finetune_ctc",
            tmp_path,
            wav2vec2_hub=str(tmp_path),
            seed=seed,
        )
        if seed == 1:
            hparams["checkpointer"].save_checkpoint()
        else:
            hparams["checkpointer"].recover_if_possible()
        for module in hparams["modules"].values():
            module.eval()
        with torch.no_grad():
            log_probs.append(finetuning_forward(hparams, wavs, wav_lens))
    assert torch.equal(*log_probs)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_hosts_wrapper_takes_our_encoder(attention):
    """SpeechBrain's EncoderWrapper with lengths and with a padding mask: each
    row gives what it gives alone, gradients are finite."""
    wrapper = EncoderWrapper(12, 16, make_encoder(attention)).eval()
    latents = torch.randn(3, 40, 12)
    wav_lens = torch.tensor([1.0, 0.5, 0.1])
    padding_mask = torch.arange(40) >= torch.tensor([[40], [20], [4]])
    out = wrapper(latents, wav_lens=wav_lens)["embeddings"]
    masked = wrapper(latents, padding_mask=padding_mask)["embeddings"]
    assert torch.equal(out, masked)
    for row, frames in enumerate((40, 20, 4)):
        alone = wrapper(latents[row : row + 1, :frames])["embeddings"]
        assert (out[row, :frames] - alone[0]).abs().max() < 1e-5
    out[~padding_mask].square().sum().backward()
    for name, parameter in wrapper.named_parameters():
        assert name == "mask_emb" or parameter.grad.isfinite().all(), name


def test_the_hosts_checkpointer_and_pretrainer_take_our_encoder(tmp_path):
    """Weights written by one attention are read by the others."""
    encoder = make_encoder("llsa")
    checkpointer = Checkpointer(tmp_path / "save", {"encoder": encoder})
    checkpoint = checkpointer.save_checkpoint()
    src = torch.randn(1, 5, 16)
    expected, _ = encoder(src)
    for attention in ATTENTIONS:
        recovered, transferred = make_encoder(attention), make_encoder("aa")
        Checkpointer(
            tmp_path / "save", {"encoder": recovered}
        ).recover_if_possible()
        pretrainer = Pretrainer(
            loadables={"encoder": transferred},
            paths={"encoder": str(checkpoint.path / "encoder.ckpt")},
        )
        pretrainer.collect_files()
        pretrainer.load_collected()
        for other in (recovered, transferred):
            weights = other.state_dict()
            for name, value in encoder.state_dict().items():
                assert torch.equal(weights[name], value), name
        if attention == "llsa":
            assert torch.equal(recovered(src)[0], expected)


def make_encoder(attention):
    return StreamingTransformerEncoder(
        num_layers=2,
        nhead=2,
        d_ffn=32,
        d_model=16,
        attention=attention,
        look_back=8,
        look_ahead=3,
        hop=2,
    ).eval()


needs_recipes = pytest.mark.skipif(
    not RECIPES,
    reason="SPEECHBRAIN_RECIPES does not name the recipes folder of a "
    "SpeechBrain checkout",
)

TEXTS = {
    "train-clean-100": [
        "ZERO ONE TWO",
        "THREE FOUR",
        "FIVE SIX",
        "SEVEN EIGHT",
        "NINE ZERO",
        "ONE TWO SIX",
    ],
    "dev-clean": ["TWO ONE", "SIX"],
    "test-clean": ["EIGHT TWO", "NINE"],
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Noise of 1.6 to 2.2 s, in LibriSpeech layout and with its names."""
    folder = tmp_path_factory.mktemp("LibriSpeech")
    draw = np.random.default_rng(0)
    for speaker, (split, texts) in enumerate(TEXTS.items(), start=1):
        chapter = folder / split / f"{speaker}" / "1"
        chapter.mkdir(parents=True)
        lines = []
        for index, text in enumerate(texts):
            name = f"{speaker}-1-{index:04}"
            samples = draw.normal(0, 0.1, draw.integers(25600, 35200))
            soundfile.write(chapter / f"{name}.flac", samples, 16000)
            lines.append(f"{name} {text}\n")
        (chapter / f"{speaker}-1.trans.txt").write_text("".join(lines))
    return folder


def run(script, name, corpus, output, *flags, **changes):
    """Runs a script of SpeechBrain's with a YAML of ours; gives its log."""
    recipes = Path(RECIPES).resolve() / "LibriSpeech"
    script = recipes / script
    overrides = {
        "data_folder": corpus,
        "output_folder": output,
        "train_splits": "[train-clean-100]",
        "num_workers": 0,
        "number_of_epochs": 2,
        **SMALL[name],
        **changes,
    }
    if name != "wav2vec2_pretrain":
        overrides["test_splits"] = "[test-clean]"
        overrides["test_csv"] = f"[{output / 'test-clean.csv'}]"
    command = [sys.executable, script, HPARAMS / f"{name}.yaml", *flags]
    for key, value in {**overrides, "device": "cpu"}.items():
        command += [f"--{key}", value]
    # The folder of librispeech_prepare.py, for a checkout without links.
    paths = [str(recipes), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=script.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def logged(path, name):
    """The numbers that a log of SpeechBrain's gives a name."""
    text = path.read_text(encoding="utf-8")
    return [float(x) for x in re.findall(rf"{name}: ([-+.\dena]+)", text)]


@pytest.fixture(scope="module")
def pretrained(corpus, tmp_path_factory):
    """The output folder of train_sb_wav2vec2.py."""
    output = tmp_path_factory.mktemp("pretrained")
    run(
        "self-supervised-learning/wav2vec2/train_sb_wav2vec2.py",
        "wav2vec2_pretrain",
        corpus,
        output,
        max_grad_norm=100,
    )
    return output


@pytest.fixture(scope="module", params=["conformer_transducer"])
def tokenizer_and_language_model(request, tmp_path_factory):
    """A folder with a tokenizer of all texts, and a model that knows nothing,
    as SpeechBrain's hub has them; for a YAML file."""
    folder = tmp_path_factory.mktemp("language_model")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(text for each in TEXTS.values() for text in each),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=SMALL[request.param]["output_neurons"],
        hard_vocab_limit=False,
    )
    (folder / "tokenizer.model").rename(folder / "tokenizer.ckpt")
    model = load(request.param, folder)["lm_model"]
    torch.save(model.state_dict(), folder / "lm.ckpt")
    return folder


def newest_checkpoint(output):
    return sorted((output / "save").glob("CKPT+*"))[-1]


@needs_recipes
@pytest.mark.slow
def test_self_supervised_script(pretrained):
    """train_sb_wav2vec2.py trains, validates and writes checkpoints."""
    stages = pretrained / "train_stage_log.txt"
    losses = logged(stages, "train loss") + logged(stages, "valid loss")
    assert len(losses) == 4 and all(map(math.isfinite, losses))
    assert min(logged(pretrained / "train_steps_log.txt", "lr")) > 0
    steps = logged(pretrained / "train_steps_log.txt", "steps")
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 4
    names = {path.name for path in newest_checkpoint(pretrained).iterdir()}
    assert {"latent_extractor.ckpt", "latent_encoder.ckpt"} <= names


@needs_recipes
@pytest.mark.slow
@pytest.mark.parametrize("attention", ["llsa", "sa"])
def test_fine_tuning_script(attention, pretrained, corpus, tmp_path):
    """train_with_wav2vec.py starts from that checkpoint, trains, validates
    and tests; tested again from its own checkpoint it gives the same."""
    arguments = (
        "ASR/CTC/train_with_wav2vec.py",
        "wav2vec2_finetune_ctc",
        corpus,
        tmp_path,
    )
    changes = {
        "wav2vec2_hub": newest_checkpoint(pretrained),
        "attention": attention,
    }
    run(*arguments, **changes)
    log = tmp_path / "train_log.txt"
    losses = logged(log, "train loss") + logged(log, "valid loss")
    assert len(losses) == 4 and all(map(math.isfinite, losses))
    assert (tmp_path / "wer_test-clean.txt").is_file()
    names = {path.name for path in newest_checkpoint(tmp_path).iterdir()}
    assert {"extractor.ckpt", "encoder_wrapper.ckpt", "model.ckpt"} <= names

    run(*arguments, "--test_only", **changes)
    first, again = logged(log, "test loss")
    assert math.isfinite(first) and first == again


@needs_recipes
@pytest.mark.slow
@pytest.mark.parametrize("attention", ["llsa", "sa"])
def test_transformer_script(attention, corpus, tmp_path):
    """train.py trains, validates, averages its checkpoints and tests; tested
    again it gives the same."""
    arguments = ("ASR/CTC/train.py", "transformer_ctc", corpus, tmp_path)
    run(*arguments, attention=attention)
    log = tmp_path / "train_log.txt"
    losses = logged(log, "train loss") + logged(log, "valid loss")
    assert len(losses) == 4 and all(map(math.isfinite, losses))
    assert (tmp_path / "wer_test-clean.txt").is_file()

    run(*arguments, "--test_only", attention=attention)
    first, again = logged(log, "test loss")
    assert math.isfinite(first) and first == again


@needs_recipes
@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "llsa"},
        {"attention": "sa", "encoder_module": "transformer"},
        {"attention": "llsa", "streaming": True, "hop": "[4, 1]"},
    ],
    ids=["llsa", "sa", "many hops"],
)
def test_transducer_script(
    changes, corpus, tokenizer_and_language_model, tmp_path
):
    """train.py trains with the CTC branch, validates greedily, averages its
    checkpoints and tests with a beam and the language model."""
    run(
        "ASR/transducer/train.py",
        "conformer_transducer",
        corpus,
        tmp_path,
        pretrained_lm_tokenizer_path=tokenizer_and_language_model,
        precision="fp32",
        **changes,
    )
    log = tmp_path / "train_log.txt"
    losses = logged(log, "train loss") + logged(log, "valid loss")
    assert len(losses) == 4 and all(map(math.isfinite, losses))
    assert len(logged(log, "test loss")) == 1
    assert (tmp_path / "wer_test-clean.txt").is_file()


@needs_recipes
@pytest.mark.slow
@pytest.mark.parametrize(
    "tokenizer_and_language_model", ["conformer_seq2seq"], indirect=True
)
@pytest.mark.parametrize("attention", ["llsa", "sa"])
def test_encoder_decoder_script(
    attention, corpus, tokenizer_and_language_model, tmp_path
):
    """train.py trains with CTC and attention, validates with a beam, averages
    its checkpoints and tests with the language model."""
    run(
        "ASR/transformer/train.py",
        "conformer_seq2seq",
        corpus,
        tmp_path,
        pretrained_lm_tokenizer_path=tokenizer_and_language_model,
        attention=attention,
    )
    log = tmp_path / "train_log.txt"
    losses = logged(log, "train loss") + logged(log, "valid loss")
    assert len(losses) == 4 and all(map(math.isfinite, losses))
    assert len(logged(log, "test loss")) == 1
    assert (tmp_path / "wer_test-clean.txt").is_file()
