"""Neural network modules that stream."""

import os
from functools import partial

import torch

# The threads of OpenMP do not live on in a forked process, where the next
# operation that asks for them would wait for ever. One thread asks for none.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
