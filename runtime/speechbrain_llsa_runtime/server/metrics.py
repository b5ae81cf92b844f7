"""What the server measures, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from speechbrain_llsa_runtime.server.engine import Engine, Observer

DELAYS = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics(Observer):
    """The metrics of one server.

    Example
    -------
    >>> metrics = Metrics()
    >>> metrics.stepped(rows=3, seconds=0.01)
    >>> b"llsa_step_rows_sum 3.0" in metrics.text()
    True
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.opened = Counter(
            "llsa_sessions_opened",
            "Sessions that have begun, by protocol",
            ["protocol"],
            registry=registry,
        )
        self.refused = Counter(
            "llsa_sessions_refused",
            "Requests that were refused, by reason",
            ["reason"],
            registry=registry,
        )
        self.closed = Counter(
            "llsa_closes",
            "Connections that were closed, by WebSocket code",
            ["code"],
            registry=registry,
        )
        self._audio = Counter(
            "llsa_audio_seconds",
            "Seconds of audio that were taken",
            registry=registry,
        )
        self._delay = Histogram(
            "llsa_commit_delay_seconds",
            "From the arrival of audio to the commitment of its text",
            buckets=DELAYS,
            registry=registry,
        )
        self._step = Histogram(
            "llsa_step_seconds",
            "Duration of a step of the model",
            buckets=STEPS,
            registry=registry,
        )
        self._rows = Histogram(
            "llsa_step_rows",
            "Streams in a step of the model",
            buckets=ROWS,
            registry=registry,
        )

    def watch(self, engine: Engine) -> None:
        """Adds what is read from the engine.

        Arguments
        ---------
        engine : Engine
            The engine of the server.
        """
        for name, about, read in (
            (
                "llsa_sessions_open",
                "Sessions that go on",
                lambda: engine.slots - engine.free_slots,
            ),
            (
                "llsa_sessions_most",
                "Sessions that there may be at once",
                lambda: engine.slots,
            ),
            (
                "llsa_queued_seconds",
                "Seconds of audio that wait, of all sessions",
                lambda: engine.queued_seconds,
            ),
        ):
            gauge = Gauge(name, about, registry=self._registry)
            gauge.set_function(read)

    def stepped(self, rows: int, seconds: float) -> None:
        """A step of so many streams has taken so long."""
        self._step.observe(seconds)
        self._rows.observe(rows)

    def committed(self, delay_seconds: float) -> None:
        """Text has been committed, so long after its audio came."""
        self._delay.observe(delay_seconds)

    def audio(self, seconds: float) -> None:
        """So much audio has been taken."""
        self._audio.inc(seconds)

    def text(self) -> bytes:
        """All metrics, in the format of Prometheus.

        Returns
        -------
        bytes
        """
        return generate_latest(self._registry)
