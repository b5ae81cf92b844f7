"""What the kernel counts of this process: Linux only."""

from pathlib import Path


def status(name):
    """A line of /proc/self/status.

    Arguments
    ---------
    name : str
        "VmRSS", the resident memory, "VmHWM", its peak, or another size.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    SystemExit
        If the kernel does not count it.
    """
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"{name}: the kernel does not count it")
