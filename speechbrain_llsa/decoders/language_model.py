"""KenLM word n-gram models, loaded from untrusted files.

KenLM and pygtrie, which SpeechBrain's scorer needs, are extras of this package.
"""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.checksums import file_checksum
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.text_files import (
    other_encoding,
    without_byte_order_mark,
)

BINARY_MARK = b"mmap lm http://kheafield.com/code"
ORDERS = range(2, 7)
HEAD_BYTES = 1 << 16
TAIL_BYTES = 1 << 10

_COUNT = re.compile(r"ngram ([0-9]{1,2})=([0-9]{1,12})")


class LanguageModel:
    """A word n-gram model, scored as in SpeechBrain's ``KenlmScorer``. Can be
    shared by any number of sessions.

    Arguments
    ---------
    path : str or pathlib.Path
        A file in ARPA format, or KenLM's binary of one.
    trust : bool
        Whether the file may be a binary: it is mapped into memory unchecked,
        and a damaged one can crash the process.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If KenLM or pygtrie is not installed.
    TypeError
        If the path has the wrong type.
    ValueError
        If the file is damaged, or a binary without trust.
    """

    def __init__(self, path: str | Path, trust: bool = False) -> None:
        check_type("language_model", path, (str, Path))
        self.path = path = Path(path)
        binary = _check_file(path, trust)
        self._digest = file_checksum(path)
        model, KenlmScorer, self.words = _load(path, binary)
        self._scorer = self._lenient = KenlmScorer(model, self.words)

    def scaled(
        self, alpha: float, beta: float, unk_score_offset: float
    ) -> LanguageModel:
        """Makes a copy with other weights; the n-grams are shared.

        Arguments
        ---------
        alpha : float
            Weight of its log-probabilities.
        beta : float
            Score added per word.
        unk_score_offset : float
            Added to the log-probability (base 10) of an unknown word.

        Returns
        -------
        LanguageModel

        Raises
        ------
        TypeError
            If a weight is not a number.
        ValueError
            If it is not finite.
        """
        scaled, scorer = copy.copy(self), copy.copy(self._scorer)
        for name, value in (
            ("alpha", alpha),
            ("beta", beta),
            ("unk_score_offset", unk_score_offset),
        ):
            check_number(name, value)
            setattr(scorer, name, value)
        scaled._scorer, scaled._lenient = scorer, copy.copy(scorer)
        scaled._lenient.unk_score_offset = 0.0
        return scaled

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return self._scorer.order

    def start_state(self) -> Any:
        """The state at the beginning of a sentence."""
        return self._scorer.get_start_state()

    def state_without_words(self) -> Any:
        """The state before words of which nothing is known, not even whether
        a sentence begins."""
        scorer = copy.copy(self._scorer)
        scorer.score_boundary = False
        return scorer.get_start_state()

    def to_dict(self) -> dict[str, Any]:
        """Returns what scores depend on, as plain values.

        Returns
        -------
        dict
            A digest of the file, and the weights.
        """
        names = "alpha", "beta", "unk_score_offset"
        weights = {name: float(getattr(self._scorer, name)) for name in names}
        return {"sha256": self._digest, **weights}

    def score(
        self,
        state: Any,
        word: str,
        is_last_word: bool = False,
        known: bool = False,
    ) -> tuple[float, Any]:
        """Scores the next word.

        Arguments
        ---------
        state : object
            State before the word.
        word : str
            The word.
        is_last_word : bool
            Whether the sentence ends with it.
        known : bool
            Whether to treat the word as known, whatever the model says.

        Returns
        -------
        float
            Its contribution to the score of a beam.
        object
            State after the word.
        """
        scorer = self._lenient if known else self._scorer
        return scorer.score(state, word, is_last_word)

    def score_partial_word(self, partial_word: str) -> float:
        """Scores a partial word: 0, or the offset of an unknown word if no word
        starts like this.

        Arguments
        ---------
        partial_word : str
            Its characters so far.

        Returns
        -------
        float
        """
        return self._scorer.score_partial_token(partial_word)


def check_number(name: str, value: object) -> None:
    """Rejects what is not a finite number.

    Arguments
    ---------
    name : str
        Name of the number, for the error.
    value : object
        The number.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(must_be(name, "a number", repr(value)))
    if not math.isfinite(value):
        raise ValueError(must_be(name, "a finite number", value))


def check_exists(path: Path) -> None:
    """Rejects a language model that does not exist.

    Arguments
    ---------
    path : pathlib.Path
        Its file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            must_be(
                "language_model",
                "an existing file in ARPA format",
                repr(str(path)),
            )
        )


def _check_file(path: Path, trust: bool) -> bool:
    """Whether the file is a binary. Rejects files that KenLM must not read."""
    check_exists(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(max(0, size - TAIL_BYTES))
        tail = stream.read()
    if head.startswith(BINARY_MARK):
        if not trust:
            raise ValueError(
                must_be(
                    "language_model",
                    "a file in ARPA format unless trust=True",
                    f"{path.name}, a binary of KenLM, which is mapped "
                    "into memory unchecked",
                )
            )
        return True
    found = other_encoding(head)
    if found is not None:
        raise ValueError(
            f"language_model: {path.name} must be UTF-8, got {found}"
        )
    _check_counts(path, head, size)
    if b"\\end\\" not in tail:
        raise _damaged(path, "it does not end with \\end\\")
    return False


def _check_counts(path: Path, head: bytes, size: int) -> None:
    """Rejects more n-grams than the file can hold, since KenLM allocates memory
    for all of them up front."""
    text = head.decode("utf-8-sig", errors="replace")
    lines = [line.strip() for line in text.split("\n")]
    if "\\data\\" not in lines:
        raise _damaged(path, "it has no line \\data\\")
    counts: list[int] = []
    for line in lines[lines.index("\\data\\") + 1 :]:
        found = _COUNT.fullmatch(line)
        if found is None:
            if line:
                break
            continue
        if int(found[1]) != len(counts) + 1:
            raise _damaged(path, f"{line!r} comes out of order")
        counts.append(int(found[2]))
    if len(counts) not in ORDERS:
        raise _damaged(
            path,
            f"its n-grams have up to {len(counts)} words, allowed by KenLM is "
            f"{ORDERS[0]} to {ORDERS[-1]}",
        )
    if 4 * sum(counts) > size:
        raise _damaged(path, f"{size} bytes cannot hold {sum(counts)} n-grams")


def _load(path: Path, binary: bool) -> tuple[Any, Any, set[str] | None]:
    try:
        import kenlm
        from speechbrain.integrations.decoders.kenlm_scorer import KenlmScorer
    except ImportError as error:
        raise ImportError(
            "kenlm, pygtrie: not installed, needed for language models: "
            'pip install "speechbrain-llsa[kenlm]"'
        ) from error
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        with without_byte_order_mark(path) as plain:
            model = kenlm.Model(str(plain), config)
        unigrams = None if binary else _unigrams(path)
    except MemoryError:
        raise
    except Exception as error:  # KenLM has an error for each kind of damage
        raise _damaged(path, " ".join(str(error).split())[:300]) from error
    return model, KenlmScorer, unigrams


def _unigrams(path: Path) -> set[str]:
    """Reads the words of a model. SpeechBrain's reader omits those without a
    back-off weight, which ARPA allows."""
    words, inside = set(), False
    with path.open("rb") as stream:
        for number, encoded in enumerate(stream, start=1):
            try:
                line = encoded.decode().strip()
            except UnicodeDecodeError:
                raise ValueError(f"line {number} is not UTF-8") from None
            if inside and line.startswith("\\"):
                break
            inside = inside or line == "\\1-grams:"
            parts = line.split()
            if inside and len(parts) in (2, 3):
                words.add(parts[1])
    return words


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(
        must_be(
            "language_model",
            "a file in ARPA format",
            f"a damaged {path.name}: {why}",
        )
    )
