"""Signal handling: the first Ctrl-C finishes gracefully, the second interrupts
at once."""

import contextlib
import signal
import threading

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class Interrupted(KeyboardInterrupt):
    """Raised when a signal interrupts a command.

    Arguments
    ---------
    number : int
        The signal.

    Example
    -------
    >>> Interrupted(signal.SIGTERM).exit_code
    143
    """

    def __init__(self, number):
        super().__init__(number)
        self.exit_code = 128 + number


@contextlib.contextmanager
def interrupt_on_signals():
    """Makes signals raise ``Interrupted`` in the main thread, so that the code
    within can clean up. Signals that are ignored, as under nohup, stay so.

    Example
    -------
    >>> try:
    ...     with interrupt_on_signals():
    ...         signal.raise_signal(signal.SIGTERM)
    ... except Interrupted as error:
    ...     print(error.exit_code)
    143
    """
    with _handle_signals(_interrupt):
        yield


@contextlib.contextmanager
def finish_on_signal():
    """Turns the first signal into a request to finish; the second interrupts at
    once. SIGINT is handled even where it was ignored, as for a script's
    background jobs.

    Yields
    ------
    threading.Event
        Set by the first signal.

    Example
    -------
    >>> with finish_on_signal() as finish_requested:
    ...     signal.raise_signal(signal.SIGTERM)
    >>> finish_requested.is_set()
    True
    """
    finish_requested = threading.Event()

    def request_finish(number, frame):
        finish_requested.set()
        for handled in SIGNALS:
            if signal.getsignal(handled) is request_finish:
                signal.signal(handled, _interrupt)
        _ignore_hangups()

    with _handle_signals(request_finish, signal.SIGINT):
        yield finish_requested


def _interrupt(number, frame):
    _ignore_hangups()
    raise Interrupted(number)


def _ignore_hangups():
    """When a terminal closes, both the shell and the kernel send SIGHUP. The
    second one is not an impatient user, so it must not interrupt."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextlib.contextmanager
def _handle_signals(handler, *always):
    """Sets a handler for signals, except ignored ones that are not in
    ``always``, and restores the previous handlers at the end."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if number in always or signal.getsignal(number) not in (
                signal.SIG_IGN,
                None,
            ):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
