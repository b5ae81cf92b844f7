#!/usr/bin/env python3
"""Greedy and beam search while streaming: errors, cost, and how long a word
stays provisional.

    python benchmarks/beam_search.py --model demo/finetune/streaming \\
        --data demo/digits --split test --out section.md

streams every utterance of a split of a folder in LibriSpeech layout with each
search, and counts errors as the recipes do. The language model is one that is
given, or that of the words of another split of the folder.

The real-time factor is processor time, for model and search together. A word
is provisional from the push that shows it first, as the whole text then stands,
to the push that commits it; one that is taken back is one whose letters change.
Each streamed text is compared with what the search
gives for the log-probabilities of the whole utterance at once.

    python benchmarks/beam_search.py --made_up 100

needs no model: log-probabilities are made up, of sentences of the recipes'
grammar in characters, with noise. The language model is that of 20000 other
sentences, the real-time factor that of the search alone. Hotwords are the words
of each sentence that the language model does not know.
"""

import argparse
import tempfile
import time
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

import _paths  # noqa: F401
from librispeech_prepare import prepare_librispeech
from ngrams.arpa import write_arpa
from ngrams.estimation import estimate_ngrams
from ngrams.sources import read_transcripts
from speechbrain_llsa import StreamingASR
from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa.evaluation.error_rates import ErrorRates
from speechbrain_llsa.training.data import load_manifests
from speechbrain_llsa_runtime.decoders.greedy import (
    GreedySearch,
    PieceDecoder,
    TextState,
)
from speechbrain_llsa_runtime.geometry import FRAME_SECONDS, SAMPLE_RATE
from speechbrain_llsa_runtime.transcripts.transcript import Transcript
from synthesis.text import make_texts, transcript_of

LOOK_AHEAD = 8
"""Frames ahead that made up log-probabilities have, as the models do."""

CHARACTERS = ["", " ", "'", *map(chr, range(ord("A"), ord("Z") + 1))]
DECODER = PieceDecoder(CHARACTERS)
"""Labels of made up log-probabilities."""

HEAD = (
    "| search | WER | texts that differ offline | real-time factor "
    "| provisional: median | 90 % | shown and taken back |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)


def load_split(data, split, folder, snr):
    """The utterances of a split, with ``sig``, ``wrd`` and ``id``, and with
    white noise if there is a ratio in dB."""
    prepare_librispeech(
        data_folder=str(data), save_folder=str(folder), splits=[split]
    )
    dataset = load_manifests([str(Path(folder) / f"{split}.csv")])
    dataset.set_output_keys(["id", "sig", "wrd"])
    items = list(dataset)
    generator = torch.Generator().manual_seed(0)
    for item in items if snr is not None else ():
        noise = torch.randn(item["sig"].shape, generator=generator)
        loudness = item["sig"].square().mean().sqrt() * 10 ** (-snr / 20)
        item["sig"] = item["sig"] + loudness * noise
    return items


class WordClock:
    """When words are shown, and when they are committed.

    Example
    -------
    >>> clock = WordClock()
    >>> clock.show(0.0, "", "OF")
    >>> clock.show(0.1, "", "ON")
    >>> clock.show(0.2, "", "ONE T")
    >>> clock.show(0.5, "ONE ", "TWO")
    >>> clock.show(0.9, "ONE TWO", "")
    >>> [round(seconds, 1) for seconds in clock.provisional_seconds()]
    [0.3, 0.4]
    >>> clock.changes  # OF, not ON, which goes on
    1
    """

    def __init__(self):
        self.changes = 0
        self._shown = []
        self._since = []
        self._committed = []
        self._committed_at = []

    def show(self, seconds, committed, provisional):
        """Takes what stands there after so much audio."""
        shown = (committed + provisional).split()
        pairs = zip(self._shown, shown, strict=False)
        same = next(
            (index for index, (old, new) in enumerate(pairs) if old != new),
            min(len(self._shown), len(shown)),
        )
        self.changes += sum(
            not new.startswith(old)
            for old, new in zip_longest(
                self._shown[same:], shown[same:], fillvalue=""
            )
        )
        self._since = self._since[:same] + [seconds] * (len(shown) - same)
        self._shown = shown
        words = committed.split()
        same = len(self._committed)
        while same and words[:same] != self._committed[:same]:
            same -= 1  # a word of which only a part was committed
        self._committed_at[same:] = [seconds] * (len(words) - same)
        self._committed = words

    def provisional_seconds(self):
        """For each word, from being shown to being committed."""
        return [
            end - begin
            for begin, end in zip(self._since, self._committed_at, strict=True)
        ]


class Figures:
    """What utterances that were streamed with one search add up to."""

    def __init__(self):
        self._rates = ErrorRates()
        self._provisional = []
        self._spent = self._audio = 0.0
        self._changes = self._different = 0

    def stream(self, item, session, pushes):
        """Streams one utterance.

        Arguments
        ---------
        item : dict
            Its ``id`` and ``wrd``.
        session : Session or MadeUpSession
            What takes the pushes.
        pushes : list of (object, float)
            What is pushed, and its seconds.

        Returns
        -------
        str
            The text.
        """
        clock, pushed = WordClock(), 0.0
        for push, seconds in pushes:
            begin = time.process_time()
            transcript = session.push(push)
            self._spent += time.process_time() - begin
            pushed += seconds
            clock.show(pushed, session.text, transcript.provisional)
        begin = time.process_time()
        session.finish()
        self._spent += time.process_time() - begin
        clock.show(pushed, session.text, "")
        self._rates.append(item["id"], session.text, item["wrd"])
        self._provisional += clock.provisional_seconds()
        self._changes += clock.changes
        self._audio += pushed
        return session.text

    def compare(self, text, expected):
        """Counts a text that is not what it should be."""
        self._different += text != expected

    def row(self, name):
        """A line of the table."""
        median, most = np.percentile(self._provisional, [50, 90])
        return (
            f"| {name} | {self._rates.word_error_rate:.2f} % "
            f"| {self._different} | {self._spent / self._audio:.3f} "
            f"| {median:.2f} s | {most:.2f} s "
            f"| {self._changes / len(self._provisional):.0%} |"
        )


def measure(asr, search, items, push_seconds):
    """Streams utterances with a search."""
    figures = Figures()
    size = round(push_seconds * SAMPLE_RATE)
    for item in items:
        session = asr.session(search=search)
        pushes = item["sig"].split(size)
        pushes = [(push, len(push) / SAMPLE_RATE) for push in pushes]
        text = figures.stream(item, session, pushes)
        figures.compare(text, offline_text(asr, search, item["sig"]))
    return figures


@torch.no_grad()
def offline_text(asr, search, signal):
    """What the search gives for the whole at once."""
    log_probs, _ = asr.model(signal[None])
    tokens = search.advance(
        log_probs[0], search.make_streaming_context(), final=True
    )
    return asr.text_decoder.decode(token.label for token in tokens)


def language_model_of(options, folder):
    """The one that is given, or that of the words of another split."""
    if options.language_model is not None:
        return LanguageModel(options.language_model)
    transcripts = read_transcripts(options.data, [options.train_split])
    path = Path(folder) / "words.arpa"
    write_arpa(path, estimate_ngrams(transcripts, options.order))
    return LanguageModel(path)


class MadeUpSession:
    """A session whose pushes are log-probabilities: the committed frames, and
    those ahead."""

    def __init__(self, search):
        self.text = ""
        self._search = search
        self._state = search.make_streaming_context()
        self._text_state = TextState()

    def push(self, frames):
        """Takes committed frames and those ahead, each (frames, labels)."""
        committed, ahead = frames
        tokens = self._search.advance(committed, self._state)
        self.text += self._text_of(tokens, self._text_state)
        tokens = self._search.look_ahead(ahead, self._state)
        return Transcript("", self._text_of(tokens, self._text_state.fork()))

    def finish(self):
        """Ends the stream."""
        nothing = np.zeros((0, len(CHARACTERS)))
        tokens = self._search.advance(nothing, self._state, final=True)
        self.text += self._text_of(tokens, self._text_state)

    def _text_of(self, tokens, state):
        labels = [token.label for token in tokens]
        return DECODER.decode_streaming(labels, state)


def make_up(text, generator, noise):
    """Frames that say a text in characters, with noise on their logits,
    (frames, labels)."""
    rows = []
    for character in text:
        for _ in range(generator.integers(1, 3)):
            rows.append(CHARACTERS.index(character))
        rows += [0] * generator.integers(1, 4)
    logits = generator.normal(size=(len(rows), len(CHARACTERS))) * noise
    logits[range(len(rows)), rows] += 6.0
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def measure_made_up(options):
    """Rows of the searches, of made up log-probabilities."""
    texts = make_texts(
        "sentences", {"lines": 20_000, "test": options.made_up}, seed=1
    )
    texts = {name: list(map(transcript_of, texts[name])) for name in texts}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.arpa"
        write_arpa(path, estimate_ngrams(texts["lines"], options.order))
        model = LanguageModel(path)
    generator = np.random.default_rng(0)
    items = [
        {
            "id": str(number),
            "wrd": text,
            "frames": make_up(text, generator, options.noise),
            "hotwords": sorted(set(text.split()) - model.words),
        }
        for number, text in enumerate(texts["test"])
    ]
    searches = {"greedy": GreedySearch()}
    for size in options.beam_sizes:
        name = f"beam of {size}"
        searches[name] = BeamSearch(DECODER, size, options.beam_prune_logp)
        with_model = BeamSearch(
            DECODER, size, options.beam_prune_logp, language_model=model
        )
        searches[f"{name}, language model"] = with_model
    searches[f"{name}, language model, hotwords"] = with_model
    count = round(options.push_seconds / FRAME_SECONDS)
    for name, shared in searches.items():
        figures = Figures()
        for item in items:
            search, frames = shared, item["frames"]
            if name.endswith("hotwords"):
                search = shared.with_hotwords(item["hotwords"])
            pushes = []
            for begin in range(0, len(frames), count):
                end = begin + count
                both = frames[begin:end], frames[end : end + LOOK_AHEAD]
                pushes.append((both, len(both[0]) * FRAME_SECONDS))
            text = figures.stream(item, MadeUpSession(search), pushes)
            whole_stream = MadeUpSession(search)
            whole_stream.push((frames, frames[:0]))
            whole_stream.finish()
            figures.compare(text, whole_stream.text)
        yield figures.row(name)


def measure_model(options):
    """Rows of the searches, of a model and its data."""
    asr = StreamingASR.from_hparams(options.model)
    with tempfile.TemporaryDirectory() as folder:
        items = load_split(options.data, options.split, folder, options.snr)
        items = items[: options.utterances]
        model = language_model_of(options, folder)
    searches = {"greedy": asr.search}
    for size in options.beam_sizes:
        kept = {"beam_size": size, "beam_prune_logp": options.beam_prune_logp}
        searches[f"beam of {size}"] = asr.beam_search(**kept)
        searches[f"beam of {size}, language model"] = asr.beam_search(
            **kept, language_model=model
        )
    for name, search in searches.items():
        yield measure(asr, search, items, options.push_seconds).row(name)


def parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="FOLDER")
    source.add_argument("--made_up", type=int, metavar="SENTENCES")
    parser.add_argument("--data", metavar="TREE", help="of --model")
    parser.add_argument("--split", default="test", metavar="NAME")
    parser.add_argument("--beam_sizes", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--beam_prune_logp", type=float, default=-10.0)
    parser.add_argument("--language_model", metavar="FILE")
    parser.add_argument(
        "--train_split", default="train", help="for a language model"
    )
    parser.add_argument("--order", type=int, default=3, help="of it")
    parser.add_argument(
        "--snr", type=float, help="add white noise at this ratio, in dB"
    )
    parser.add_argument(
        "--noise", type=float, default=1.3, help="on logits of --made_up"
    )
    parser.add_argument("--push_seconds", type=float, default=0.1)
    parser.add_argument("--utterances", type=int, help="take so many alone")
    parser.add_argument("--out", type=Path, metavar="FILE")
    return parser


def main(arguments=None):
    """Measures, and prints and writes a table.

    Arguments
    ---------
    arguments : list of str, optional
        sys.argv[1:] by default.
    """
    options = parser().parse_args(arguments)
    if options.model and not options.data:
        raise SystemExit("--data must be given with --model, got none")
    torch.set_num_threads(1)
    rows = measure_model if options.model else measure_made_up
    lines = []
    print(HEAD, end="", flush=True)
    for line in rows(options):
        lines.append(line)
        print(line, flush=True)
    if options.out is not None:
        options.out.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
