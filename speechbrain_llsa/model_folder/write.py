"""The folder of a streaming model: written, and loaded again.

It holds ``hyperparams.yaml``, which builds everything, the weights, and the
labels. It can be moved, and loads in the host's own ``StreamingASR``.
"""

import copy
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from sentencepiece import SentencePieceProcessor
from speechbrain.dataio.encoder import CTCTextEncoder
from speechbrain.nnet.linear import Linear
from speechbrain.utils.parameter_transfer import Pretrainer

from speechbrain_llsa.decoders.language_model import check_exists
from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.decoders.tokenizers import pieces
from speechbrain_llsa.geometry import SAMPLE_RATE
from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.model_folder.hyperparameters import check_hyperparameters
from speechbrain_llsa.model_folder.labels import load_tokenizer
from speechbrain_llsa.model_folder.load import load_model
from speechbrain_llsa.model_folder.weights import load_weights
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.transcripts.endpointer import Endpointer
from speechbrain_llsa.transcripts.words import WordOffsets
from speechbrain_llsa.utils.atomic_files import (
    check_replaceable,
    written_atomically,
)
from speechbrain_llsa.utils.checks import check_type
from speechbrain_llsa.utils.errors import reason
from speechbrain_llsa.utils.precision import full_float32

HPARAMS_FILE = "hyperparams.yaml"

ENCODER_TEMPLATE = """\
sample_rate: {sample_rate}

extractor: !new:speechbrain_llsa.hparams.StreamingLatentExtractor
{extractor}
encoder: !new:speechbrain_llsa.hparams.StreamingTransformerEncoder
{encoder}
encoder_wrapper: !new:speechbrain_llsa.hparams.StreamingEncoderWrapper
{encoder_wrapper}
    latent_encoder: !ref <encoder>
"""

PRETRAINED_TEMPLATE = (
    """\
# A pre-trained encoder. Load this folder with
#   speechbrain_llsa.StreamingEncoder.from_hparams(FOLDER)
"""
    + ENCODER_TEMPLATE
    + """
pretrainer: !new:speechbrain_llsa.hparams.FolderPretrainer
    loadables:
        extractor: !ref <extractor>
        encoder_wrapper: !ref <encoder_wrapper>
    file_names:
        extractor: latent_extractor.ckpt
        encoder_wrapper: latent_encoder.ckpt
"""
)

TEMPLATE = (
    """\
# A streaming CTC model. Load this folder with
#   speechbrain_llsa.StreamingASR.from_hparams(source=FOLDER)
# or with SpeechBrain's own speechbrain.inference.ASR.StreamingASR.
"""
    + ENCODER_TEMPLATE
    + """
head: !new:{head_class}
{head}
model: !new:speechbrain_llsa.hparams.StreamingCTC
    extractor: !ref <extractor>
    encoder_wrapper: !ref <encoder_wrapper>
    head: !ref <head>

tokenizer: !new:{tokenizer_class}
{options}
# What SpeechBrain's StreamingASR asks for
fea_streaming_extractor: !new:speechbrain_llsa.hparams.ChunkFeatureExtractor
    extractor: !ref <extractor>

enc: !new:speechbrain_llsa.hparams.ChunkEncoder
    encoder_wrapper: !ref <encoder_wrapper>

proj_enc: !new:speechbrain_llsa.hparams.ChunkHead
    model: !ref <model>

decoding_function: !name:speechbrain_llsa.hparams.decode_chunk
make_decoder_streaming_context: !name:speechbrain_llsa.hparams.CTCGreedyState
tokenizer_decode_streaming: !new:speechbrain_llsa.hparams.ChunkText
make_tokenizer_streaming_context: !name:speechbrain_llsa.hparams.TextState

modules:
    model: !ref <model>
    enc: !ref <enc>
    proj_enc: !ref <proj_enc>

pretrainer: !new:speechbrain_llsa.hparams.FolderPretrainer
    loadables:
        extractor: !ref <extractor>
        encoder_wrapper: !ref <encoder_wrapper>
        head: !ref <head>
        tokenizer: !ref <tokenizer>
    file_names:
        extractor: extractor.ckpt
        encoder_wrapper: encoder_wrapper.ckpt
        head: head.ckpt
        tokenizer: {tokenizer_file}
"""
)


class FolderPretrainer(Pretrainer):
    """The host's ``Pretrainer`` for one folder that holds all files: named by
    themselves, loaded completely or not at all.

    Files of a local folder are read where they lie, so that nothing is linked
    and nothing old is picked up.

    Arguments
    ---------
    loadables : dict
        What is loaded, by name.
    file_names : dict
        Name of the file of each, in the source.

    Raises
    ------
    TypeError
        If an argument is not a dict.
    ValueError
        If the names differ, or a file is not right in the source.
    """

    def __init__(self, loadables, file_names):
        check_type("loadables", loadables, dict)
        check_type("file_names", file_names, dict)
        if loadables.keys() != file_names.keys():
            raise ValueError(
                f"file_names: got files of {', '.join(map(str, file_names))}, "
                f"allowed is one of each of {', '.join(map(str, loadables))}"
            )
        for name in file_names.values():
            if not isinstance(name, str) or Path(name).name != name:
                raise ValueError(
                    f"file_names: got {name!r}, allowed is the name of a file "
                    "right in the source"
                )
        super().__init__(
            loadables=loadables,
            custom_hooks=dict.fromkeys(loadables, _load),
        )
        self.file_names = dict(file_names)

    def collect_files(self, default_source=None, *args, **kwargs):
        """Finds the files, and fetches them if the source is far away.

        Arguments
        ---------
        default_source : str or pathlib.Path
            The folder, or a repository of a model hub.
        *args : tuple
            As for the host's class.
        **kwargs : dict
            As for the host's class.

        Returns
        -------
        dict
            Path of each file, by name.

        Raises
        ------
        FileNotFoundError
            If a file is missing in a local folder.
        """
        folder = Path(str(default_source))
        self.paths.update(
            (name, f"{default_source}/{file_name}")
            for name, file_name in self.file_names.items()
        )
        if folder.is_dir():
            self.set_collect_in(None)
            for file_name in self.file_names.values():
                if not (folder / file_name).is_file():
                    raise FileNotFoundError(
                        f"source: got {str(folder)!r}, which holds no "
                        f"{file_name}; the model is not complete"
                    )
        return super().collect_files(default_source, *args, **kwargs)


def _load(loadable, path):
    """Loads a module or a tokenizer, or says what is wrong with the file."""
    if not isinstance(loadable, torch.nn.Module):
        load_tokenizer(loadable, path)
        return
    weights = load_weights(path)
    try:
        loadable.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"source: got a damaged {Path(path).name}, or one of another "
            f"model: {reason(error)}"
        ) from error


def write_streaming_folder(
    folder, model, tokenizer, endpointer=None, word_offsets=None, search=None
):
    """Writes a model so that ``StreamingASR.from_hparams`` loads it.

    The folder is complete or not there at all: it is written beside its place,
    loaded and compared with the model, and then moved.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where to write. What an earlier call wrote there is replaced.
    model : StreamingCTC
        The model. Its head is a ``torch.nn.Linear`` or the host's ``Linear``.
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        Its labels, with the blank at 0.
    endpointer : Endpointer, optional
        Where segments close, if a session does not say. By default nowhere.
    word_offsets : WordOffsets, optional
        Where words begin and end, relative to the frames of their labels. By
        default they are those frames.
    search : BeamSearchOptions, optional
        How text is found; the file of its language model is copied. Greedy by
        default.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    TypeError
        If model, head, encoder, tokenizer or an option is of another kind.
    FileNotFoundError
        If there is no such language model.
    ValueError
        If the tokenizer does not fit the head, the written model does not
        give what the model gives, or the search could not be loaded without
        trust.
    FileExistsError
        If there is something else at the place.
    """
    folder = check_replaceable(folder, HPARAMS_FILE)
    check_type("model", model, StreamingCTC)
    if endpointer is not None:
        check_type("endpointer", endpointer, Endpointer)
    if word_offsets is not None:
        check_type("word_offsets", word_offsets, WordOffsets)
    content = _hparams(model, tokenizer, endpointer, word_offsets)
    if search is not None:
        check_type("search", search, BeamSearchOptions)
        if search.language_model is not None:
            check_exists(search.language_model)
        content += _search(search)
        check_hyperparameters(content)
    with written_atomically(folder) as new:
        new.mkdir()
        (new / HPARAMS_FILE).write_text(content, encoding="utf-8")
        for name in ("extractor", "encoder_wrapper", "head"):
            weights = getattr(model, name).state_dict()
            torch.save(
                {key: value.cpu() for key, value in weights.items()},
                new / f"{name}.ckpt",
            )
        _save_tokenizer(tokenizer, new)
        if search is not None and search.language_model is not None:
            shutil.copy(search.language_model, new)
        _check_same(model, new)
    return folder


def _hparams(model, tokenizer, endpointer, word_offsets):
    """The hyperparameter file, from what the parts of the model say."""
    extractor, wrapper = model.extractor, model.encoder_wrapper
    head_class, head = _head(model.head)
    labels = len(pieces(tokenizer))
    if labels != model.labels:
        raise ValueError(
            f"tokenizer: got {labels} labels, allowed is {model.labels}, as "
            "the head has outputs"
        )
    return TEMPLATE.format(
        **_encoder_parts(extractor, wrapper),
        options=_options(endpointer, word_offsets),
        head_class=head_class,
        head=head,
        tokenizer_class=_class_name(_tokenizer_class(tokenizer)),
        tokenizer_file=_tokenizer_file(tokenizer),
    )


def _search(search):
    arguments = dict(search.arguments)
    if search.language_model is not None:
        arguments["language_model"] = search.language_model.name
    arguments = _arguments(**arguments) or "    {}\n"
    return f"\nsearch: !new:{_class_name(BeamSearchOptions)}\n{arguments}"


def write_encoder_hparams(folder, extractor, encoder_wrapper):
    """Writes the hyperparameter file of a pre-trained encoder, beside its
    weights ``latent_extractor.ckpt`` and ``latent_encoder.ckpt``, so that
    ``StreamingEncoder.from_hparams`` loads the folder.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder of the weights.
    extractor : StreamingLatentExtractor
        The front end.
    encoder_wrapper : StreamingEncoderWrapper
        The encoder.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    TypeError
        If the encoder is of another kind.
    """
    path = Path(folder, HPARAMS_FILE)
    parts = _encoder_parts(extractor, encoder_wrapper)
    path.write_text(PRETRAINED_TEMPLATE.format(**parts), encoding="utf-8")
    return path


def _encoder_parts(extractor, wrapper):
    """What the part of the hyperparameter files says that all models have."""
    projector = wrapper.input_projector
    return {
        "sample_rate": SAMPLE_RATE,
        "extractor": _arguments(
            out_channels=extractor.out_channels,
            kernel_sizes=list(extractor.kernel_sizes),
            strides=list(extractor.strides),
        ),
        "encoder": _encoder(wrapper.latent_encoder),
        "encoder_wrapper": _arguments(
            in_dim=projector.in_features, embedding_dim=projector.out_features
        ).rstrip(),
    }


def _encoder(encoder):
    if not isinstance(encoder, StreamingTransformerEncoder):
        raise TypeError(
            f"model: got an encoder of {type(encoder).__name__}, allowed is "
            "StreamingTransformerEncoder"
        )
    layer = encoder.layers[0]
    first, activation, *_ = layer.pos_ffn.ffn
    arguments = _arguments(
        num_layers=len(encoder.layers),
        nhead=layer.self_att.nhead,
        d_ffn=first.out_features,
        d_model=encoder.d_model,
        attention=encoder.attention,
        look_back=encoder.geometry.look_back,
        look_ahead=_one_or_list(encoder.geometries.look_ahead),
        hop=_one_or_list(encoder.geometries.hop),
        positional_encoding=encoder.positional_encoding,
        normalize_before=layer.normalize_before,
    )
    return f"{arguments}    activation: !name:{_class_name(type(activation))}\n"


def _one_or_list(values):
    """The one value of a tuple, or several as a list."""
    return values[0] if len(values) == 1 else list(values)


def _head(head):
    """Class and arguments of the head."""
    if isinstance(head, Linear):
        inner, names = head.w, ("input_size", "n_neurons")
    elif isinstance(head, torch.nn.Linear):
        inner, names = head, ("in_features", "out_features")
    else:
        raise TypeError(
            f"model: got a head of {type(head).__name__}, allowed is "
            "torch.nn.Linear or speechbrain.nnet.linear.Linear"
        )
    sizes = inner.in_features, inner.out_features
    arguments = dict(zip(names, sizes, strict=True))
    arguments["bias"] = inner.bias is not None
    return _class_name(type(head)), _arguments(**arguments)


def _arguments(**arguments):
    return "".join(
        f"    {name}: {json.dumps(value)}\n"
        for name, value in arguments.items()
    )


def _options(endpointer, word_offsets):
    """The entries of what a session does with log-probabilities."""
    entries = []
    if endpointer is not None:
        entries.append(
            f"endpointer: !new:{_class_name(Endpointer)}\n"
            + _arguments(**endpointer.to_dict())
        )
    if word_offsets is not None:
        entries.append(
            f"word_offsets: !new:{_class_name(WordOffsets)}\n"
            + _arguments(**asdict(word_offsets))
        )
    return "".join(f"\n{entry}" for entry in entries)


def _class_name(kind):
    module = kind.__module__
    if module.startswith("speechbrain_llsa."):
        module = "speechbrain_llsa.hparams"
    return f"{module}.{kind.__qualname__}"


def _tokenizer_class(tokenizer):
    if isinstance(tokenizer, SentencePieceProcessor):
        return SentencePieceProcessor
    return CTCTextEncoder


def _tokenizer_file(tokenizer):
    if isinstance(tokenizer, SentencePieceProcessor):
        return "tokenizer.model"
    return "label_encoder.txt"


def _save_tokenizer(tokenizer, folder):
    path = folder / _tokenizer_file(tokenizer)
    if isinstance(tokenizer, SentencePieceProcessor):
        path.write_bytes(tokenizer.serialized_model_proto())
    else:
        tokenizer.save(path)


@torch.no_grad()
@full_float32()
def _check_same(model, folder):
    """Loads what was written, and compares what it gives for noise."""
    written = load_model(
        folder, HPARAMS_FILE, True, lambda hparams: hparams["model"].eval()
    )
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(
        1, SAMPLE_RATE, generator=generator, dtype=torch.float32, device="cpu"
    )
    noise /= 10
    # as it is loaded: few bits of a type, or a GPU's TF32, would round more
    # than a small mistake changes
    expected, _ = copy.deepcopy(model).cpu().float().eval()(noise)
    given, _ = written.float()(noise)
    if not torch.allclose(given, expected, atol=1e-3):
        error = (given - expected).abs().max().item()
        raise ValueError(
            f"model: got one that its arguments do not describe: written and "
            f"loaded, its log-probabilities differ by up to {error:.3g}"
        )
