"""What a stream says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transcript:
    """What one call to a session says.

    Example
    -------
    >>> Transcript(committed="HELLO ", provisional="WOR")
    Transcript(committed='HELLO ', provisional='WOR')
    """

    committed: str
    """Text that this call adds, and that will not change."""

    provisional: str = ""
    """What the frames ahead of the committed ones say now, to be shown behind
    all committed text. It replaces that of the call before."""
