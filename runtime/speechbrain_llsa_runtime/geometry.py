"""The integers of a streaming attention: look-back, look-ahead and hop.

Needs only the standard library, so that the torch-free runtime can use it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

from speechbrain_llsa_runtime.utils.checks import (
    check_integer,
    check_type,
)
from speechbrain_llsa_runtime.utils.errors import must_be

ATTENTIONS = ("aa", "maa", "sa", "llsa")
"""Acausal, masked acausal, streaming and low-latency streaming attention."""

ENCODER_MODULES = ("transformer", "conformer")
"""What the layers of an encoder may be."""

SAMPLE_RATE = 16000
"""Samples per second of the waveforms that the front end takes."""

FRAME_SECONDS = 0.02
"""Seconds from one encoder frame to the next: 320 samples at 16 kHz."""


def check_attention(attention: str) -> str:
    """Raises an error unless ``attention`` names one of the four kinds.

    Arguments
    ---------
    attention : str
        The name to check.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ValueError
        If there is no such attention.

    Example
    -------
    >>> check_attention("sa")
    'sa'
    """
    if attention not in ATTENTIONS:
        raise ValueError(
            must_be(
                "attention", f"one of {', '.join(ATTENTIONS)}", repr(attention)
            )
        )
    return attention


@dataclass(frozen=True)
class StreamGeometry:
    """How far an attention layer sees, and how many frames it commits at once.

    Arguments
    ---------
    look_back : int
        Frames that a query sees behind it (llsa: behind its hop).
    look_ahead : int
        Frames that a query sees ahead of it (llsa: ahead of its hop).
    hop : int
        Frames that are committed together. Only llsa uses it; a hop larger
        than 1 trades at most ``hop - 1`` frames of latency for less work.

    Raises
    ------
    TypeError
        If one of them is not an integer.
    ValueError
        If one of them is out of range.

    Example
    -------
    >>> geometry = StreamGeometry(look_back=64, look_ahead=8)
    >>> geometry.hop
    1
    >>> geometry.stack_look_ahead("llsa", 12), geometry.stack_look_ahead(
    ...     "sa", 12
    ... )
    (8, 96)
    """

    look_back: int
    look_ahead: int
    hop: int = 1

    def __post_init__(self) -> None:
        check_integer("look_back", self.look_back, 0)
        check_integer("look_ahead", self.look_ahead, 0)
        check_integer("hop", self.hop, 1)

    def stack_look_ahead(
        self, attention: str, num_layers: int, conv_look_ahead: int = 0
    ) -> int | None:
        """Frames that a stack of layers sees ahead of a frame that it commits,
        not counting the wait for the hop to fill.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.
        num_layers : int
            Layers of the stack.
        conv_look_ahead : int
            Frames that the convolution of a layer sees ahead. With llsa they
            lie within the hop.

        Returns
        -------
        int or None
            Frames; ``None`` where it is the rest of the utterance (aa).

        Example
        -------
        >>> StreamGeometry(64, 8).stack_look_ahead("maa", 12)
        96
        >>> StreamGeometry(64, 8).stack_look_ahead("sa", 12, 2)
        120
        """
        check_attention(attention)
        if attention == "aa":
            return None
        if attention == "llsa":
            return self.look_ahead if num_layers > 0 else 0
        return num_layers * (self.look_ahead + conv_look_ahead)

    def hop_wait(self, attention: str) -> int:
        """Frames that a frame waits, at most, for its hop to fill.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.

        Returns
        -------
        int
            Frames; 0 for all attentions but llsa.

        Example
        -------
        >>> StreamGeometry(64, 8, hop=4).hop_wait("llsa")
        3
        """
        return self.hop - 1 if check_attention(attention) == "llsa" else 0


@dataclass(frozen=True)
class TrainedGeometries:
    """The geometries that a model is trained for: every combination of its
    look-aheads and hops. Each call and each stream uses one of them.

    The first of each is the default.

    Arguments
    ---------
    look_back : int
        Frames that a query sees behind it (llsa: behind its hop).
    look_ahead : int or list of int
        Frames that a query sees ahead of it (llsa: ahead of its hop).
    hop : int or list of int
        Frames that llsa commits together.

    Raises
    ------
    TypeError
        If one of them is not an integer.
    ValueError
        If one of them is out of range or repeated, or a list is empty.

    Example
    -------
    >>> geometries = TrainedGeometries(64, look_ahead=[8, 0], hop=[8, 1, 4])
    >>> geometries.default
    StreamGeometry(look_back=64, look_ahead=8, hop=8)
    >>> geometries.choose(hop=1, look_ahead=0) in geometries
    True
    >>> geometries.choose(hop=2)
    Traceback (most recent call last):
    ...
    ValueError: hop must be one of 8, 1, 4, which the model is trained for, \
got 2
    """

    look_back: int
    look_ahead: tuple[int, ...]
    hop: tuple[int, ...] = (1,)

    if TYPE_CHECKING:

        def __init__(
            self,
            look_back: int,
            look_ahead: int | list[int] | tuple[int, ...],
            hop: int | list[int] | tuple[int, ...] = 1,
        ) -> None: ...

    def __post_init__(self) -> None:
        check_integer("look_back", self.look_back, 0)
        for name, minimum in (("look_ahead", 0), ("hop", 1)):
            values = _choices(name, getattr(self, name), minimum)
            object.__setattr__(self, name, values)

    @property
    def default(self) -> StreamGeometry:
        """The geometry of calls and streams that do not ask for one."""
        return self.choose()

    def choose(
        self, hop: int | None = None, look_ahead: int | None = None
    ) -> StreamGeometry:
        """Chooses one of the geometries.

        Arguments
        ---------
        hop : int, optional
            Frames that llsa commits together; the first by default.
        look_ahead : int, optional
            Frames that a query sees ahead; the first by default.

        Returns
        -------
        StreamGeometry

        Raises
        ------
        TypeError
            If a number is not an integer.
        ValueError
            If the model is not trained for it.
        """
        return StreamGeometry(
            self.look_back,
            self._chosen("look_ahead", look_ahead),
            self._chosen("hop", hop),
        )

    def check(self, geometry: StreamGeometry | None = None) -> StreamGeometry:
        """Rejects a geometry that the model is not trained for.

        Arguments
        ---------
        geometry : StreamGeometry, optional
            The geometry; the default if not given.

        Returns
        -------
        StreamGeometry

        Raises
        ------
        TypeError
            If it has the wrong type.
        ValueError
            If the model is not trained for it.

        Example
        -------
        >>> TrainedGeometries(64, 8).check(StreamGeometry(64, 8, hop=4))
        Traceback (most recent call last):
        ...
        ValueError: hop must be 1, which the model is trained for, got 4
        """
        if geometry is None:
            return self.default
        check_type("geometry", geometry, StreamGeometry)
        if geometry.look_back != self.look_back:
            raise ValueError(
                must_be(
                    "look_back",
                    f"{self.look_back}, which the model is trained for",
                    geometry.look_back,
                )
            )
        return self.choose(geometry.hop, geometry.look_ahead)

    def of_chunk(self, attention: str, chunk_size: int) -> StreamGeometry:
        """The geometry that SpeechBrain's ``chunk_size`` stands for: if llsa is
        trained for several hops, the chunk is the hop. Otherwise there is
        nothing to choose, and a chunk is just the amount of a push.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.
        chunk_size : int
            Frames of a chunk.

        Returns
        -------
        StreamGeometry

        Raises
        ------
        TypeError
            If it is not an integer.
        ValueError
            If the model is trained for several hops, and this is none of them.

        Example
        -------
        >>> TrainedGeometries(64, 8, hop=[8, 1]).of_chunk("llsa", 1).hop
        1
        >>> TrainedGeometries(64, 8, hop=8).of_chunk("llsa", 50).hop
        8
        """
        if check_attention(attention) != "llsa" or len(self.hop) == 1:
            return self.default
        return self.choose(self._chosen("hop", chunk_size, "chunk_size"))

    def all(self, attention: str) -> list[StreamGeometry]:
        """The distinct geometries for one attention.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.

        Returns
        -------
        list of StreamGeometry
            The default first.

        Example
        -------
        >>> geometries = TrainedGeometries(64, look_ahead=[8, 0], hop=[8, 1])
        >>> len(geometries.all("llsa")), len(geometries.all("sa"))
        (4, 2)
        """
        uses_look_ahead = check_attention(attention) != "aa"
        uses_hop = attention == "llsa"
        return [
            self.choose(hop, look_ahead)
            for hop in (self.hop if uses_hop else self.hop[:1])
            for look_ahead in (
                self.look_ahead if uses_look_ahead else self.look_ahead[:1]
            )
        ]

    def draw(self, attention: str, step: int, *seed: int) -> StreamGeometry:
        """Draws the geometry of a training step at random, so that consecutive
        steps use all of them before any is repeated.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.
        step : int
            The step, from 0 on.
        *seed : int
            Further numbers that the choice depends on.

        Returns
        -------
        StreamGeometry
            Reproducible: equal arguments give the same geometry.

        Example
        -------
        >>> geometries = TrainedGeometries(64, look_ahead=8, hop=[8, 1, 4])
        >>> drawn = [geometries.draw("llsa", step, 1986) for step in range(6)]
        >>> [geometry.hop for geometry in drawn]
        [4, 1, 8, 4, 8, 1]
        """
        choices = self.all(attention)
        turn, place = divmod(step, len(choices))
        # seeded by a text, which Python hashes in the same way everywhere
        random.Random(repr((*seed, turn))).shuffle(choices)
        return choices[place]

    def __contains__(self, geometry: StreamGeometry) -> bool:
        return (
            geometry.look_back == self.look_back
            and geometry.look_ahead in self.look_ahead
            and geometry.hop in self.hop
        )

    def _chosen(
        self, name: str, value: int | None, called: str | None = None
    ) -> int:
        """Chooses one of the values of a name; ``called`` is the caller's name
        for it."""
        trained = getattr(self, name)
        if value is None:
            return trained[0]
        allowed = ", ".join(map(str, trained))
        if len(trained) > 1:
            allowed = f"one of {allowed}"
        if called is None:
            reason = "which the model is trained for"
        else:
            reason = f"the {name}s that the model is trained for"
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(
                must_be(
                    called or name,
                    f"{allowed}, {reason}",
                    f"{value!r} ({type(value).__name__})",
                )
            )
        if value not in trained:
            raise ValueError(
                must_be(called or name, f"{allowed}, {reason}", value)
            )
        return int(value)


def _choices(
    name: str, values: int | list[int] | tuple[int, ...], minimum: int
) -> tuple[int, ...]:
    """Converts an integer, or a list of several, to a tuple."""
    if not isinstance(values, (list, tuple)):
        values = (values,)
    for value in values:
        check_integer(name, value, minimum)
    if not values or len(set(values)) < len(values):
        raise ValueError(
            must_be(
                name,
                (
                    f"an integer of at least {minimum}, or a list of "
                    "different ones"
                ),
                list(values),
            )
        )
    return tuple(map(int, values))
