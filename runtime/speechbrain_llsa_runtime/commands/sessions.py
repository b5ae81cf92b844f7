"""Sessions of a command, configured by its options."""

from dataclasses import dataclass
from typing import Any

from speechbrain_llsa_runtime.commands.channel import add_channel_argument
from speechbrain_llsa_runtime.commands.endpoint_options import (
    add_endpoint_arguments,
    choose_endpointer,
    rules_from_options,
)
from speechbrain_llsa_runtime.commands.models import (
    ExportedModels,
    add_geometry_arguments,
)
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcript import SegmentCollector


def add_session_arguments(parser, models=None, endpoint=None):
    """Declares the arguments of the model and of its sessions.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    models : ExportedModels, optional
        The models that the command may work with.
    endpoint : bool, optional
        Whether segments are closed if the command line does not say. By
        default, the model's YAML file decides.
    """
    models = ExportedModels() if models is None else models
    models.add_arguments(parser)
    parser.set_defaults(models=models)
    add_geometry_arguments(parser)
    add_channel_argument(parser)
    add_endpoint_arguments(parser, endpoint)


def load_sessions(arguments):
    """Loads the model that the arguments name.

    Arguments
    ---------
    arguments : argparse.Namespace
        As :func:`add_session_arguments` declares them.

    Returns
    -------
    Sessions

    Raises
    ------
    FileNotFoundError
        If the model does not exist.
    ValueError
        If the model cannot be read, options contradict each other, or it is not
        trained for the hop or the look-ahead.
    """
    rules = rules_from_options(arguments)
    asr = arguments.models.load(arguments)
    endpointer = choose_endpointer(arguments, rules, asr.endpointer)
    geometry = {"hop": arguments.hop, "look_ahead": arguments.look_ahead}
    latency = asr.latency_report(**geometry).declared_latency
    options = {
        **geometry,
        "search": arguments.models.choose_search(asr, arguments),
        "channel": arguments.channel,
    }
    return Sessions(asr, endpointer, options, latency.look_ahead_seconds)


@dataclass(frozen=True)
class Sessions:
    """Factory for sessions of one model with fixed options."""

    asr: Any
    """The model, such as an ``OnnxStreamingASR``."""

    endpointer: Endpointer | None
    """Decides where segments close; ``None`` if they never do."""

    options: dict
    """Further options of each session."""

    look_ahead_seconds: float
    """Declared look-ahead of the sessions."""

    def begin(self, output, bar, keep_words=False):
        """Starts the transcription of a stream.

        Arguments
        ---------
        output : JsonOutput
            Or another of :mod:`speechbrain_llsa_runtime.commands.text_output`.
        bar : tqdm.tqdm
            Progress bar below the text.
        keep_words : bool
            Whether to keep the words of the whole stream.

        Returns
        -------
        Transcription
        """
        session = self.asr.session(
            endpointer=self.endpointer or False, **self.options
        )
        return Transcription(session, output, bar, keep_words)


class Transcription:
    """Transcription of one stream; text goes to an output as it is committed.

    Arguments
    ---------
    session : Session
        The session of the stream.
    output : JsonOutput
        Or another of :mod:`speechbrain_llsa_runtime.commands.text_output`.
    bar : tqdm.tqdm
        Progress bar below the text.
    keep_words : bool
        Whether to keep the words of the whole stream.
    """

    def __init__(self, session, output, bar, keep_words):
        self.words = []
        self._session = session
        self._output = output
        self._bar = bar
        self._keep_words = keep_words
        self._segments = SegmentCollector()

    def push(self, samples, sample_rate):
        """Pushes the next samples, and shows the resulting text.

        Arguments
        ---------
        samples : numpy.ndarray
            As for ``Session.push``.
        sample_rate : int
            Samples per second.
        """
        self._show(self._session.push(samples, sample_rate))

    def finish(self):
        """Ends the stream, and shows the rest of the text."""
        number = self._show(self._session.finish())
        closed_segments = self._segments.finish()
        self._output.end(self._session.text, number, closed_segments, self._bar)

    def _show(self, transcript):
        if self._keep_words:
            self.words += transcript.final_words
        closed_segments = self._segments.take(transcript)
        self._output.show(transcript, closed_segments, self._bar)
        return transcript.segment
