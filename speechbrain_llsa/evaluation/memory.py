"""Peak memory of the process, as the operating system counts it."""

import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures the peak memory of the code that runs within it.

    Arguments
    ---------
    device : str or torch.device
        Device that PyTorch computes on.

    Example
    -------
    >>> with PeakMemory() as memory:
    ...     ones = torch.ones(1 << 20)
    >>> memory.process_bytes > 4 << 20
    True
    """

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

        self.process_bytes = None
        """Peak resident set of the process: Python, libraries, models and data
        together. On Linux since :meth:`__enter__`, elsewhere since the process
        started; ``None`` where the system does not report it."""

        self.device_bytes = None
        """Peak memory that PyTorch allocated on a CUDA device. ``None`` on
        other devices."""

    def __enter__(self):
        with suppress(OSError):  # other systems cannot reset the peak
            _RESET.write_text("5", encoding="ascii")
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        return self

    def __exit__(self, *exception):
        self.process_bytes = _peak_of_process()
        if self.device.type == "cuda":
            self.device_bytes = torch.cuda.max_memory_allocated(self.device)


def _peak_of_process():
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
