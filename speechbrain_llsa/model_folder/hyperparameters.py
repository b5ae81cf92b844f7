"""``hyperparams.yaml`` of a model folder: generated from ``model.json``, for
SpeechBrain's own classes.

The classes of this package do not read it. SpeechBrain does, with HyperPyYAML,
which builds and calls anything that a file names.
"""

import json

import torch
from speechbrain.nnet.activations import Swish

from speechbrain_llsa.model_folder.parts import ACTIVATIONS, PARTS
from speechbrain_llsa_runtime.model_folder.description import (
    COMPLETE,
    MODEL_FILE,
)

_ENCODER = """\
sample_rate: {sample_rate}

extractor: !new:speechbrain_llsa.hparams.{extractor_class}
{extractor}
encoder: !new:speechbrain_llsa.hparams.StreamingTransformerEncoder
{encoder}    activation: !name:{activation}

encoder_wrapper: !new:speechbrain_llsa.hparams.StreamingEncoderWrapper
{encoder_wrapper}    latent_encoder: !ref <encoder>
"""

_PRETRAINER = """
pretrainer: !new:speechbrain_llsa.hparams.FolderPretrainer
    loadables:
{loadables}    file_names:
{file_names}"""

_ENCODER_FILE = (
    """\
# Generated from model.json, which describes this pre-trained encoder. Load the
# folder with
#   speechbrain_llsa.StreamingEncoder.from_hparams(FOLDER)
"""
    + _ENCODER
    + _PRETRAINER
)

_COMPLETE_FILE = (
    """\
# Generated from model.json, which describes this streaming {name}. Load the
# folder with
#   speechbrain_llsa.StreamingASR.from_hparams(source=FOLDER)
# or with SpeechBrain's own speechbrain.inference.ASR.StreamingASR.
"""
    + _ENCODER
    + """
head: !new:{head_class}
{head}
{model}
tokenizer: !new:{tokenizer_class}

# What SpeechBrain's StreamingASR asks for
fea_streaming_extractor: !new:speechbrain_llsa.hparams.ChunkFeatureExtractor
    extractor: !ref <extractor>

enc: !new:speechbrain_llsa.hparams.ChunkEncoder
    encoder_wrapper: !ref <encoder_wrapper>

proj_enc: !new:speechbrain_llsa.hparams.ChunkHead
    model: !ref <model>

{decoding}tokenizer_decode_streaming: !new:speechbrain_llsa.hparams.ChunkText
make_tokenizer_streaming_context: !name:speechbrain_llsa.hparams.TextState

modules:
    model: !ref <model>
    enc: !ref <enc>
    proj_enc: !ref <proj_enc>
"""
    + _PRETRAINER
)

_MODELS = {
    "ctc": """\
model: !new:speechbrain_llsa.hparams.StreamingCTC
    extractor: !ref <extractor>
    encoder_wrapper: !ref <encoder_wrapper>
    head: !ref <head>
""",
    "transducer": """\
decoder: !new:speechbrain_llsa.hparams.TransducerDecoder
{decoder}
model: !new:speechbrain_llsa.hparams.StreamingTransducer
    extractor: !ref <extractor>
    encoder_wrapper: !ref <encoder_wrapper>
    head: !ref <head>
    decoder: !ref <decoder>
""",
}
"""The model of each kind of folder."""

_DECODING = {
    "ctc": """\
decoding_function: !name:speechbrain_llsa.hparams.decode_chunk
make_decoder_streaming_context: !name:speechbrain_llsa.hparams.CTCGreedyState
""",
    "transducer": """\
decoding_function: !new:speechbrain_llsa.hparams.ChunkTransducer
    model: !ref <model>
make_decoder_streaming_context: !name:speechbrain_llsa.hparams.ChunkLabelState
""",
}
"""How SpeechBrain decodes it."""

_HEADS = {
    "linear": ("torch.nn.Linear", "in_features", "out_features"),
    "speechbrain_linear": (
        "speechbrain.nnet.linear.Linear",
        "input_size",
        "n_neurons",
    ),
}
"""Class of each kind of head, and its names for the sizes."""

_TOKENIZERS = {
    "characters": "speechbrain.dataio.encoder.CTCTextEncoder",
    "sentencepiece": "sentencepiece.SentencePieceProcessor",
}


def hyperparameters_of(description):
    """Generates the content of ``hyperparams.yaml``.

    Arguments
    ---------
    description : dict
        The checked content of ``model.json``, of any kind but "onnx".

    Returns
    -------
    str
        The content, identical for identical descriptions.
    """
    extractor = description["extractor"]
    encoder = dict(description["encoder"])
    files = {
        name: entry["file"] for name, entry in description["weights"].items()
    }
    front_end = PARTS["extractor"][extractor["kind"]].module
    values = {
        "sample_rate": description["sample_rate"],
        "extractor_class": front_end.__name__,
        "extractor": _arguments(extractor),
        "activation": _class_name(ACTIVATIONS[encoder.pop("activation")]),
        "encoder": _arguments(encoder),
        "encoder_wrapper": _arguments(description["encoder_wrapper"]),
    }
    template = _ENCODER_FILE
    kind = description["kind"]
    if kind in COMPLETE:
        template = _COMPLETE_FILE
        values["name"] = "CTC model" if kind == "ctc" else kind
        values["decoding"] = _DECODING[kind]
        decoder = description.get("decoder", {})
        values["model"] = _MODELS[kind].format(decoder=_arguments(decoder))
        head, tokenizer = description["head"], description["tokenizer"]
        head_class, inputs, outputs = _HEADS[head["kind"]]
        values["head_class"] = head_class
        values["head"] = _arguments(
            {
                inputs: head["in_features"],
                outputs: head["out_features"],
                "bias": head["bias"],
            }
        )
        values["tokenizer_class"] = _TOKENIZERS[tokenizer["kind"]]
        # characters stand in model.json itself
        files["tokenizer"] = tokenizer.get("file", MODEL_FILE)
    return template.format(
        **values,
        loadables=_lines((name, f"!ref <{name}>") for name in files),
        file_names=_lines(files.items()),
    )


def _arguments(section):
    return "".join(
        f"    {name}: {json.dumps(value)}\n"
        for name, value in section.items()
        if name != "kind"
    )


def _lines(pairs):
    return "".join(f"        {name}: {value}\n" for name, value in pairs)


def _class_name(activation):
    if activation is Swish:
        return "speechbrain.nnet.activations.Swish"
    return f"{torch.nn.__name__}.{activation.__name__}"
