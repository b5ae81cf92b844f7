"""What every test and docstring example needs."""

import pytest
import torch
from speechbrain.utils.importutils import LazyModule

# tiny tensors: more threads only wait for each other
torch.set_num_threads(1)


def _no_file(ask):
    """hypothesis asks every loaded module for its file, at collection and
    when a test first draws, and SpeechBrain's lazy modules answer by importing
    what may not be installed: tell it of none."""

    def __getattr__(self, name):
        if name == "__file__":
            raise AttributeError(name)
        return ask(self, name)

    return __getattr__


LazyModule.__getattr__ = _no_file(LazyModule.__getattr__)


@pytest.fixture
def tiny_ctc():
    """A tiny ``StreamingCTC`` with random weights, as the docstring of that
    class makes one, and the ``TextDecoder`` of its labels."""
    from speechbrain_llsa.decoders.tokenizers import TextDecoder
    from tiny_model import make_model, make_tokenizer

    return make_model(), TextDecoder(make_tokenizer())


@pytest.fixture
def tiny_transducer():
    """A tiny ``StreamingTransducer`` with random weights, and the
    ``TextDecoder`` of its labels."""
    from speechbrain_llsa.decoders.tokenizers import TextDecoder
    from tiny_model import make_tokenizer
    from tiny_transducer import make_transducer

    return make_transducer(), TextDecoder(make_tokenizer())


@pytest.fixture
def tiny_wav2vec2():
    """A tiny wav2vec 2.0 model of torchaudio with random weights, laid out as
    BASE, with a head of 5 labels."""
    from tiny_wav2vec2 import make_torchaudio

    return make_torchaudio(large=False)
