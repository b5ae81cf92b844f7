"""Sessions of one model in threads give what each gives alone, bit by bit.

Bit by bit, since a session's numbers come from its own tensors by the same
operations on the same shapes, whoever else runs: the model is only read, no
tensor of a state is written to, and each operation has one order of sums for
given shapes and one thread of its own.
"""

import sys
import threading

import pytest
import torch

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import make_model, make_signal, make_tokenizer

ATTENTIONS = ["llsa", "sa", "maa"]
RATES = (16000, 44100, 8000, 22050)
HOPS, LOOK_AHEADS = (2, 1, 5), (4, 0, 7, 2)
DECODER = TextDecoder(make_tokenizer())


def live(model, worker, seconds, moving):
    """One stream, with its own geometry, in pushes of its own lengths: all
    transcripts, and a snapshot after each, which holds every tensor of the
    state. With ``moving``, each push goes to a session loaded from the last
    snapshot."""
    torch.set_num_threads(1)
    sample_rate = RATES[worker % len(RATES)]
    signal = make_signal(round(seconds * sample_rate), seed=worker)
    hop, look_ahead = HOPS[worker % 3], LOOK_AHEADS[worker % 4]
    session = Session(model, DECODER, hop=hop, look_ahead=look_ahead)
    said = []
    for part in signal.split(1111 + 997 * worker):
        said.append(session.push(part, sample_rate))
        said.append(session.snapshot())
        if moving:
            session = Session(model, DECODER, said[-1])
    said.append(session.finish())
    return [*said, session.text]


def together(model, workers, seconds, moving):
    """The same in threads that begin at once, and change often."""
    results, errors = [None] * workers, []
    barrier = threading.Barrier(workers)

    def work(worker):
        try:
            barrier.wait()
            results[worker] = live(model, worker, seconds, moving(worker))
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [
            threading.Thread(target=work, args=(worker,))
            for worker in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors, errors
    return results


def compare(attention, workers, seconds, repeats):
    model = make_model(attention, hop=HOPS, look_ahead=LOOK_AHEADS)
    alone = [live(model, w, seconds, False) for w in range(workers)]
    assert len({said[-1] for said in alone}) == workers
    for moving in (lambda worker: False, lambda worker: worker % 2 == 0):
        for _ in range(repeats):
            assert together(model, workers, seconds, moving) == alone


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_threads(attention):
    """Four at once, without and with loading and snapshots in between."""
    compare(attention, workers=4, seconds=1.0, repeats=1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_threads_long(attention):
    compare(attention, workers=8, seconds=5.0, repeats=5)


def test_the_first_snapshots_at_once():
    """The fingerprint of a model is the same for all who ask first."""
    for _ in range(20):
        model = make_model()
        barrier, digests = threading.Barrier(4), []

        def ask(model=model, barrier=barrier, digests=digests):
            barrier.wait()
            digests.append(model.fingerprint())

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(digests) == 4
        assert len(set(digests)) == 1
