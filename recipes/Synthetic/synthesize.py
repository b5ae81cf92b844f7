"""Makes a corpus in LibriSpeech layout by speech synthesis.

    python synthesize.py OUT --text digits --seed 1 --workers 2 \\
        --split train:voices=60:utterances=2000 \\
        --split valid:voices=4:utterances=50 \\
        --split test:voices=4:utterances=100

writes OUT/SPLIT/SPEAKER/CHAPTER/ with 16 kHz mono FLAC files and
SPEAKER-CHAPTER.trans.txt, and OUT/SPEAKERS.TXT. SPEAKER-CHAPTER.ctm holds the
word times that espeak-ng reports, in NIST's format: utterance, channel, start
and duration in seconds, word. Equal arguments give equal files, whatever the
number of workers. The voices of the splits differ in speaker and in voice
variant, so that test voices are unseen in training; transcripts are not
repeated while there are unused ones.

An interrupted run continues when it is restarted; OUT/synthesis.json records
the settings, and different settings in the same folder are rejected.

The voice is espeak-ng, which is under the GNU General Public License,
version 3: pip install "speechbrain-llsa[synthesis]" gets it.
"""

import argparse
import json
import logging
import multiprocessing
import signal
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters
from synthesis.chapter import Chapter, synthesize_chapter
from synthesis.speakers import choose_speakers
from synthesis.text import KINDS, make_texts
from synthesis.voice import SpeechSynthesizer

logger = logging.getLogger(__name__)

SETTINGS_FILE = "synthesis.json"
UTTERANCES_PER_CHAPTER = 50
_FORMAT = 1
_DEFAULTS_OF_OLD_CORPORA = {"tempo": 1.0}
"""Settings of older corpora, which do not record them."""


def synthesize_corpus(
    out,
    splits,
    text="digits",
    seed=1,
    workers=1,
    text_seed=None,
    voice_seed=None,
    digits=(3, 8),
    longest_list=None,
    words=None,
    silence=(0.1, 0.5),
    noise=None,
    tempo=1.0,
    progress=True,
):
    """Makes a corpus in LibriSpeech layout by speech synthesis.

    Arguments
    ---------
    out : str or path
        Folder of the corpus; created if necessary.
    splits : dict of str to (int, int)
        Number of voices and number of utterances per split. The utterances of a
        split are distributed evenly over its voices.
    text : str
        "digits", "numbers" (with dates and times of day) or "sentences".
    seed : int
        Seed of everything.
    workers : int
        Number of processes; 1 works in this one. With more, a script that
        calls this needs `if __name__ == "__main__":`.
    text_seed : int, optional
        Seed of the texts alone, `seed` by default.
    voice_seed : int, optional
        Seed of the choice of voices alone, `seed` by default. Two corpora
        with the same voice_seed and the same numbers of voices have the
        same speakers.
    digits : (int, int)
        Fewest and most digits of a digit string.
    longest_list : int, optional
        How many words of each list of the lexicon the sentences use, all by
        default (about 3,300 distinct words); 8 leave about 1,000.
    words : (int, int), optional
        Fewest and most words of an utterance, which is then a run of words
        out of a sentence. None leaves sentences whole.
    silence : (float, float)
        Shortest and longest silence before and after an utterance, in
        seconds. It holds low noise, as a quiet room does.
    noise : (float, float), optional
        Lowest and highest signal-to-noise ratio, in dB, of noise of random
        colour added to every utterance. None adds none.
    tempo : float
        Factor of the speakers' usual speed, 0.6 to 2.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict of str to dict
        Per split the number of "utterances", the "seconds" of audio, and
        how many utterances were "kept" from an earlier run.

    Raises
    ------
    ImportError
        If espeakng-loader is not installed.
    ValueError
        If an argument is out of range, or the folder holds a corpus of
        other settings.
    FileExistsError
        If the folder holds a split that this function did not make.

    Example
    -------
    >>> import pytest
    >>> espeakng_loader = pytest.importorskip("espeakng_loader")
    >>> folder = getfixture("tmp_path")
    >>> made = synthesize_corpus(folder, {"test": (1, 2)}, progress=False)
    >>> made["test"]["utterances"]
    2
    """
    settings = {
        "format": _FORMAT,
        "splits": {name: list(size) for name, size in splits.items()},
        "text": text,
        "seed": seed,
        "text_seed": seed if text_seed is None else text_seed,
        "voice_seed": seed if voice_seed is None else voice_seed,
        "digits": list(digits),
        "longest_list": longest_list,
        "words": None if words is None else list(words),
        "silence": list(silence),
        "noise": None if noise is None else list(noise),
        "tempo": tempo,
    }
    _check(settings, workers)
    SpeechSynthesizer()
    settings["espeakng_loader"] = metadata.version("espeakng-loader")
    out = Path(out)
    speakers = choose_speakers(
        {name: size[0] for name, size in splits.items()},
        settings["voice_seed"],
    )
    texts = make_texts(
        text,
        {name: size[1] for name, size in splits.items()},
        settings["text_seed"],
        *digits,
        longest_list,
        words,
    )
    _record_settings(out, settings)
    chapters = [
        (split, chapter)
        for split in splits
        for chapter in _chapters_of(
            out, split, speakers[split], texts[split], settings
        )
    ]
    report = {
        split: {"utterances": 0, "seconds": 0.0, "kept": 0} for split in splits
    }
    minutes = {}
    total = sum(len(chapter.texts) for _, chapter in chapters)
    with tqdm(
        total=total,
        unit="utt",
        desc="synthesis",
        disable=None if progress else True,
    ) as bar:
        for split, chapter, result in _run(chapters, workers):
            utterances, seconds, kept = result
            report[split]["utterances"] += utterances
            report[split]["seconds"] += seconds
            report[split]["kept"] += utterances if kept else 0
            name = chapter.speaker.identifier
            minutes[name] = minutes.get(name, 0.0) + seconds / 60
            bar.update(utterances)
    _write_speakers(out, speakers, minutes)
    return report


def _check(settings, workers):
    """Raises ValueError for settings out of range."""
    if not settings["splits"]:
        raise ValueError("splits must name at least one split, got none.")
    for name, size in settings["splits"].items():
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise ValueError(
                f"splits must have names fit for folders, got {name!r}."
            )
        if len(size) != 2 or not 1 <= size[0] <= size[1]:
            raise ValueError(
                f"splits must give {name} two numbers, 1 <= voices <= "
                f"utterances, got {size}."
            )
    for key in ("seed", "text_seed", "voice_seed"):
        if settings[key] < 0:
            raise ValueError(f"{key} must be at least 0, got {settings[key]}.")
    longest_list = settings["longest_list"]
    if longest_list is not None and longest_list < 2:
        raise ValueError(
            f"longest_list must be at least 2, got {longest_list}."
        )
    if settings["words"] is not None:
        fewest, most = settings["words"]
        if not 1 <= fewest <= most:
            raise ValueError(
                "words must be two numbers, 1 <= fewest <= most, "
                f"got {fewest} and {most}."
            )
    low, high = settings["silence"]
    if not 0 <= low <= high:
        raise ValueError(
            "silence must be two durations in seconds, 0 <= shortest <= "
            f"longest, got {low} and {high}."
        )
    if settings["noise"] is not None:
        low, high = settings["noise"]
        if not low <= high:
            raise ValueError(
                "noise must be two ratios in dB, lowest <= highest, "
                f"got {low} and {high}."
            )
    if not 0.6 <= settings["tempo"] <= 2:
        raise ValueError(
            f"tempo must be from 0.6 to 2, got {settings['tempo']}."
        )
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}.")


def _record_settings(out, settings):
    """Records the settings, or compares them with the recorded ones."""
    path = out / SETTINGS_FILE
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path} is not readable ({error}); remove {out} to start anew."
            ) from error
        different = [
            f"{key} {found.get(key)!r} there, {settings.get(key)!r} now"
            for key in sorted(found.keys() | settings.keys())
            if found.get(key, _DEFAULTS_OF_OLD_CORPORA.get(key))
            != settings.get(key)
        ]
        if different:
            raise ValueError(
                f"{out} holds a corpus of other settings "
                f"({'; '.join(different)}): choose another folder or remove "
                "it."
            )
        return
    foreign = [name for name in settings["splits"] if (out / name).exists()]
    if foreign:
        raise FileExistsError(
            f"{out} has {', '.join(foreign)} but no {SETTINGS_FILE}: choose "
            "another folder."
        )
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(settings, indent=2) + "\n")


def _chapters_of(out, split, speakers, texts, settings):
    """Yields the chapters of a split."""
    code = zlib.crc32(split.encode())
    for number, speaker in enumerate(speakers):
        own = texts[number :: len(speakers)]
        starts = range(0, len(own), UTTERANCES_PER_CHAPTER)
        for chapter, start in enumerate(starts, start=1):
            name = speaker.identifier
            noise = settings["noise"]
            yield Chapter(
                folder=str(out / split / name / str(chapter)),
                speaker=speaker,
                name=f"{name}-{chapter}",
                seed=(settings["seed"], code, number, chapter),
                texts=tuple(own[start : start + UTTERANCES_PER_CHAPTER]),
                silence=tuple(settings["silence"]),
                noise=None if noise is None else tuple(noise),
                tempo=settings["tempo"],
            )


def _run(chapters, workers):
    """Yields (split, chapter, result) as chapters are finished."""
    if workers == 1:
        for split, chapter in chapters:
            yield split, chapter, synthesize_chapter(chapter)
        return
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        pending = {
            pool.submit(synthesize_chapter, chapter): (split, chapter)
            for split, chapter in chapters
        }
        try:
            for future in as_completed(pending):
                yield *pending[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _write_speakers(out, speakers, minutes):
    """Writes SPEAKERS.TXT, as in LibriSpeech."""
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME\n"]
    for split, members in speakers.items():
        for speaker in members:
            lines.append(
                f"{speaker.identifier:<5}| {speaker.sex} | {split:<17}|"
                f" {minutes[speaker.identifier]:>5.2f} | "
                f"{speaker.language}+{speaker.variant} "
                f"rate={speaker.rate} pitch={speaker.pitch} "
                f"pitch_range={speaker.pitch_range} tract={speaker.tract}\n"
            )
    write_atomically(out / "SPEAKERS.TXT", "".join(lines))


def _split_argument(argument):
    """Reads NAME:voices=NUMBER:utterances=NUMBER."""
    name, *fields = argument.split(":")
    try:
        numbers = {
            key: int(value)
            for key, value in (field.split("=") for field in fields)
        }
        if not name or sorted(numbers) != ["utterances", "voices"]:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must look like train:voices=60:utterances=2000, got {argument!r}."
        ) from None
    return name, (numbers["voices"], numbers["utterances"])


def _parser():
    parser = OneLineParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", metavar="OUT", help="folder of the corpus")
    parser.add_argument(
        "--split",
        action="append",
        required=True,
        type=_split_argument,
        metavar="NAME:voices=NUMBER:utterances=NUMBER",
        help="a split of the corpus; give it several times",
    )
    parser.add_argument(
        "--text",
        choices=KINDS,
        default="digits",
        help="what is said (default: digits)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of everything (default: 1)"
    )
    parser.add_argument(
        "--text_seed",
        type=int,
        help="seed of the texts alone (default: --seed)",
    )
    parser.add_argument(
        "--voice_seed",
        type=int,
        help="seed of the choice of voices alone (default: --seed)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="processes (default: 1)"
    )
    parser.add_argument(
        "--digits",
        type=int,
        nargs=2,
        default=(3, 8),
        metavar=("FEWEST", "MOST"),
        help="digits per utterance (default: 3 8)",
    )
    parser.add_argument(
        "--longest_list",
        type=int,
        metavar="WORDS",
        help="words of each list of the lexicon that sentences use (default: "
        "all, about 3,300 words together)",
    )
    parser.add_argument(
        "--words",
        type=int,
        nargs=2,
        metavar=("FEWEST", "MOST"),
        help="cut runs of so many words out of sentences (default: whole "
        "sentences)",
    )
    parser.add_argument(
        "--silence",
        type=float,
        nargs=2,
        default=(0.1, 0.5),
        metavar=("SHORTEST", "LONGEST"),
        help="seconds before and after an utterance (default: 0.1 0.5)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        nargs=2,
        metavar=("LOWEST", "HIGHEST"),
        help="add noise at signal-to-noise ratios of this range, in dB",
    )
    parser.add_argument(
        "--tempo",
        type=float,
        default=1.0,
        help="factor of the speakers' usual speed (default: 1)",
    )
    return parser


@all_characters()
def main(arguments=None):
    """Command line; see `--help`.

    Arguments
    ---------
    arguments : list of str, optional
        sys.argv[1:] by default.
    """
    parser = _parser()
    values = vars(parser.parse_args(arguments))
    named = values.pop("split")
    splits = dict(named)
    if len(splits) < len(named):
        parser.error("--split names the same split twice.")
    try:
        report = synthesize_corpus(splits=splits, **values)
    except (ValueError, OSError, ImportError) as error:
        parser.error(error)
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: stopped; repeat it to continue.\n")
    for split, numbers in report.items():
        print(
            f"{split}: {numbers['utterances']} utterances, "
            f"{numbers['seconds'] / 60:.1f} minutes, "
            f"{numbers['kept']} utterances kept"
        )


if __name__ == "__main__":
    main()
