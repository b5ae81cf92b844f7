"""A transducer: front end, encoder and head, offline and streaming, with a
stateless predictor and a joiner.

Up to the head it is what a CTC model is, and streams as one does. The head maps
frames of the encoder to the joiner's features; what labels they mean depends on
those before, which the search of a stream knows
(:mod:`speechbrain_llsa_runtime.decoders.transducer`).
"""

import math

import torch
from speechbrain.nnet.transducer.transducer_joint import Transducer_joint

from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa_runtime.decoders.transducer import (
    BLANK,
    MAX_SYMBOLS,
    TransducerGreedySearch,
    TransducerWeights,
)
from speechbrain_llsa_runtime.model_folder.description import (
    MOST_CONTEXT_SIZE,
    MOST_LABELS,
    MOST_SYMBOLS,
)
from speechbrain_llsa_runtime.utils.checks import check_integer, check_type
from speechbrain_llsa_runtime.utils.errors import must_be


class TransducerDecoder(torch.nn.Module):
    """A stateless predictor, which sees the last few labels, and a joiner.

    A predictor that remembers all labels gains little (Ghodsi et al.,
    "RNN-transducer with stateless prediction network", ICASSP 2020), and with
    this one hypotheses that end alike are the same from there on.

    Arguments
    ---------
    labels : int
        Labels, with the blank at 0.
    features : int
        Features of a projected frame.
    embedding_dim : int, optional
        Features of a label's embedding; as many as of a frame by default.
    context_size : int
        Labels that the predictor sees, at most 16.
    max_symbols : int
        Labels that a frame may yield in a search, at most 100.

    Raises
    ------
    TypeError
        If an argument is not an integer.
    ValueError
        If one is out of range.

    Example
    -------
    >>> decoder = TransducerDecoder(labels=29, features=16)
    >>> frames, targets = torch.randn(2, 50, 16), torch.randint(1, 29, (2, 9))
    >>> decoder(frames, targets).shape
    torch.Size([2, 50, 10, 29])
    """

    def __init__(
        self,
        labels,
        features,
        embedding_dim=None,
        context_size=2,
        max_symbols=MAX_SYMBOLS,
    ):
        super().__init__()
        embedding_dim = features if embedding_dim is None else embedding_dim
        # what a model folder can hold
        for name, value, least, most in (
            ("labels", labels, 2, MOST_LABELS),
            ("features", features, 1, math.inf),
            ("embedding_dim", embedding_dim, 1, math.inf),
            ("context_size", context_size, 1, MOST_CONTEXT_SIZE),
            ("max_symbols", max_symbols, 1, MOST_SYMBOLS),
        ):
            check_integer(name, value, least, most)
        self.context_size = context_size
        self.max_symbols = max_symbols
        self.embedding = torch.nn.Embedding(labels, embedding_dim)
        self.convolution = torch.nn.Conv1d(
            embedding_dim,
            embedding_dim,
            context_size,
            groups=embedding_dim,
            bias=False,
        )
        self.projection = torch.nn.Linear(embedding_dim, features)
        self.join = Transducer_joint(joint="sum", nonlinearity=torch.nn.Tanh)
        self.output = torch.nn.Linear(features, labels)

    @property
    def labels(self):
        """Number of labels, with the blank."""
        return self.embedding.num_embeddings

    @property
    def features(self):
        """Features of a projected frame."""
        return self.output.in_features

    def predict(self, targets):
        """Runs the predictor on whole utterances.

        Arguments
        ---------
        targets : torch.Tensor
            Labels without blanks, int64 (batch, targets).

        Returns
        -------
        torch.Tensor
            What it predicts before the first label and after each,
            (batch, targets + 1, features).
        """
        blanks = targets.new_full((len(targets), self.context_size), BLANK)
        embedded = self.embedding(torch.cat([blanks, targets], dim=1))
        mixed = self.convolution(embedded.transpose(1, 2)).transpose(1, 2)
        return self.projection(mixed.relu())

    def forward(self, frames, targets):
        """Runs predictor and joiner for all pairs of frame and label.

        Arguments
        ---------
        frames : torch.Tensor
            Projected frames, (batch, frames, features).
        targets : torch.Tensor
            Labels without blanks, int64 (batch, targets).

        Returns
        -------
        torch.Tensor
            Logits of what follows, (batch, frames, targets + 1, labels).
        """
        predicted = self.predict(targets)
        return self.output(self.join(frames[:, :, None], predicted[:, None]))

    def weights(self):
        """Its weights as arrays, for a search.

        Returns
        -------
        TransducerWeights
            In double precision for a model of that, otherwise in single.
        """
        kind = torch.promote_types(self.output.weight.dtype, torch.float32)
        return TransducerWeights.from_tensors(
            {
                name: tensor.detach().to("cpu", kind).numpy()
                for name, tensor in self.state_dict().items()
            }
        )


class StreamingTransducer(StreamingCTC):
    """Maps waveforms to the frames that a joiner takes, whole or streaming, as
    :class:`~speechbrain_llsa.lobes.ctc.StreamingCTC` maps them to
    log-probabilities of labels.

    Arguments
    ---------
    extractor : StreamingLatentExtractor
        The front end: waveforms to latent frames.
    encoder_wrapper : StreamingEncoderWrapper
        The encoder: latent frames to embeddings.
    head : torch.nn.Module
        A linear layer from embeddings to the features of the decoder.
    decoder : TransducerDecoder
        Predictor and joiner.

    Raises
    ------
    TypeError
        If one of them is not a module.
    ValueError
        If the head gives other features than the decoder takes.

    Example
    -------
    >>> model, _ = getfixture("tiny_transducer")
    >>> frames, lengths = model(torch.randn(2, 16000))
    >>> frames.shape[2] == model.decoder.features
    True
    >>> search = model.greedy_search()
    >>> state = search.make_streaming_context()
    >>> tokens = search.advance(frames[0], state, final=True)
    >>> all(0 < token.label < model.labels for token in tokens)
    True
    """

    gives_labels = False

    def __init__(self, extractor, encoder_wrapper, head, decoder):
        super().__init__(extractor, encoder_wrapper, head)
        check_type("decoder", decoder, TransducerDecoder)
        self.decoder = decoder
        if self.output_features != decoder.features:
            raise ValueError(
                must_be(
                    "head",
                    f"one of {decoder.features} features, as the decoder takes",
                    f"one of {self.output_features}",
                )
            )

    @property
    def labels(self):
        """Number of labels, including the blank."""
        return self.decoder.labels

    def greedy_search(self):
        """Makes the search that sessions use by default.

        Returns
        -------
        TransducerGreedySearch
        """
        return TransducerGreedySearch(
            self.decoder.weights(), self.decoder.max_symbols
        )

    def forward(
        self,
        wavs,
        wav_lens=None,
        masker=None,
        geometry=None,
        with_embeddings=False,
        targets=None,
    ):
        """Encodes whole utterances, and joins them with targets.

        Arguments
        ---------
        wavs : torch.Tensor
            As for ``StreamingCTC``, and so are the next four.
        wav_lens : torch.Tensor, optional
            See there.
        masker : SpanMasker, optional
            See there.
        geometry : StreamGeometry, optional
            See there.
        with_embeddings : bool
            See there.
        targets : torch.Tensor, optional
            Labels without blanks, padded, int64 (batch, targets).

        Returns
        -------
        torch.Tensor
            Frames for the joiner, (batch, frames, features).
        torch.Tensor
            Frames of each row, int64 (batch,).
        torch.Tensor
            With ``with_embeddings`` alone: (batch, frames, features).
        torch.Tensor
            With ``targets`` alone: the joiner's logits, (batch, frames,
            targets + 1, labels).
        """
        outputs = super().forward(
            wavs, wav_lens, masker, geometry, with_embeddings
        )
        if targets is None:
            return outputs
        return *outputs, self.decoder(outputs[0], targets)

    def classify(self, embeddings):
        """Applies the head.

        Arguments
        ---------
        embeddings : torch.Tensor
            Frames of the encoder, (batch, frames, features).

        Returns
        -------
        torch.Tensor
            Frames for the joiner, (batch, frames, features): float32, or
            float64 for a float64 model.
        """
        frames = self.head(embeddings)
        return frames.to(torch.promote_types(frames.dtype, torch.float32))
