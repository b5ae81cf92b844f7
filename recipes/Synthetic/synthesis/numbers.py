"""Numbers, dates and times of day: some eighty words.

Many of them begin alike and end differently (six, sixth, sixteen, sixteenth,
sixty): which one it is shows at its end, or in the word after it.
"""

from . import lexicon

_MINUTES = ("five", "ten", "a quarter", "twenty", "half")
_LARGEST_DIGITS = 4


def make_numbers(generator):
    """Draws one to three numbers, dates or times of day.

    Arguments
    ---------
    generator : numpy.random.Generator

    Returns
    -------
    str
        The numbers, separated by commas.

    Example
    -------
    >>> import numpy as np
    >>> make_numbers(np.random.default_rng(7))
    'Friday the eighteenth, the sixteenth of January, eighty eight'
    """
    count = generator.integers(1, 4)
    return ", ".join(_item(generator) for _ in range(count))


def cardinal(number):
    """Spells out a number.

    Arguments
    ---------
    number : int
        1 to 9999.

    Returns
    -------
    str

    Example
    -------
    >>> cardinal(7019), cardinal(342)
    ('seven thousand and nineteen', 'three hundred and forty two')
    """
    words = []
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            words.append(f"{lexicon.ONES[number // size - 1]} {name}")
            number %= size
    if number and words:
        words.append("and")
    if number >= 20:
        words.append(lexicon.TENS[number // 10 - 2])
        number %= 10
    if number >= 10:
        words.append(lexicon.TEENS[number - 10])
    elif number:
        words.append(lexicon.ONES[number - 1])
    return " ".join(words)


def _item(generator):
    def draw(options):
        return options[int(generator.integers(len(options)))]

    kind = generator.integers(5)
    if kind < 2:
        digits = generator.integers(1, _LARGEST_DIGITS + 1)
        return cardinal(int(generator.integers(10 ** (digits - 1), 10**digits)))
    if kind == 2:
        day = draw(
            (draw(lexicon.ORDINALS), f"twenty {draw(lexicon.ORDINALS[:9])}")
        )
        return f"the {day} of {draw(lexicon.MONTHS)}"
    if kind == 3:
        return f"{draw(lexicon.DAYS)} the {draw(lexicon.ORDINALS)}"
    hour = draw((*lexicon.ONES, *lexicon.TEENS[:3]))
    if generator.random() < 0.3:
        return f"{hour} o'clock"
    minutes = draw(_MINUTES)
    side = "past" if minutes == "half" else draw(("past", "to"))
    return f"{minutes} {side} {hour}"
