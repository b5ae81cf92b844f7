"""Builds the encoder of a model folder for fine-tuning, with any attention, and
with convolutions where the folder has none."""

from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.model_folder.load import read_pretrained
from speechbrain_llsa.model_folder.parts import build_parts, encoder_arguments
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa_runtime.model_folder.description import SECTIONS
from speechbrain_llsa_runtime.utils.errors import must_be


def build_for_finetuning(
    folder,
    attention="llsa",
    look_back=64,
    look_ahead=8,
    hop=1,
    dropout=0.0,
    attention_dropout=None,
    layerdrop_prob=0.0,
    gradient_checkpointing=False,
    conv_look_back=0,
    conv_look_ahead=0,
):
    """Builds front end and encoder as a folder describes them, with another
    attention. For YAML files: sizes stand in the folder alone. The weights are
    random; the recipe loads those of the folder.

    A transformer can become a Conformer without macaron: each layer gets a
    convolution module whose last layer is zero, so that training starts from
    what the folder's model computes.

    Arguments
    ---------
    folder : str or pathlib.Path
        A model folder of either kind.
    attention : str
        One of aa, maa, sa and llsa.
    look_back : int
        Frames that a layer sees behind a frame (llsa: behind its hop).
    look_ahead : int or list of int
        Frames that a layer sees ahead of a frame (llsa: ahead of its hop).
    hop : int or list of int
        Frames that llsa commits at once.
    dropout : float
        Dropout probability, also at the encoder's input.
    attention_dropout : float, optional
        Probability to drop an attention weight; as ``dropout`` if not given.
    layerdrop_prob : float
        Probability to skip a layer in training.
    gradient_checkpointing : bool
        Whether the backward pass computes each layer again.
    conv_look_back : int
        Frames that a new convolution in each layer sees behind a frame.
    conv_look_ahead : int
        Frames that it sees ahead. 0 for both: none is new.

    Returns
    -------
    dict
        ``extractor``, ``encoder`` and ``encoder_wrapper``.

    Raises
    ------
    FileNotFoundError
        If the folder, or its ``model.json``, does not exist.
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range, that file is damaged, or there are to be
        new convolutions where a folder has some or where its norms come after
        the parts of a layer.

    Example
    -------
    >>> from speechbrain_llsa.model_folder.write import write_encoder_folder
    >>> model, _ = getfixture("tiny_ctc")
    >>> folder = write_encoder_folder(
    ...     getfixture("tmp_path") / "pretrained",
    ...     model.extractor,
    ...     model.encoder_wrapper,
    ... )
    >>> parts = build_for_finetuning(folder, attention="sa", look_ahead=2)
    >>> parts["encoder"].attention, parts["encoder"].geometry.look_ahead
    ('sa', 2)
    """
    _, description = read_pretrained(folder)
    section = {
        **description["encoder"],
        "attention": attention,
        "look_back": look_back,
        "look_ahead": look_ahead,
        "hop": hop,
    }
    is_new = bool(conv_look_back or conv_look_ahead)
    if is_new:
        if section.get("encoder_module") == "conformer":
            raise ValueError(
                must_be(
                    "conv_look_back and conv_look_ahead",
                    "0 where the folder's layers have convolutions",
                    f"{conv_look_back} and {conv_look_ahead}",
                )
            )
        section |= {
            "encoder_module": "conformer",
            "macaron": False,
            "conv_look_back": conv_look_back,
            "conv_look_ahead": conv_look_ahead,
        }
    SECTIONS["encoder"]("encoder", section)
    encoder = StreamingTransformerEncoder(
        **encoder_arguments(section),
        dropout=dropout,
        attention_dropout=attention_dropout,
        layerdrop_prob=layerdrop_prob,
        gradient_checkpointing=gradient_checkpointing,
    )
    if is_new:
        for layer in encoder.layers:
            layer.convolution.begin_as_nothing()
    wrapper = StreamingEncoderWrapper(
        description["encoder_wrapper"]["in_dim"],
        encoder.d_model,
        encoder,
        dropout_encoder_input=dropout,
    )
    extractor = build_parts(description, ("extractor",))["extractor"]
    return {
        "extractor": extractor,
        "encoder": encoder,
        "encoder_wrapper": wrapper,
    }
