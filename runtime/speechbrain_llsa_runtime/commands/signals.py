"""The signals that ask a command to end."""

import contextlib
import signal
import threading

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class Ended(KeyboardInterrupt):
    """A signal has broken off what ran.

    Arguments
    ---------
    number : int
        The signal.

    Example
    -------
    >>> Ended(signal.SIGTERM).exit_code
    143
    """

    def __init__(self, number):
        super().__init__(number)
        self.exit_code = 128 + number


@contextlib.contextmanager
def breaking_off():
    """Every signal raises ``Ended``, so that what runs can clean up. In the
    main thread; one that is ignored, as by nohup, stays so.

    Example
    -------
    >>> try:
    ...     with breaking_off():
    ...         signal.raise_signal(signal.SIGTERM)
    ... except Ended as ended:
    ...     print(ended.exit_code)
    143
    """
    with _handled(_break_off):
        yield


@contextlib.contextmanager
def told():
    """The first signal is told, and does not break off what runs; the second
    one does. An interrupt is told also where it was ignored, as in the
    background of a script.

    Yields
    ------
    threading.Event
        Set by the first signal.

    Example
    -------
    >>> with told() as ended:
    ...     signal.raise_signal(signal.SIGTERM)
    >>> ended.is_set()
    True
    """
    ended = threading.Event()

    def tell(number, frame):
        ended.set()
        for each in SIGNALS:
            if signal.getsignal(each) is tell:
                signal.signal(each, _break_off)
        _ignore_hang_ups()

    with _handled(tell, signal.SIGINT):
        yield ended


def _break_off(number, frame):
    _ignore_hang_ups()
    raise Ended(number)


def _ignore_hang_ups():
    """When a terminal closes, the shell and the kernel both tell: the second
    one is nobody who cannot wait."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextlib.contextmanager
def _handled(handler, *always):
    """Sets a handler, and at last what was there before."""
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
