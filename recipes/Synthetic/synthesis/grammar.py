"""English sentences by a grammar of clauses.

`make_sentence` draws one of some twenty kinds of sentence and fills it in
from `lexicon`, with subject and verb in agreement. The sentences are
grammatical; whether they are sensible is left to chance.
"""

import re

from . import lexicon

SHORTEST, LONGEST = 4, 16

_VOWELS = "aeiou"
_AN = ("hour", "honest")
_NOT_AN = ("one", "uni", "use", "euro")
_OBJECTS = (
    ("THINGS", "THING_ADJECTIVES", "WITH_THINGS"),
    ("THINGS", "THING_ADJECTIVES", "WITH_THINGS"),
    ("TEXTS", "IDEA_ADJECTIVES", "WITH_TEXTS"),
    ("DISHES", "FOOD_ADJECTIVES", "WITH_DISHES"),
    ("FOODS", "FOOD_ADJECTIVES", "WITH_FOODS"),
    ("DRINKS", "FOOD_ADJECTIVES", "WITH_DRINKS"),
    ("VEHICLES", "THING_ADJECTIVES", "WITH_VEHICLES"),
    ("BUILDINGS", "BUILDING_ADJECTIVES", "WITH_BUILDINGS"),
    ("PEOPLE", "PERSON_ADJECTIVES", "WITH_PEOPLE"),
    ("PEOPLE", "PERSON_ADJECTIVES", "WITH_PEOPLE"),
    ("ANIMALS", "ANIMAL_ADJECTIVES", "WITH_ANIMALS"),
    ("IDEAS", "IDEA_ADJECTIVES", "WITH_IDEAS"),
    ("SIGHTS", "SIGHT_ADJECTIVES", "WITH_SIGHTS"),
)
_MASS = ("FOODS", "DRINKS")
_MODALS = ("can", "could", "may", "might", "must", "should", "would")
_TENSES = (
    "past",
    "past",
    "past",
    "present",
    "future",
    "perfect",
    "was_doing",
    "is_doing",
    "modal",
    "did_not",
    "does_not",
)


def plural(noun):
    """The plural of a noun of the lexicon.

    Arguments
    ---------
    noun : str
        Singular, or singular/plural.

    Returns
    -------
    str

    Example
    -------
    >>> plural("box"), plural("city"), plural("wolf/wolves")
    ('boxes', 'cities', 'wolves')
    """
    if "/" in noun:
        return noun.split("/")[1]
    if noun.endswith("y") and noun[-2] not in _VOWELS:
        return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "z", "ch", "sh")) or noun in (
        "potato",
        "tomato",
        "volcano",
    ):
        return noun + "es"
    return noun + "s"


def singular(noun):
    """The singular of a noun of the lexicon.

    Arguments
    ---------
    noun : str
        Singular, or singular/plural.

    Returns
    -------
    str

    Example
    -------
    >>> singular("wolf/wolves")
    'wolf'
    """
    return noun.split("/")[0]


def conjugate(verb):
    """The five forms of a verb of the lexicon.

    Arguments
    ---------
    verb : str
        As the lexicon writes it.

    Returns
    -------
    dict of str to str
        "base", "third", "past", "participle" and "doing".

    Example
    -------
    >>> forms = conjugate("stop*")
    >>> forms["third"], forms["past"], forms["doing"]
    ('stops', 'stopped', 'stopping')
    >>> conjugate("lie|lay|lain")["doing"]
    'lying'
    """
    base, *irregular = verb.rstrip("*").split("|")
    doubled = base + base[-1] if verb.endswith("*") else base
    if base.endswith("ie"):
        doing = base[:-2] + "ying"
    elif base.endswith("e") and not base.endswith(("ee", "oe", "ye")):
        doing = base[:-1] + "ing"
    else:
        doing = doubled + "ing"
    if base.endswith("y") and base[-2] not in _VOWELS:
        third, past = base[:-1] + "ies", base[:-1] + "ied"
    else:
        hisses = base.endswith(("s", "x", "z", "ch", "sh", "o"))
        third = base + ("es" if hisses else "s")
        past = base + "d" if base.endswith("e") else doubled + "ed"
    past, participle = irregular or (past, past)
    return {
        "base": base,
        "third": third,
        "past": past,
        "participle": participle,
        "doing": doing,
    }


def _article(words):
    """ "a" or "an", as the following words sound."""
    vowel = words[0].lower() in _VOWELS and not words.startswith(_NOT_AN)
    return "an" if vowel or words.startswith(_AN) else "a"


class _Sentence:
    """Draws parts of a sentence from one generator."""

    def __init__(self, generator, longest_list=None):
        self._generator = generator
        self._longest_list = longest_list

    def draw(self, options):
        return options[int(self._generator.integers(len(options)))]

    def chance(self, probability):
        return self._generator.random() < probability

    def words(self, name):
        return self.draw(getattr(lexicon, name)[: self._longest_list])

    def number(self):
        """A number from two to ninety-nine, in words."""
        kind = self._generator.integers(4)
        if kind == 0:
            return self.words("TEENS")
        if kind == 1:
            return f"{self.words('TENS')} {self.words('ONES')}"
        if kind == 2:
            return self.words("TENS")
        return self.draw(lexicon.ONES[1:])

    def noun_phrase(self, nouns, adjectives, definite=0.5):
        """Words, and whether they are a plural."""
        if nouns not in _MASS and not self.chance(definite):
            return self.indefinite(nouns, adjectives)
        owner = self.draw(("the",) * 6 + ("this", "that", "his", "her"))
        if self.chance(0.08):
            owner = f"{self.name()}'s"
        elif nouns in _MASS:
            owner = self.draw(("the", "some", "our"))
        noun = self.words(nouns)
        many = nouns not in _MASS and self.chance(0.2)
        if many:
            owner = {"this": "these", "that": "those"}.get(owner, owner)
            noun = plural(noun)
        return f"{owner} {self.adjective(adjectives)}{singular(noun)}", many

    def indefinite(self, nouns, adjectives):
        """A noun phrase that can follow "there is" or "there are"."""
        noun = self.words(nouns)
        adjective = self.adjective(adjectives)
        if self.chance(0.6):
            words = f"{adjective}{singular(noun)}"
            return f"{_article(words)} {words}", False
        amount = self.draw(("some", "many", "several", "a few", self.number()))
        return f"{amount} {adjective}{plural(noun)}", True

    def adjective(self, adjectives):
        """An adjective and a space, or nothing."""
        return f"{self.words(adjectives)} " if self.chance(0.45) else ""

    def person(self):
        """A subject of flesh and blood, and whether it takes a plural verb."""
        kind = self._generator.integers(12)
        if kind < 3:
            return self.name(), False
        if kind < 5:
            pronoun = self.draw(("he", "she", "I", "you", "we", "they"))
            return pronoun, pronoun not in ("he", "she")
        if kind == 5:
            return f"{self.name()} and {self.draw(lexicon.FAMILIAR)}", True
        if kind == 6:
            owner = self.draw(("my", "your", "his", "her", "our", "their"))
            noun = self.words("FAMILY")
            if self.chance(0.25):
                return f"{owner} {plural(noun)}", True
            return f"{owner} {noun}", False
        if kind == 7:
            return (
                self.draw(
                    ("everybody", "nobody", "somebody", "everyone", "no one")
                ),
                False,
            )
        return self.noun_phrase("PEOPLE", "PERSON_ADJECTIVES", 0.6)

    def somebody(self):
        """A person, not nobody, for questions and negations."""
        subject, many = self.person()
        while subject in ("nobody", "no one"):
            subject, many = self.person()
        return subject, many

    def name(self):
        return self.words(self.draw(("GIRLS", "BOYS")))

    def verb(self, verb, tense, subject, many):
        """A verb in a tense, agreeing with its subject."""
        forms = conjugate(verb)
        if tense in ("was_doing", "is_doing") and forms["base"] in (
            lexicon.STATES
        ):
            tense = {"was_doing": "past", "is_doing": "present"}[tense]
        if tense == "past":
            return forms["past"]
        if tense == "present":
            return forms["base"] if many else forms["third"]
        if tense == "future":
            return f"will {forms['base']}"
        if tense == "perfect":
            return f"{'have' if many else 'has'} {forms['participle']}"
        if tense == "modal":
            return f"{self.draw(_MODALS)} {forms['base']}"
        if tense == "did_not":
            return f"did not {forms['base']}"
        if tense == "does_not":
            return f"{'do' if many else 'does'} not {forms['base']}"
        was = "was" if tense == "was_doing" else "is"
        return f"{self.be(was, subject, many)} {forms['doing']}"

    def be(self, tense, subject, many):
        """Was, were, is, am or are."""
        if tense == "was":
            return "were" if many and subject != "I" else "was"
        if subject == "I":
            return "am"
        return "are" if many else "is"

    def when(self, tense):
        """A time that suits the tense."""
        kind = self._generator.integers(8)
        if tense in ("past", "did_not", "was_doing"):
            if kind == 0:
                return f"on {self.words('DAYS')}"
            if kind == 1:
                return f"in {self.words('MONTHS')}"
            if kind == 2:
                return f"last {self.draw(lexicon.SEASONS + lexicon.DAYS)}"
            if kind == 3 and tense != "was_doing":
                return (
                    f"{self.draw(lexicon.ONES[1:])} "
                    f"{plural(self.words('SPANS'))} ago"
                )
            return self.words("PAST_TIMES")
        if tense in ("future", "modal"):
            if kind == 0:
                return f"next {self.draw(lexicon.SEASONS + lexicon.DAYS)}"
            if kind == 1:
                return f"in {self.number()} {plural(self.words('SPANS'))}"
            return self.words("FUTURE_TIMES")
        if tense in ("present", "does_not"):
            if kind == 0:
                return f"in {self.words('SEASONS')}"
            return self.words("HABIT_TIMES")
        if tense == "is_doing":
            return self.words("NOW_TIMES")
        return self.draw(
            ("already", "again", "at last", "before", "once more", "twice")
        )

    def action(self, tense, subject, many):
        """What somebody does, without the subject."""
        kind = self._generator.integers(12)
        often = (
            f"{self.words('OFTEN')} "
            if tense == "present" and self.chance(0.4)
            else ""
        )
        if kind < 2:
            verb = self.verb(self.words("MOVING"), tense, subject, many)
            rest = self.words("DESTINATIONS")
            if self.chance(0.3):
                rest = f"{self.words('MANNERS')} {rest}"
        elif kind < 4:
            verb = self.verb(self.words("RESTING"), tense, subject, many)
            rest = self.draw((self.words("MANNERS"), self.words("PLACES")))
        elif kind == 4:
            verb = self.verb(self.words("GIVING"), tense, subject, many)
            mine = subject in ("I", "you", "we")
            receiver = self.draw(
                (
                    *(("him", "her") if mine else ("me", "us")),
                    self.name(),
                    self.relative(),
                )
            )
            thing = self.draw((_OBJECTS[0], _OBJECTS[2], _OBJECTS[3]))
            rest = f"{receiver} {self.noun_phrase(*thing[:2], 0.2)[0]}"
        elif kind == 5:
            verb = self.verb(self.words("WANTING"), tense, subject, many)
            rest = f"to {self.infinitive()}"
        else:
            nouns, adjectives, verbs = self.draw(_OBJECTS)
            verb = self.verb(self.words(verbs), tense, subject, many)
            rest = self.noun_phrase(nouns, adjectives)[0]
            if self.chance(0.15):
                rest = f"{rest} {self.words('MANNERS')}"
            elif self.chance(0.25):
                rest = f"{rest} {self.words('PLACES')}"
        return f"{often}{verb} {rest}"

    def relative(self):
        owner = self.draw(("the", "my", "his", "her"))
        return f"{owner} {self.words('FAMILY')}"

    def infinitive(self):
        """An action in its base form."""
        if self.chance(0.3):
            verb = conjugate(self.words("MOVING"))["base"]
            return f"{verb} {self.words('DESTINATIONS')}"
        nouns, adjectives, verbs = self.draw(_OBJECTS)
        verb = conjugate(self.words(verbs))["base"]
        return f"{verb} {self.noun_phrase(nouns, adjectives)[0]}"

    def clause(self, tense):
        """Somebody does something."""
        subject, many = self.person()
        if tense in ("did_not", "does_not"):
            subject, many = self.somebody()
        return f"{subject} {self.action(tense, subject, many)}"

    def plain(self):
        tense = self.draw(_TENSES)
        clause = self.clause(tense)
        if self.chance(0.4):
            clause = f"{clause} {self.when(tense)}"
        return clause + "."

    def fronted(self):
        tense = self.draw(("past", "past", "future"))
        kind = self._generator.integers(3)
        if kind == 0:
            return f"{self.when(tense)}, {self.clause(tense)}."
        if kind == 1:
            return f"{self.words('MANNERS')}, {self.clause('past')}."
        comment = self.draw(
            (
                "fortunately",
                "unfortunately",
                "of course",
                "to my surprise",
                "perhaps",
                "according to the newspaper",
                "luckily",
                "after all",
                "in my opinion",
                "for this reason",
                "however",
                "therefore",
                "meanwhile",
                "in the end",
            )
        )
        return f"{comment}, {self.clause(tense)}."

    def feeling(self):
        subject, many = self.person()
        tense = self.draw(("was", "is"))
        degree = self.draw(
            (
                "",
                "",
                "very ",
                "so ",
                "rather ",
                "quite ",
                "not ",
                "too ",
                "extremely ",
            )
        )
        feeling = self.words("FEELINGS")
        be = self.be(tense, subject, many)
        sentence = f"{subject} {be} {degree}{feeling}"
        if self.chance(0.5):
            why = self.draw(("because", "when", "although", "since"))
            inner = "past" if tense == "was" else "present"
            sentence = f"{sentence} {why} {self.clause(inner)}"
        return sentence + "."

    def animal(self):
        subject, many = self.noun_phrase("ANIMALS", "ANIMAL_ADJECTIVES", 0.6)
        tense = self.draw(("past", "was_doing", "is_doing", "future"))
        verb = self.verb(self.words("ANIMAL_VERBS"), tense, subject, many)
        return f"{subject} {verb} {self.words('PLACES')}."

    def there(self):
        nouns, adjectives, _ = self.draw(
            [item for item in _OBJECTS if item[0] not in _MASS]
        )
        phrase, many = self.indefinite(nouns, adjectives)
        be = self.draw((("was", "were"), ("is", "are")))[many]
        place = self.words("PLACES")
        return f"there {be} {phrase} {place}."

    def said(self):
        subject, many = self.person()
        past = self.chance(0.7)
        verb = self.verb(
            self.words("SAYING"), "past" if past else "present", subject, many
        )
        inner = self.draw(("past", "modal", "was_doing") if past else _TENSES)
        return f"{subject} {verb} that {self.clause(inner)}."

    def two(self):
        joint = self.draw(("and", "but", "so", "while", "because"))
        return f"{self.clause('past')}, {joint} {self.clause('past')}."

    def when_clause(self):
        begin = self.draw(("when", "before", "after", "while", "as soon as"))
        return f"{begin} {self.clause('past')}, {self.clause('past')}."

    def condition(self):
        result = self.draw(("future", "modal"))
        begin = self.draw(("if", "unless"))
        return f"{begin} {self.clause('present')}, {self.clause(result)}."

    def question(self):
        kind = self._generator.integers(6)
        subject, many = self.somebody()
        if kind == 0:
            do = self.draw(("did", "will", "can", "should"))
            return f"{do} {subject} {self.infinitive()}?"
        if kind == 1:
            return f"why did {subject} {self.infinitive()}?"
        if kind == 2:
            do = "do" if many else "does"
            return f"{do} {subject} want to {self.infinitive()}?"
        if kind == 3:
            nouns, adjectives, verbs = self.draw(_OBJECTS)
            phrase, _ = self.noun_phrase(nouns, adjectives, 0.8)
            verb = conjugate(self.words(verbs))
            return f"who {verb['past']} {phrase} {self.when('past')}?"
        if kind == 4:
            noun = singular(self.words(self.draw(("THINGS", "TEXTS"))))
            verb = conjugate(self.draw(("put|put|put", "find", "leave", "buy")))
            return f"where did {subject} {verb['base']} the {noun}?"
        noun = plural(self.words(self.draw(("THINGS", "DISHES", "ANIMALS"))))
        verb = self.draw(("see", "find", "want", "need", "buy", "sell"))
        return f"how many {noun} did {subject} {verb}?"

    def order(self):
        kind = self._generator.integers(4)
        if kind == 0:
            thing = self.noun_phrase("THINGS", "THING_ADJECTIVES", 1.0)[0]
            return f"please put {thing} {self.words('PLACES')}."
        if kind == 1:
            return f"do not {self.infinitive()}, {self.name()}!"
        if kind == 2:
            return f"please {self.infinitive()} {self.when('future')}."
        return f"let us {self.infinitive()} {self.when('future')}."

    def weather(self):
        kind = self._generator.integers(4)
        first, second = self.words("WEATHER"), self.words("WEATHER")
        while second == first:
            second = self.words("WEATHER")
        if kind == 0:
            return f"it was {first} and {second} {self.when('past')}."
        if kind == 1:
            sky = self.draw(("rained", "snowed", "thundered"))
            hard = self.draw(("heavily", "a little", "all day", "hard"))
            return f"it {sky} {hard} {self.words('PLACES')}."
        if kind == 2:
            country = self.words("COUNTRIES")
            month = self.words("MONTHS")
            return f"in {country}, {month} is usually {first} and {second}."
        return f"the weather was so {first} that {self.clause('past')}."

    def compared(self):
        nouns = self.draw(("THINGS", "VEHICLES", "BUILDINGS"))
        first = singular(self.words(nouns))
        second = singular(self.words(nouns))
        while second == first:
            second = singular(self.words(nouns))
        much = self.draw(("", "much ", "a little ", "no "))
        be = self.draw(("is", "was", "seemed", "looked"))
        comparative = self.words("COMPARATIVES")
        return f"the {first} {be} {much}{comparative} than the {second}."

    def count(self):
        kind = self._generator.integers(7)
        number = self.number()
        if kind == 0:
            thing = self.words(self.draw(("THINGS", "VEHICLES")))
            coins = plural(self.words("MONEY"))
            return f"the {singular(thing)} costs {number} {coins}."
        if kind == 1:
            building = self.words("BUILDINGS")
            return f"the {building} has {number} {plural(self.words('PARTS'))}."
        if kind == 2:
            sight = self.words("SIGHTS")
            measure = plural(self.draw(("mile", "kilometre")))
            return f"the {sight} is {number} {measure} from the town."
        if kind == 3:
            vehicle = self.words("VEHICLES")
            minute = self.draw(("half", "a quarter", "ten", "twenty", "five"))
            hour = self.draw(lexicon.ONES + lexicon.TEENS[:3])
            side = self.draw(("past", "to")) if minute != "half" else "past"
            verb = self.draw(("leaves", "arrives", "left", "will arrive"))
            return f"the {vehicle} {verb} at {minute} {side} {hour}."
        if kind == 4:
            subject, many = self.person()
            subject = subject if subject != "I" else "we"
            be = self.be(self.draw(("is", "was")), subject, many)
            if many:
                return f"{subject} {be} {number} years older than me."
            return f"{subject} {be} {number} years old."
        if kind == 5:
            if self.chance(0.5):
                amount = plural(self.words("AMOUNTS"))
                food = self.words(self.draw(_MASS))
                return f"we need {number} {amount} of {food}."
            measure = plural(self.words("MEASURES"))
            thing = singular(self.words("THINGS"))
            return f"the {thing} is {number} {measure} long."
        day = self.words("ORDINALS")
        month = self.words("MONTHS")
        return f"{self.clause('past')} on the {day} of {month}."

    def passive(self):
        nouns, adjectives, verbs = self.draw(_OBJECTS)
        phrase, many = self.noun_phrase(nouns, adjectives, 0.7)
        be = self.draw(
            (
                "were" if many else "was",
                "will be",
                "have been" if many else "has been",
                "must be",
            )
        )
        participle = conjugate(self.words(verbs))["participle"]
        agent = self.noun_phrase("PEOPLE", "PERSON_ADJECTIVES", 0.6)[0]
        return f"{phrase} {be} {participle} by {agent}."

    def learning(self):
        kind = self._generator.integers(5)
        subject, many = self.person()
        tense = self.draw(("past", "present", "future", "is_doing"))
        when = self.when(tense)
        if kind == 0:
            verb = self.draw(("study", "learn", "teach|taught|taught"))
            verb = self.verb(verb, tense, subject, many)
            topic = self.words("SCHOOL_SUBJECTS")
            return f"{subject} {verb} {topic} {when}."
        if kind == 1:
            verb = self.verb("play", tense, subject, many)
            return f"{subject} {verb} the {self.words('INSTRUMENTS')} {when}."
        if kind == 2:
            verb = self.verb("play", tense, subject, many)
            return f"{subject} {verb} {self.words('GAMES')} {when}."
        if kind == 3:
            verb = self.verb("travel", tense, subject, many)
            return f"{subject} {verb} to {self.words('COUNTRIES')} {when}."
        thing = singular(self.words("THINGS"))
        material = self.words("MATERIALS")
        return f"the {thing} {self.words('PLACES')} is made of {material}."


_KINDS = (
    *("plain",) * 7,
    "fronted",
    "feeling",
    "feeling",
    "animal",
    "there",
    "said",
    "said",
    "two",
    "when_clause",
    "condition",
    "question",
    "question",
    "order",
    "weather",
    "compared",
    "count",
    "count",
    "passive",
    "learning",
)


def make_sentence(generator, longest_list=None):
    """Draws an English sentence of 4 to 16 words.

    Arguments
    ---------
    generator : numpy.random.Generator
    longest_list : int, optional
        How many words of each list of the lexicon are used; all by default.

    Returns
    -------
    str
        With a capital and its punctuation.

    Example
    -------
    >>> import numpy as np
    >>> sentence = make_sentence(np.random.default_rng(1))
    >>> 4 <= len(sentence.split()) <= 16
    True
    """
    sentence = _Sentence(generator, longest_list)
    while True:
        text = getattr(sentence, sentence.draw(_KINDS))()
        if SHORTEST <= len(re.findall(r"[\w']+", text)) <= LONGEST:
            return text[0].upper() + text[1:]
