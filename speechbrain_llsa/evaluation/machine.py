"""What something was measured on."""

import os
import platform
from pathlib import Path

import torch


def describe_machine(device="cpu"):
    """The machine that this process runs on.

    Arguments
    ---------
    device : str or torch.device
        Where PyTorch computes.

    Returns
    -------
    str
        Processor, cores, the GPU if the device is one, and PyTorch.

    Example
    -------
    >>> " cores, PyTorch " in describe_machine()
    True
    """
    device = torch.device(device)
    gpu = ""
    if device.type == "cuda":
        gpu = f", {torch.cuda.get_device_name(device)}"
    return (
        f"{processor()}, {os.cpu_count()} cores{gpu}, "
        f"PyTorch {torch.__version__}"
    )


def processor():
    """The name of the processor.

    Returns
    -------
    str
    """
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
