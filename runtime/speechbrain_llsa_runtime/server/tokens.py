"""Access tokens of clients."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from speechbrain_llsa_runtime.utils.errors import must_be

SHORTEST_TOKEN = 8


class Tokens:
    """The tokens that a server accepts.

    Arguments
    ---------
    tokens : iterable of str
        The tokens.

    Example
    -------
    >>> tokens = Tokens(["correct-horse"])
    >>> tokens.find("correct-horse") is None, tokens.find("other")
    (False, None)
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = [_digest(token) for token in tokens]

    @classmethod
    def from_file(cls, path: str | Path) -> Tokens:
        """Reads a file with a token in each line. Empty lines and those that
        begin with # are left out.

        Arguments
        ---------
        path : str or pathlib.Path
            The file.

        Returns
        -------
        Tokens

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds no token, or one that is too short or has blanks.
        """
        tokens = []
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            token = line.strip()
            if not token or token[0] == "#":
                continue
            if len(token) < SHORTEST_TOKEN or token.split() != [token]:
                raise ValueError(
                    must_be(
                        "--tokens",
                        "a file of tokens without blanks, of at least "
                        f"{SHORTEST_TOKEN} characters",
                        f"another one in line {number}",
                    )
                )
            tokens.append(token)
        if not tokens:
            raise ValueError(
                must_be("--tokens", "a file with a token in each line", "none")
            )
        return cls(tokens)

    def find(self, token: str) -> str | None:
        """Looks a token up, in a time that does not depend on it.

        Arguments
        ---------
        token : str
            What a client sent.

        Returns
        -------
        str or None
            What stands for the token; ``None`` if it is not accepted.
        """
        digest, found = _digest(token), None
        for known in self._digests:
            if hmac.compare_digest(known, digest):
                found = known.hex()
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def sent_token(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Finds the token of a request: in ``Authorization``, or, since browsers
    cannot set that for a WebSocket, in ``Sec-WebSocket-Protocol``.

    Arguments
    ---------
    headers : mapping of str to str
        Headers by their names in lower case.

    Returns
    -------
    token : str or None
        The token.
    subprotocol : str or None
        The subprotocol to accept, if the token stood there.

    Example
    -------
    >>> sent_token({"authorization": "Bearer correct-horse"})
    ('correct-horse', None)
    >>> sent_token({"sec-websocket-protocol": "token, correct-horse"})
    ('correct-horse', 'token')
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("token", "bearer") and token.strip():
        return token.strip(), None
    protocols = headers.get("sec-websocket-protocol", "").split(",")
    protocols = [protocol.strip() for protocol in protocols]
    if len(protocols) == 2 and protocols[0].lower() in ("token", "bearer"):
        return protocols[1], protocols[0]
    return None, None
