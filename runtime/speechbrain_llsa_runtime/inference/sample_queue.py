"""Samples that wait for a step."""

from collections import deque

import numpy as np


class SampleQueue:
    """The samples of one stream that have not been taken yet.

    Arguments
    ---------
    leading_samples : int
        Samples of silence before the first push.

    Example
    -------
    >>> queue = SampleQueue(1)
    >>> queue.push(np.array([1.0, 2.0], np.float32))
    >>> queue.push(np.array([3.0], np.float32))
    >>> queue.received, queue.waiting
    (3, 4)
    >>> queue.peek(3)
    array([0., 1., 2.], dtype=float32)
    >>> queue.drop(3)
    >>> queue.peek(3)
    array([3., 0., 0.], dtype=float32)
    """

    def __init__(self, leading_samples=0):
        self.received = 0
        self.waiting = leading_samples
        self._pieces = deque([np.zeros(leading_samples, np.float32)])

    @classmethod
    def resumed(cls, samples, received):
        """A queue that goes on where another one stood.

        Arguments
        ---------
        samples : numpy.ndarray
            What waited there, float32 (samples,).
        received : int
            Samples pushed there.

        Returns
        -------
        SampleQueue
        """
        queue = cls()
        queue.push(samples)
        queue.received = received
        return queue

    def push(self, samples):
        """Takes the next samples, and keeps a copy of them.

        Arguments
        ---------
        samples : numpy.ndarray
            float32 (samples,), any number of them.
        """
        if samples.shape[0]:
            self._pieces.append(samples.copy())
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
        numpy.ndarray
            float32 (count,), with silence at the end where fewer wait.
        """
        taken, found = [], 0
        for piece in self._pieces:
            if found >= count:
                break
            taken.append(piece[: count - found])
            found += taken[-1].shape[0]
        silence = np.zeros(count - found, np.float32)
        return np.concatenate([*taken, silence])

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
