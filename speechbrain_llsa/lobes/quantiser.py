"""The vector quantiser of wav2vec 2.0, for training on several ranks."""

import torch
from speechbrain.nnet.quantisers import GumbelVectorQuantizer

from speechbrain_llsa.utils.distributed import rank_count, sum_over_ranks


class JointVectorQuantizer(GumbelVectorQuantizer):
    """SpeechBrain's ``GumbelVectorQuantizer`` whose diversity loss is that of
    the joined batch of all ranks.

    The perplexity of the mean probabilities is not the mean of the perplexities
    of the ranks. So ranks share the mean in training, and the gradient,
    averaged over ranks by ``DistributedDataParallel``, is that of one process
    on the joined batch. On a single rank, and in evaluation, there is no
    difference. A rank may have no frames at all.

    Arguments and state_dict are those of SpeechBrain's class. Intended for the
    argument ``quantiser`` of SpeechBrain's ``W2VTargetQuantiser``.

    Example
    -------
    >>> quantiser = JointVectorQuantizer(16, 10, (2.0, 0.25, 0.999), 2, 8)
    >>> output = quantiser(torch.rand(2, 12, 16))
    >>> output["x"].shape
    torch.Size([2, 12, 8])
    """

    def forward(self, x):
        """Quantises frames.

        Arguments
        ---------
        x : torch.Tensor
            Latent frames, (batch, frames, features).

        Returns
        -------
        dict
            As from SpeechBrain's class: ``x``, the quantised frames, (batch,
            frames, vq_dim); ``prob_perplex``, here of the joined batch;
            ``code_perplexity``, ``temp`` and ``num_vars``.
        """
        if x.shape[1]:
            result = super().forward(x)
        else:
            # SpeechBrain's class needs a frame
            result = super().forward(x.new_zeros(len(x), 1, x.shape[2]))
            result["x"] = result["x"][:, :0]
        if self.training and rank_count() > 1:
            result["prob_perplex"] = self._joint_perplexity(x)
        return result

    def _joint_perplexity(self, x):
        logits = self.weight_proj(x.reshape(-1, x.shape[-1])).float()
        # (frames of all rows, groups, num_vars) -> (groups, num_vars)
        own = torch.softmax(
            logits.view(len(logits), self.groups, self.num_vars), dim=-1
        ).sum(dim=0)
        frames = sum_over_ranks(own.new_tensor(float(len(logits))))
        # the gradients of all ranks are averaged, and are to be added up
        graded = rank_count() * (own - own.detach())
        mean = (sum_over_ranks(own) + graded) / frames.clamp(min=1)
        entropy = -torch.sum(mean * torch.log(mean + 1e-7), dim=-1)
        return torch.exp(entropy).sum()
