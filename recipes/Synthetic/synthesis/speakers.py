"""Speakers: an accent, a voice variant and personal habits."""

from dataclasses import dataclass

import numpy as np

LANGUAGES = (
    "en",
    "en-us",
    "en-029",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-gb-x-rp",
    "en-us-nyc",
)

# Variants of espeak-ng by family. Effects (whisper, robots, echo chambers) and
# voices beyond human proportions are left out; variants whose spectra are
# nearly the same stand in one family, and a family serves a single split.
FAMILIES = (
    ("steph", "steph2", "steph3"),
    ("Diogo", "Henrique", "Hugo", "michel", "miguel"),
    ("Gene", "Gene2"),
    ("klatt", "klatt2"),
    ("iven", "iven2", "iven3", "iven4"),
    ("rob", "robert"),
    ("m3", "Mike"),
    ("klatt3", "klatt4", "klatt5", "edward"),
    ("klatt6", "adam", "Reed", "benjamin", "edward2", "mike2"),
    ("Alex", "m6"),
    ("croak", "grandpa"),
    ("Michael", "gustave"),
    ("aunty", "linda"),
    ("m4", "m5"),
    ("f2", "f5"),
    ("Nguyen", "m7"),
    ("Andrea",),
    ("Andy",),
    ("Annie",),
    ("Denis",),
    ("Jacky",),
    ("Marco",),
    ("Mario",),
    ("Mr serious",),
    ("Storm",),
    ("anika",),
    ("antonio",),
    ("belinda",),
    ("boris",),
    ("ed",),
    ("f1",),
    ("f3",),
    ("f4",),
    ("grandma",),
    ("john",),
    ("kaukovalta",),
    ("m1",),
    ("m2",),
    ("m8",),
    ("marcelo",),
    ("max",),
    ("norbert",),
    ("pablo",),
    ("paul",),
    ("pedro",),
    ("quincy",),
    ("sandro",),
    ("shelby",),
    ("travis",),
    ("victor",),
)

_WOMEN = ("Andrea", "Annie", "anika", "aunty", "belinda", "grandma", "linda")
_WOMEN += ("f1", "f2", "f3", "f4", "f5", "shelby", *FAMILIES[0])

_SMALLEST_TRACT, _LARGEST_TRACT = 40, 48
_FIRST_SPEAKER = 1001


@dataclass(frozen=True)
class Speaker:
    """The speaker.

    Arguments
    ---------
    identifier : str
        The name of the speaker's folder, a number.
    language : str
        Accent, one of `LANGUAGES`.
    variant : str
        A variant of espeak-ng.
    rate : int
        Usual speed, in words per minute.
    pitch : int
        Usual pitch, 0 to 99, relative to the variant.
    pitch_range : int
        Liveliness, 0 to 99.
    tract : int
        Scale of the vocal tract: the speech is played at `tract` * 500
        samples per second, which moves all formants; 44 is the variant
        itself.
    """

    identifier: str
    language: str
    variant: str
    rate: int
    pitch: int
    pitch_range: int
    tract: int

    @property
    def sex(self):
        """ "F" or "M", as LibriSpeech's SPEAKERS.TXT has it."""
        return "F" if self.variant in _WOMEN else "M"


def choose_speakers(voices, seed):
    """Chooses the speakers of all splits, disjoint in family.

    The smallest splits choose first, so that they keep their voices when the
    largest one grows.

    Arguments
    ---------
    voices : dict of str to int
        Number of speakers per split.
    seed : int
        Equal arguments choose equal speakers.

    Returns
    -------
    dict of str to list of Speaker

    Raises
    ------
    ValueError
        If a split wants less than one speaker or more than there are.

    Example
    -------
    >>> speakers = choose_speakers({"train": 60, "test": 4}, seed=1)
    >>> len(speakers["train"]), len(speakers["test"])
    (60, 4)
    """
    if len(voices) > len(FAMILIES):
        raise ValueError(
            f"voices must have at most {len(FAMILIES)} splits, "
            f"got {len(voices)}."
        )
    for split, count in voices.items():
        if count < 1:
            raise ValueError(
                f"voices of split {split} must be at least 1, got {count}."
            )
    generator = np.random.default_rng([seed, 0])
    families = [FAMILIES[i] for i in generator.permutation(len(FAMILIES))]
    share = len(families) // len(voices)
    chosen = {}
    order = sorted(voices, key=lambda split: (voices[split], split))
    for number, split in enumerate(order):
        count = voices[split]
        taken = families if number == len(order) - 1 else families[:share]
        taken = taken[:count]
        families = families[len(taken) :]
        if number == len(order) - 1:
            taken = taken + families
        chosen[split] = _choose_from(taken, count, seed, number, split)
    numbered = {}
    identifier = _FIRST_SPEAKER
    for split in voices:
        numbered[split] = []
        for habits in chosen[split]:
            numbered[split].append(Speaker(str(identifier), *habits))
            identifier += 1
    return numbered


def _choose_from(families, count, seed, number, split):
    """Draws `count` speakers whose variants are of these families."""
    generator = np.random.default_rng([seed, 1, number])
    # First one variant of each family, then the second ones and so on.
    columns = [list(generator.permutation(family)) for family in families]
    variants = [
        str(column[row])
        for row in range(max(len(column) for column in columns))
        for column in columns
        if row < len(column)
    ]
    most = len(variants) * len(LANGUAGES)
    if count > most:
        raise ValueError(
            f"voices of split {split} must be at most {most} "
            f"(variants x accents left for it), got {count}."
        )
    accents = {
        variant: generator.permutation(len(LANGUAGES)) for variant in variants
    }
    habits = []
    for index in range(count):
        variant = variants[index % len(variants)]
        turn = index // len(variants)
        habits.append(
            (
                LANGUAGES[accents[variant][turn]],
                variant,
                int(generator.integers(135, 196)),
                int(generator.integers(35, 66)),
                int(generator.integers(30, 76)),
                int(generator.integers(_SMALLEST_TRACT, _LARGEST_TRACT + 1)),
            )
        )
    return habits
