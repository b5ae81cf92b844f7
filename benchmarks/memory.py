"""Peak memory of one attention, forward and backward, in a process of its own.

> python benchmarks/memory.py sa 8000

prints the bytes by which the resident memory grew at most. Linux with glibc
only: the kernel counts the peak, /proc/self/clear_refs sets it back.
"""

import argparse
import ctypes
import gc
import subprocess
import sys
from pathlib import Path

from common import (
    attend,
    check_at_least_one,
    random_inputs,
    with_gradients,
)
from process_status import status
from speechbrain_llsa_runtime.geometry import StreamGeometry

SIZES = {
    "heads": 8,
    "head_dim": 64,
    "look_back": 64,
    "look_ahead": 8,
    "threads": 2,
}
"""Further arguments, and what they are by default."""


def main(arguments=None):
    """Does the work once on a short utterance, for the code that it loads,
    and then on the whole."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("attention", choices=("aa", "maa", "sa"))
    parser.add_argument("frames", type=int)
    for name, default in SIZES.items():
        parser.add_argument(name, type=int, nargs="?", default=default)
    options = parser.parse_args(arguments)
    check_at_least_one(parser, options, "frames", *SIZES)
    torch.set_num_threads(options.threads)
    geometry = StreamGeometry(options.look_back, options.look_ahead)

    def work(inputs, weight):
        with_gradients(
            lambda x: attend(x, geometry, options.attention), inputs, weight
        )

    heads, head_dim = options.heads, options.head_dim
    inputs = random_inputs(heads, 4 * options.look_back, head_dim)
    work(inputs, torch.randn_like(inputs[0]))
    inputs = random_inputs(heads, options.frames, head_dim)
    weight = torch.randn_like(inputs[0])
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is no part of before
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status("VmRSS")
    work(inputs, weight)
    print(status("VmHWM") - before)


def peak_memory(attention, frames, heads, head_dim, geometry, threads):
    """Bytes by which memory grows at most, forward and backward.

    Arguments
    ---------
    attention : str
        One of aa, maa and sa.
    frames : int
        Frames of the utterance.
    heads : int
        Attention heads.
    head_dim : int
        Features of a head.
    geometry : StreamGeometry
        Look-back and look-ahead in frames.
    threads : int
        Threads of PyTorch.

    Returns
    -------
    int
    """
    sizes = (
        frames,
        heads,
        head_dim,
        geometry.look_back,
        geometry.look_ahead,
        threads,
    )
    command = [sys.executable, __file__, attention, *map(str, sizes)]
    return int(subprocess.check_output(command, text=True))


if __name__ == "__main__":
    main()
