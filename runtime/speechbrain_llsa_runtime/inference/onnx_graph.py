"""A graph as ONNX Runtime runs it, in whichever process it is used."""

import ctypes
import hashlib
import os
import weakref
from pathlib import Path

import numpy as np

from speechbrain_llsa_runtime.utils.errors import reason
from speechbrain_llsa_runtime.utils.processes import available_cpus

ERRORS = 3
"""The least severity of what ONNX Runtime writes to standard error."""


class OnnxGraph:
    """A graph, and the session of ONNX Runtime that runs it.

    The session is of one process. A process that is forked, or that is given
    the graph by pickle, opens the file anew.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    threads : int, optional
        Threads that it may use, of those CPUs that the process may use. As
        ONNX Runtime chooses by default, or all of these CPUs where they are
        not all of the machine.
    about : bytes
        What the digest begins with.

    Raises
    ------
    ImportError
        If ONNX Runtime is not installed.
    ValueError
        If the graph is damaged.
    """

    def __init__(self, path, threads=None, about=b""):
        self._path = Path(path).absolute()
        self.threads = _allowed_threads(threads)
        self._about = about
        self.digest = self._digest()
        self._open()

    @property
    def name(self):
        """Name of the file."""
        return self._path.name

    def inputs(self):
        """Name, shape and type of each input."""
        return self._current_session().get_inputs()

    def outputs(self):
        """Name, shape and type of each output."""
        return self._current_session().get_outputs()

    def run(self, feeds):
        """Computes all outputs.

        Arguments
        ---------
        feeds : dict
            The array of each input, by name.

        Returns
        -------
        list of numpy.ndarray

        Raises
        ------
        ValueError
            If the graph cannot be run, or the file is another one by now.
        """
        session = self._current_session()
        try:
            return session.run(None, feeds)
        except Exception as error:
            raise self._refused(error) from error

    def __getstate__(self):
        return {**vars(self), "_session": None}

    def __setstate__(self, state):
        vars(self).update(state)
        self.threads = _allowed_threads(self.threads)
        self._current_session()

    def _current_session(self):
        if self._session is None:
            if not self._path.is_file() or self._digest() != self.digest:
                raise ValueError(
                    f"folder must hold the {self.name} that was loaded, got "
                    "another or none"
                )
            self._open()
        return self._session

    def _open(self):
        onnxruntime = import_runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS
        options.intra_op_num_threads = self.threads or 0
        try:
            self._session = onnxruntime.InferenceSession(
                str(self._path),
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=False,
            )
        except Exception as error:
            raise self._refused(error) from error
        _opened.add(self)

    def _refused(self, error):
        """ONNX Runtime has a class of its own for each kind of failure, all of
        them plain exceptions."""
        return ValueError(
            "folder must hold graphs that ONNX Runtime loads, got a damaged "
            f"{self.name}: {reason(error)}"
        )

    def _digest(self):
        digest = hashlib.sha256(self._about)
        with open(self._path, "rb") as graph:
            while block := graph.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def _abandon(self):
        """Leaves a session whose threads are in another process. It is kept
        for ever, since its end would join them."""
        session, self._session = self._session, None
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


_opened = weakref.WeakSet()


def _abandon_all():
    for graph in _opened:
        graph._abandon()
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def _allowed_threads(threads):
    cpus = available_cpus()
    if threads is not None:
        return min(threads, cpus)
    return cpus if cpus < (os.cpu_count() or 1) else None


def import_runtime():
    """Imports ONNX Runtime.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed, or does not load.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ImportError(
            "onnxruntime: not installed, needed to run exported models: "
            'pip install "speechbrain-llsa[onnx]"'
        ) from error
    except ImportError as error:
        raise ImportError(
            "onnxruntime must be one that loads here, got one that does not "
            f"with NumPy {np.__version__}; with NumPy 2 it takes 1.19 or "
            f"newer: {reason(error)}"
        ) from error
    return onnxruntime


def release(version):
    """The first two numbers of a version.

    Arguments
    ---------
    version : str
        Such as "1.20.1".

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If it is not a version.

    Example
    -------
    >>> release("1.20.1") > release("1.9")
    True
    """
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def check_runtime(oldest):
    """Refuses an ONNX Runtime that cannot run the graphs of a folder.

    Arguments
    ---------
    oldest : str
        The oldest one that can.

    Raises
    ------
    ImportError
        If it is older, not installed, or does not load.
    """
    version = import_runtime().__version__
    if release(version) < release(oldest):
        raise ImportError(
            f"folder: needs onnxruntime {oldest} or newer, got {version}"
        )
