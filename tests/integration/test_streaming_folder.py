"""The folder of a streaming model: written, moved, loaded, damaged."""

import io
import os
import shutil

import pytest
import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.nnet.linear import Linear
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder import write as writing
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.nnet.packed import pack_linears
from tiny_model import LABELS, make_model, make_signal, make_tokenizer

FILES = [
    "encoder_wrapper.safetensors",
    "extractor.safetensors",
    "head.safetensors",
    "hyperparams.yaml",
    "model.json",
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A written folder. Not to be written to."""
    path = tmp_path_factory.mktemp("model") / "streaming"
    return write_streaming_folder(path, make_model(), make_tokenizer())


@pytest.fixture
def folder(written, tmp_path):
    """A copy to play with."""
    return shutil.copytree(written, tmp_path / "copy")


def transcribe(asr):
    return asr.transcribe_batch(make_signal(16000)[None])[0]


def test_the_model_comes_back(written):
    """What is loaded gives exactly what was written, where it is computed in
    the same way: with gradients, weights are not packed."""
    model, asr = make_model(), StreamingASR.from_hparams(written)
    wavs = make_signal(16000)[None]
    assert torch.equal(asr.model(wavs)[0], model(wavs)[0])
    assert not any(p.requires_grad for p in asr.model.parameters())
    assert not any(m.training for m in asr.mods.modules())
    assert asr.model.latency_report().declared_latency.look_ahead == 4


CUDA = pytest.param(
    "cuda",
    torch.float32,
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    ],
)


@pytest.mark.parametrize(
    ("place", "dtype"),
    [
        ("cpu", torch.float64),
        ("cpu", torch.float16),
        ("cpu", torch.bfloat16),
        CUDA,
    ],
)
def test_written_from(place, dtype, tmp_path):
    """A model that rounds more than one that loads, as it was trained; it is
    left as it was."""
    model = make_model().to(place, dtype).train()
    folder = write_streaming_folder(tmp_path / "a", model, make_tokenizer())
    weight = model.head.weight
    assert (model.training, weight.device.type) == (True, place)
    assert weight.dtype == dtype
    asr, wavs = StreamingASR.from_hparams(folder), make_signal(16000)[None]
    model.cpu().float().eval()
    assert torch.equal(asr.model(wavs)[0], model(wavs)[0])


def test_a_packed_model_is_written(tmp_path):
    """Its encoder's packed weights are no part of the folder."""
    model = make_model().requires_grad_(False)
    pack_linears(model.encoder_wrapper)
    folder = write_streaming_folder(tmp_path / "a", model, make_tokenizer())
    wavs = make_signal(16000)[None]
    given, _ = StreamingASR.from_hparams(folder).model(wavs)
    assert torch.equal(given, make_model()(wavs)[0])


def test_it_moves(written, folder, monkeypatch, tmp_path):
    """Another place, another working directory, a relative path."""
    expected = transcribe(StreamingASR.from_hparams(written))
    monkeypatch.chdir(tmp_path)
    assert transcribe(StreamingASR.from_hparams("copy")) == expected
    for name in ("hyperparams.yaml", "model.json"):
        assert str(written) not in (folder / name).read_text()


def test_nothing_is_linked_into_it(folder, tmp_path):
    """Loading leaves the folder as it is, whatever the savedir."""
    SpeechBrainStreamingASR.from_hparams(source=str(folder))
    SpeechBrainStreamingASR.from_hparams(
        source=str(folder), savedir=str(folder)
    )
    SpeechBrainStreamingASR.from_hparams(
        source=str(folder), savedir=tmp_path / "s"
    )
    StreamingASR.from_hparams(folder, savedir=tmp_path / "t")
    assert sorted(os.listdir(folder)) == FILES
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert not (tmp_path / "t").exists()


def test_a_used_savedir_gives_no_old_weights(folder, tmp_path):
    """SpeechBrain's class with the savedir of another model: the weights are
    those of the source, not those of before."""
    savedir = tmp_path / "savedir"
    SpeechBrainStreamingASR.from_hparams(source=str(folder), savedir=savedir)
    model = make_model()
    torch.nn.init.normal_(model.head.weight)
    other = write_streaming_folder(tmp_path / "b", model, make_tokenizer())
    speechbrain_asr = SpeechBrainStreamingASR.from_hparams(
        source=str(other), savedir=savedir
    )
    assert torch.equal(
        speechbrain_asr.hparams.model.head.weight, model.head.weight
    )


def test_writing_again_replaces(tmp_path):
    """A second call replaces the folder as a whole, and leaves no rest."""
    folder = tmp_path / "deep" / "streaming"
    write_streaming_folder(folder, make_model(), make_tokenizer())
    (folder / "old.txt").write_text("")
    write_streaming_folder(folder, make_model(hop=4), make_tokenizer())
    assert sorted(os.listdir(folder)) == FILES
    assert os.listdir(folder.parent) == ["streaming"]
    report = StreamingASR.from_hparams(folder).model.latency_report()
    assert report.geometry.hop == 4


def test_a_failure_leaves_what_was_there(folder, monkeypatch):
    """If writing fails half-way, the earlier folder is still whole."""

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(writing, "write_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        write_streaming_folder(folder, make_model(), make_tokenizer())
    assert sorted(os.listdir(folder)) == FILES
    assert os.listdir(folder.parent) == [folder.name]


def test_other_folders_are_not_replaced(tmp_path):
    """A folder with other things in it is left alone."""
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="holds something else"):
        write_streaming_folder(tmp_path, make_model(), make_tokenizer())
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_training_goes_on_after_writing(tmp_path):
    """Writing leaves the model in training mode, and its gradients on."""
    model = make_model().train()
    write_streaming_folder(tmp_path / "a", model, make_tokenizer())
    assert model.training and model.encoder_wrapper.training
    assert all(p.requires_grad for p in model.parameters())


def test_head_of_the_host_and_other_activation(tmp_path):
    """SpeechBrain's Linear, ReLU, norms behind, no positions: all written."""
    model = make_model(positional_encoding=None)
    for layer in model.encoder_wrapper.latent_encoder.layers:
        layer.pos_ffn.ffn[1] = torch.nn.ReLU()
        layer.normalize_before = False
    model.head = Linear(LABELS, input_size=16, bias=False)
    folder = write_streaming_folder(tmp_path / "a", model, make_tokenizer())
    wavs = make_signal(16000)[None]
    written = StreamingASR.from_hparams(folder).model
    assert torch.equal(written(wavs)[0], model(wavs)[0])


def test_sentencepiece(tmp_path):
    """Pieces of words: session, SpeechBrain and offline agree, with single
    spaces between words and none before the first."""
    content = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["one two three", "four five six"] * 20),
        model_writer=content,
        vocab_size=18,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    tokenizer = SentencePieceProcessor()
    tokenizer.load_from_serialized_proto(content.getvalue())
    model = make_model(labels=18)
    folder = write_streaming_folder(tmp_path / "a", model, tokenizer)
    assert (folder / "tokenizer.model").is_file()
    asr = StreamingASR.from_hparams(folder)
    text = transcribe(asr)
    assert len(text) > 20 and text == text.lstrip(" ")
    session = asr.session()
    for samples in make_signal(16000).split(999):
        session.push(samples)
    session.finish()
    assert session.text == text
    speechbrain_asr = SpeechBrainStreamingASR.from_hparams(source=str(folder))
    context = speechbrain_asr.make_streaming_context(DynChunkTrainConfig(50))
    (said,) = speechbrain_asr.transcribe_chunk(
        context, make_signal(16000)[None], torch.tensor([0.999999])
    )
    assert said == text


def test_wrong_parts_are_refused(tmp_path):
    """Tokenizers that do not fit, and parts that cannot be described."""
    model, folder = make_model(labels=5), tmp_path / "a"
    with pytest.raises(ValueError, match="tokenizer must be of 5 labels"):
        write_streaming_folder(folder, model, make_tokenizer())
    with pytest.raises(TypeError, match=r"tokenizer must .*got str"):
        write_streaming_folder(folder, model, "characters")
    model = make_model()
    model.head = torch.nn.Sequential(model.head)
    with pytest.raises(TypeError, match=r"head .* got Sequential"):
        write_streaming_folder(folder, model, make_tokenizer())
    model = make_model()
    model.encoder_wrapper.latent_encoder.norm.register_forward_hook(
        lambda module, inputs, output: output * 1.5
    )
    with pytest.raises(ValueError, match="model must be what its secti"):
        write_streaming_folder(folder, model, make_tokenizer())
    assert not folder.exists()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [StreamingASR, SpeechBrainStreamingASR])
def test_missing_files_are_named(folder, name, kind):
    """A file that is missing is named in one sentence."""
    (folder / name).unlink()
    if name == "hyperparams.yaml":
        if kind is StreamingASR:  # which does not read it
            kind.from_hparams(folder)
        return
    words = f"holds no {name}"
    if (name, kind) == ("model.json", StreamingASR):
        words = "which an earlier version wrote"
    with pytest.raises(FileNotFoundError, match=words):
        kind.from_hparams(source=str(folder))


@pytest.mark.parametrize("name", sorted({*FILES} - {"hyperparams.yaml"}))
@pytest.mark.parametrize("part", [0.0, 0.5])
def test_truncated_files_are_named(folder, name, part):
    """A file that is cut off is named in one sentence."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError) as caught:
        StreamingASR.from_hparams(folder)
    message = str(caught.value)
    assert name in message and "\n" not in message


def test_weights_of_another_model_are_refused(folder):
    """Weights that do not fit are an error, not a warning."""
    save_file({"weight": torch.zeros(2, 2)}, folder / "head.safetensors")
    for kind in (StreamingASR, SpeechBrainStreamingASR):
        with pytest.raises(ValueError, match=r"head\.safetensors is damaged"):
            kind.from_hparams(source=str(folder))


@pytest.mark.parametrize("source", ["./nowhere", "/no/where", "nowhere", "~/a"])
def test_no_such_folder(source):
    """A folder that does not exist is named, and nothing is downloaded."""
    with pytest.raises(FileNotFoundError, match="source must be an"):
        StreamingASR.from_hparams(source)


def test_bad_files_are_refused(written, tmp_path):
    """Audio that is not there, or is not audio, is named."""
    asr = StreamingASR.from_hparams(written)
    text = tmp_path / "a.txt"
    text.write_text("not audio")
    for method in (asr.transcribe_file, asr.transcribe_file_offline):
        with pytest.raises(FileNotFoundError, match=r"path must .*got"):
            method(tmp_path / "nothing.wav")
        with pytest.raises(ValueError, match="must be audio"):
            method(text)
    with pytest.raises(ValueError, match="use_torchaudio_streaming"):
        asr.transcribe_file(text, None, True)


MARK = b"\xef\xbb\xbf"


def test_text_files_of_other_editors(folder, written):
    """A byte order mark and carriage returns change nothing."""
    path = folder / "model.json"
    path.write_bytes(MARK + path.read_bytes().replace(b"\n", b"\r\n"))
    asr = StreamingASR.from_hparams(folder)
    assert transcribe(asr) == transcribe(StreamingASR.from_hparams(written))
    speechbrain_asr = SpeechBrainStreamingASR.from_hparams(source=str(folder))
    assert (
        speechbrain_asr.hparams.model.fingerprint() == asr.model.fingerprint()
    )


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_text_files_in_other_encodings(folder, encoding):
    """Named by the file."""
    path = folder / "model.json"
    text = path.read_text().replace("<blank>", "É")
    path.write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=r"model\.json.* must be UTF-8, got"):
        StreamingASR.from_hparams(folder)
