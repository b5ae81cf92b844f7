"""The hop of each batch, in the form of SpeechBrain's dynamic chunks."""

import torch
from speechbrain.core import Stage
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa_runtime.geometry import TrainedGeometries


class HopSampler:
    """Draws one of an encoder's hops for each batch of a training, as
    SpeechBrain's ``DynChunkTrainConfigRandomSampler`` draws a chunk: the
    ``dynchunktrain_config_sampler`` of a recipe with ``streaming: True``.

    Arguments
    ---------
    hop : int or list of int
        The hops that the encoder is trained for. The first is that of
        validation and test.

    Raises
    ------
    TypeError
        If a hop is not an integer.
    ValueError
        If a hop is less than 1, or there is none.

    Example
    -------
    >>> sampler = HopSampler([8, 1])
    >>> sampler(Stage.VALID).chunk_size
    8
    >>> {sampler(Stage.TRAIN).chunk_size for _ in range(50)} == {1, 8}
    True
    """

    def __init__(self, hop):
        self.hops = TrainedGeometries(0, 0, hop).hop

    def __call__(self, stage):
        """
        Arguments
        ---------
        stage : speechbrain.Stage
            The stage of the batch.

        Returns
        -------
        speechbrain.utils.dynamic_chunk_training.DynChunkTrainConfig
            Its ``chunk_size`` is a hop, drawn by PyTorch's generator in
            training.
        """
        index = 0
        if stage == Stage.TRAIN:
            index = int(torch.randint(len(self.hops), ()))
        return DynChunkTrainConfig(chunk_size=self.hops[index])
