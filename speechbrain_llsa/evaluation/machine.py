"""Description of the hardware and software that measurements ran on."""

import os
import platform
from pathlib import Path

import torch


def describe_machine(device="cpu"):
    """Describes the machine that this process runs on.

    Arguments
    ---------
    device : str or torch.device
        Device that PyTorch computes on.

    Returns
    -------
    str
        Processor, number of cores, the GPU if the device is one, and the
        version of PyTorch.

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
    """Name of the processor.

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
