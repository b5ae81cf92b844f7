"""Reports all transcript characters that a model has no units for, before
training starts."""

import unicodedata
from collections import Counter

from speechbrain.utils.logger import get_logger

from speechbrain_llsa.training.bad_utterances import BadUtteranceError
from speechbrain_llsa.training.units import unknown_characters
from speechbrain_llsa.utils.normalization import CASES, fold_transcript

logger = get_logger(__name__)

_NAMED_AT_MOST = 10


def fault_of_transcript(tokenizer, transcript):
    """Says why a transcript cannot be encoded as units, if it cannot.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        The result of ``units.make_tokenizer``.
    transcript : str
        The transcript.

    Returns
    -------
    str or None
        The fault, ``None`` if there is none.
    """
    unknown = "".join(sorted(set(unknown_characters(tokenizer, transcript))))
    return f"has characters that are no units: {unknown!r}" if unknown else None


def report_unknown_characters(tokenizer, learned, scored, is_error=False):
    """Logs which characters have no unit, how often they occur, and where.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        The result of ``units.make_tokenizer``.
    learned : iterable of speechbrain.dataio.dataset.DynamicItemDataset
        Utterances with ``wrd`` for training and validation. It is an error if
        all utterances of such a dataset have unknown characters.
    scored : iterable of speechbrain.dataio.dataset.DynamicItemDataset
        Test utterances. Those in several datasets count once.
    is_error : bool
        Whether any unknown character is an error.

    Raises
    ------
    BadUtteranceError
        With the report.
    """
    found = {
        identity: Counter(
            unknown_characters(tokenizer, dataset.data[identity]["wrd"])
        )
        for dataset in (*learned, *scored)
        for identity in dataset.data_ids
    }
    lines = _describe(found)
    if not lines:
        return
    remedy = _remedy(tokenizer, set().union(*found.values()))
    logger.warning(
        "Characters of transcripts that are no units%s:\n%s",
        remedy,
        "\n".join(lines),
    )
    nothing_left = [
        all(found[identity] for identity in dataset.data_ids)
        for dataset in learned
    ]
    if is_error or any(nothing_left):
        named = "; ".join(lines[:_NAMED_AT_MOST])
        if len(lines) > _NAMED_AT_MOST:
            named += f"; and {len(lines) - _NAMED_AT_MOST} more"
        raise BadUtteranceError(
            f"transcripts must hold units of the model alone{remedy}, got "
            f"{named}"
        )


def _describe(found):
    """One line per character, the most frequent first."""
    counts, examples = Counter(), {}
    for identity, characters in found.items():
        counts.update(characters)
        for character in characters:
            examples.setdefault(character, []).append(identity)
    return [
        f"{character!r} (U+{ord(character):04X} "
        f"{unicodedata.name(character, 'without a name')}) {count} times in "
        f"{len(examples[character])} utterances, such as "
        f"{examples[character][0]}"
        for character, count in counts.most_common()
    ]


def _remedy(tokenizer, characters):
    """Suggests the ``transcript_case`` that leaves the fewest unknown, if it
    helps at all."""
    left = {
        case: len(unknown_characters(tokenizer, fold_transcript(text, case)))
        for case in CASES
        for text in [" ".join(sorted(characters))]
    }
    best = min(left, key=left.get)
    if left[best] == left["as_is"]:
        return ""
    return f" (transcript_case {best} would help)"
