"""Samples that wait for a step."""

from collections import deque

import torch


class SampleQueue:
    """The samples of one stream that have not been taken yet.

    Arguments
    ---------
    leading_samples : int
        Samples of silence before the first push.

    Example
    -------
    >>> queue = SampleQueue(1)
    >>> queue.push(torch.tensor([1.0, 2.0]))
    >>> queue.push(torch.tensor([3.0]))
    >>> queue.received, queue.waiting
    (3, 4)
    >>> queue.peek(3)
    tensor([0., 1., 2.])
    >>> queue.drop(3)
    >>> queue.peek(3)
    tensor([3., 0., 0.])
    """

    def __init__(self, leading_samples=0):
        self.received = 0
        self.waiting = leading_samples
        self._pieces = deque([torch.zeros(leading_samples)])

    def push(self, samples):
        """Takes the next samples, and keeps a copy of them.

        Arguments
        ---------
        samples : torch.Tensor
            float32 (samples,), any number of them.
        """
        if samples.shape[0]:
            self._pieces.append(samples.clone())
        self.received += samples.shape[0]
        self.waiting += samples.shape[0]

    def peek(self, count):
        """The first samples, which stay.

        Arguments
        ---------
        count : int
            How many.

        Returns
        -------
        torch.Tensor
            float32 (count,), with silence at the end where fewer wait.
        """
        taken, found = [], 0
        for piece in self._pieces:
            if found >= count:
                break
            taken.append(piece[: count - found])
            found += taken[-1].shape[0]
        return torch.cat([*taken, torch.zeros(count - found)])

    def drop(self, count):
        """Forgets the first samples.

        Arguments
        ---------
        count : int
            How many; all of them where fewer wait.
        """
        count = min(count, self.waiting)
        self.waiting -= count
        while self._pieces and count >= self._pieces[0].shape[0]:
            count -= self._pieces.popleft().shape[0]
        if count:
            self._pieces[0] = self._pieces[0][count:]
