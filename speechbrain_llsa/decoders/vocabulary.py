"""Vocabulary of beam search: labels as words and parts of words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa.decoders.trace import BLANK, INSIDE, SPACE, WORD_START
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

SPM_MARK = "\u2581"
"""SpeechBrain's mark for the start of a word."""

NO_MARK = "\x01"
"""Replaces that mark if no label starts a word by itself."""


class SearchVocabulary:
    """The labels of a model, in the form that SpeechBrain's searchers need.

    Arguments
    ---------
    pieces : list of str
        Text of each label.
    blank_index : int
        Index of the blank label.

    Raises
    ------
    ValueError
        If there is no such label, two labels share a text, or a text is not
        part of a single word.

    Example
    -------
    >>> vocabulary = SearchVocabulary(["", " NEW", "S"], blank_index=0)
    >>> vocabulary.tokens[1:], vocabulary.can_spell("NEWS")
    (['▁NEW', 'S'], True)
    """

    def __init__(self, pieces: Sequence[str], blank_index: int) -> None:
        check_integer("blank_index", blank_index, 0)
        if blank_index >= len(pieces):
            raise ValueError(
                must_be(
                    "blank_index",
                    f"a label, 0 to {len(pieces) - 1}",
                    blank_index,
                )
            )
        marked = any(len(piece) > 1 and piece[0] == " " for piece in pieces)
        self.mark = SPM_MARK if marked else NO_MARK
        self.blank_index = blank_index
        # A blank that can be no text; so are labels that cannot be said.
        self.tokens = [f"\0{label}" for label in range(len(pieces))]
        self.kinds = [BLANK] * len(pieces)
        self._unsaid, taken = [], set()
        for label, piece in enumerate(pieces):
            if label == blank_index:
                continue
            if not self._can_be_said(label, piece):
                self._unsaid.append(label)
                continue
            if piece == " ":
                self.kinds[label] = SPACE
            elif piece[0] == " ":
                self.kinds[label] = WORD_START
            else:
                self.kinds[label] = INSIDE
            token = piece.replace(" ", SPM_MARK) if marked else piece
            if token in taken:
                raise ValueError(
                    must_be(
                        "text_decoder",
                        "one whose labels differ, for a beam search",
                        f"{piece!r} for two labels",
                    )
                )
            taken.add(token)
            self.tokens[label] = token
        self._pieces = {
            token.removeprefix(SPM_MARK) if marked else token
            for token, kind in zip(self.tokens, self.kinds, strict=True)
            if kind in (WORD_START, INSIDE)
        }
        self._longest = max(map(len, self._pieces), default=0)
        self._has_words = {SPACE, WORD_START} & set(self.kinds)

    def _can_be_said(self, label: int, piece: str) -> bool:
        inner = piece.removeprefix(" ")
        if piece == " " or (inner and not any(map(str.isspace, inner))):
            return True
        if any(map(str.isalnum, piece)):
            raise ValueError(
                must_be(
                    "text_decoder",
                    (
                        "one whose labels are parts of a word, with a space "
                        "only in "
                        "front, for a beam search"
                    ),
                    f"{piece!r} for label {label}",
                )
            )
        return False

    def prepare(self, log_probs: Array) -> NDArray[np.float64]:
        """Validates frames and converts them to double precision, which keeps
        scores exact in streams of any length. Labels without text count as
        blank.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            (frames, labels).

        Returns
        -------
        numpy.ndarray
            float64 (frames, labels).

        Raises
        ------
        ValueError
            If the shape is wrong, or a frame does not hold log-probabilities.
        """
        if hasattr(log_probs, "detach"):
            log_probs = log_probs.detach().cpu().double().numpy()
        log_probs = np.array(log_probs, np.float64)
        if log_probs.ndim != 2 or log_probs.shape[1] != len(self.tokens):
            raise ValueError(
                must_be(
                    "log_probs",
                    "of shape (frames, labels), here (frames, "
                    f"{len(self.tokens)})",
                    log_probs.shape,
                )
            )
        if not np.isfinite(log_probs.max(axis=1)).all():
            raise ValueError(
                must_be(
                    "log_probs",
                    "log-probabilities",
                    (
                        "a frame with NaN, with infinity, or with no label "
                        "that is possible"
                    ),
                )
            )
        if self._unsaid:
            silent = [self.blank_index, *self._unsaid]
            log_probs[:, self.blank_index] = np.logaddexp.reduce(
                log_probs[:, silent], axis=1
            )
            log_probs[:, self._unsaid] = -np.inf
        return log_probs

    def check_hotword(self, hotword: str) -> None:
        """Rejects a hotword that the labels cannot spell.

        Arguments
        ---------
        hotword : str
            A word or phrase.

        Raises
        ------
        ValueError
            If it is rejected, or if the labels do not separate words.
        """
        self._check_words("hotwords")
        for word in hotword.split():
            if not self.can_spell(word):
                raise ValueError(
                    must_be(
                        "hotwords",
                        "words that the labels of the model can spell",
                        f"{word!r} in {hotword!r}",
                    )
                )

    def check_language_model(self, language_model: LanguageModel) -> None:
        """Rejects a language model of another spelling.

        Arguments
        ---------
        language_model : LanguageModel
            The model.

        Raises
        ------
        ValueError
            If it is rejected, or if the labels do not separate words.
        """
        self._check_words("language_model")
        words = language_model.words
        if words and not any(map(self.can_spell, words)):
            raise ValueError(
                must_be(
                    "language_model",
                    "in the spelling of the model, capitals included",
                    (
                        "one with no word that the labels of the model can "
                        "spell, "
                        f"such as {min(words)!r}"
                    ),
                )
            )

    def _check_words(self, name: str) -> None:
        if not self._has_words:
            raise ValueError(
                must_be(
                    name, "None for a model whose labels have no space", "some"
                )
            )

    def can_spell(self, word: str) -> bool:
        """Whether labels can spell a word.

        Arguments
        ---------
        word : str
            The word.

        Returns
        -------
        bool
        """
        reached = [True] + [False] * len(word)
        for end in range(1, len(word) + 1):
            reached[end] = any(
                reached[begin] and word[begin:end] in self._pieces
                for begin in range(max(0, end - self._longest), end)
            )
        return reached[-1]
