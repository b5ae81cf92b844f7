"""What an importer returns: parts of a model, and what differs from the
source."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from torch import nn

from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.model_folder.parts import build_parts, describe_encoder
from speechbrain_llsa.nnet.frontend import StreamingFrontEnd
from speechbrain_llsa_runtime.geometry import check_attention
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

_POSITIONS = "latent_encoder.positions.conv.weight"


@dataclass
class ImportedModel:
    """A model that was trained elsewhere, in evaluation mode.

    Example
    -------
    >>> from speechbrain_llsa.pretrained import from_torchaudio
    >>> source = getfixture("tiny_wav2vec2")
    >>> model = from_torchaudio(source).streaming(look_back=32, look_ahead=4)
    >>> encoder = model.encoder_wrapper.latent_encoder
    >>> encoder.attention, encoder.geometry.look_ahead
    ('llsa', 4)
    >>> encoder.positions.look_back, encoder.positions.look_ahead
    (4, 0)
    >>> model.notes[-1]
    'the positional convolution sees 0 of its 3 frames ahead'
    """

    extractor: StreamingFrontEnd
    """The front end."""

    encoder_wrapper: StreamingEncoderWrapper
    """The encoder, a ``StreamingTransformerEncoder``, behind its projection."""

    head: nn.Linear | None = None
    """From embeddings to a logit for each label; ``None`` without labels."""

    labels: list[str] | None = None
    """The labels, with the blank first, where the source names them."""

    notes: list[str] = field(default_factory=list)
    """What was left out of the source, or differs from it."""

    normalizes_waveforms: bool = False
    """Whether the source takes waveforms of zero mean and unit variance."""

    def streaming(
        self,
        attention="llsa",
        look_back=64,
        look_ahead=8,
        hop=8,
        positional_look_ahead=0,
    ):
        """Makes a model with the same weights and another attention.

        Its results differ from those of the source, which sees whole
        utterances, so that it needs fine-tuning. Norms over time of the front
        end stay: :func:`speechbrain_llsa.pretrained.calibrate` replaces them.

        Arguments
        ---------
        attention : str
            aa, maa, sa or llsa.
        look_back : int
            Frames that a layer sees behind a frame.
        look_ahead : int or list of int
            Frames that a layer sees ahead, as for the encoder.
        hop : int or list of int
            Frames that llsa commits at once, as for the encoder.
        positional_look_ahead : int
            Frames that the positional convolution goes on to see ahead; its
            taps further ahead are left out.

        Returns
        -------
        ImportedModel
            The new model, which shares nothing with this one.

        Raises
        ------
        TypeError
            If a size is not an integer.
        ValueError
            If a size is out of range, there is no such attention, or the
            positional convolution does not see that far.
        """
        check_attention(attention)
        check_integer("positional_look_ahead", positional_look_ahead, 0)
        old = self.encoder_wrapper.latent_encoder
        ahead = old.positional_look_ahead
        if positional_look_ahead > ahead:
            raise ValueError(
                must_be(
                    "positional_look_ahead",
                    f"at most {ahead}, the frames that the source sees ahead",
                    positional_look_ahead,
                )
            )
        sections = describe_encoder(self.extractor, self.encoder_wrapper)
        sections["encoder"].update(
            attention=attention,
            look_back=look_back,
            look_ahead=look_ahead,
            hop=hop,
        )
        weights = self.encoder_wrapper.state_dict()
        notes = [f"attention {attention} in place of {old.attention}"]
        if old.positions is not None:
            sections["encoder"]["positional_look_ahead"] = positional_look_ahead
            taps = old.positions.look_back + 1 + positional_look_ahead
            weights[_POSITIONS] = weights[_POSITIONS][..., :taps]
        if positional_look_ahead < ahead:
            notes.append(
                f"the positional convolution sees {positional_look_ahead} of "
                f"its {ahead} frames ahead"
            )
        wrapper = build_parts(sections, ("encoder", "encoder_wrapper"))[
            "encoder_wrapper"
        ]
        wrapper.to(old.layers[0].norm1.norm.weight)
        wrapper.load_state_dict(weights)
        return ImportedModel(
            copy.deepcopy(self.extractor),
            wrapper.eval(),
            copy.deepcopy(self.head),
            copy.copy(self.labels),
            [*self.notes, *notes],
            self.normalizes_waveforms,
        )
