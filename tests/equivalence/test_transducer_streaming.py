"""Transducers stream as CTC models do: any split, any batch, forks, snapshots,
threads and SpeechBrain's own class give what offline gives."""

import copy
import random
import threading

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from snapshot_files import close_up, open_up
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.decoders.transducer_beam_search import (
    TransducerBeamSearch,
)
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from tiny_model import (
    CONFORMER,
    IMPORTED,
    make_front_end,
    make_log_mel,
    make_signal,
    make_tokenizer,
)
from tiny_model import split as split_signal
from tiny_transducer import make_transducer
from transcripts import committed, final_words, push_all, rounded

DECODER = TextDecoder(make_tokenizer())
MODELS = {
    "llsa": {},
    "llsa, hop 8": {"hop": 8, "look_ahead": 0},
    "sa": {"attention": "sa"},
    "maa": {"attention": "maa", "look_ahead": 1},
    "imported": {"extractor": make_front_end(), **IMPORTED},
    # what SpeechBrain's recipe for transducers is made of
    "log mel, Conformer": {"extractor": make_log_mel(), **CONFORMER},
}
SPLITS = st.lists(
    st.one_of(st.integers(0, 700), st.integers(0, 12000)), max_size=8
)


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return make_transducer(**MODELS[request.param])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_streaming_folder(
        tmp_path_factory.mktemp("transducer") / "streaming",
        make_transducer(),
        make_tokenizer(),
    )


@pytest.fixture(scope="module")
def asr(folder):
    return StreamingASR.from_hparams(folder)


def offline_tokens(model, signal):
    search = model.greedy_search()
    with torch.no_grad():
        frames, _ = model(signal[None])
    state = search.make_streaming_context()
    return frames[0], search.advance(frames[0], state, final=True)


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(0, 30000), lengths=SPLITS)
def test_any_split_in_double_precision(model, samples, lengths):
    """Frames, labels, their places and their confidences."""
    model = copy.deepcopy(model).double()
    signal = make_signal(samples, seed=samples).double()
    expected, tokens = offline_tokens(model, signal)
    search, context = model.greedy_search(), model.make_streaming_context()
    state, frames, said = search.make_streaming_context(), [], []
    with torch.no_grad():
        pushes = split_signal(signal, lengths)
        for push in pushes:
            frames.append(model.forward_streaming(push[None], context)[0])
            said += search.advance(frames[-1], state)
        frames.append(model.flush(context)[0])
    said += search.advance(frames[-1], state, final=True)
    streamed = torch.cat(frames)
    assert streamed.shape == expected.shape
    assert not len(expected) or (streamed - expected).abs().max() < 1e-10
    assert len(said) == len(tokens)
    for one, other in zip(said, tokens, strict=True):
        assert (one.label, one.start, one.end) == (
            other.label,
            other.start,
            other.end,
        )
        assert one.confidence == pytest.approx(other.confidence, abs=1e-10)


def test_there_is_something_to_say(model):
    """Frames without a label, with one and with several, and provisional
    text."""
    _, tokens = offline_tokens(model, make_signal(60000))
    starts = [token.start for token in tokens]
    assert len(tokens) > 40 and len(set(starts)) < 150
    assert any(starts.count(start) > 1 for start in starts)
    assert len({token.label for token in tokens}) > 4


def test_provisional_text_follows_committed_text(asr):
    """It is what the session would say if the frames ahead were the last."""
    session, seen = asr.session(), 0
    for push in make_signal(60000).split(1600):
        transcript = session.push(push)
        seen += bool(transcript.provisional)
    assert seen > 5


def test_a_fork_goes_on_by_itself(model):
    signal = make_signal(30000)
    session = Session(model, DECODER, endpointer=Endpointer())
    session.push(signal[:17001])
    fork = session.fork()
    session.push(make_signal(20000, 9))
    whole = Session(model, DECODER, endpointer=Endpointer())
    whole.push(signal)
    fork.push(signal[17001:])
    assert fork.finish().segment == whole.finish().segment
    assert fork.text == whole.text


@pytest.mark.parametrize("hotwords", [None, ["FADED", "A CAB"]])
def test_a_stream_moves_in_and_out_of_batches(model, hotwords):
    """By snapshots, at any time, next to others; with a beam search too."""
    options = {"endpointer": Endpointer()}
    if hotwords is not None:
        options["search"] = TransducerBeamSearch(
            DECODER, model.greedy_search(), beam_size=4, hotwords=hotwords
        )
    signal, schedule = make_signal(40000, 3), random.Random(5)
    whole = Session(model, DECODER, **options)
    expected = committed(push_all(whole, [signal]))
    batchers = [SessionBatcher(model, DECODER, 2, **options) for _ in "ab"]
    batchers[0].session().push(make_signal(9000, 4))
    session, said = Session(model, DECODER, **options), ""
    while len(signal):
        size = schedule.choice([1, 400, 3000, 9000])
        said += session.push(signal[:size]).committed
        signal = signal[size:]
        data = session.snapshot()
        batched = schedule.choice(batchers).session(snapshot=data)
        assert batched.snapshot() == data
        size = schedule.choice([400, 3000])
        batched.push(signal[:size])
        signal = signal[size:]
        while any(batcher.step() for batcher in batchers):
            pass
        said += batched.read().committed
        data = batched.snapshot()
        said += batched.read().committed
        batched.close()
        session = Session(model, DECODER, data, **options)
    assert said + session.finish().committed == expected
    assert len(expected) > (20 if hotwords is None else 3)


@pytest.mark.parametrize("place", ["history.0", "history.1"])
def test_a_damaged_snapshot_is_refused(model, place):
    """Labels that the model has not, or a blank behind a label."""
    session = Session(model, DECODER)
    session.push(make_signal(30000))
    about, arrays = open_up(session.snapshot())
    name = f"transcriber.search.{place}"
    assert about["values"][name] > 0
    wrong = [9, -1, 1.0, "A", None] + [0] * (place == "history.1")
    for value in wrong:
        changed = {**about, "values": {**about["values"], name: value}}
        with pytest.raises(ValueError, match=r"^snapshot must .*got"):
            Session(model, DECODER, close_up(changed, arrays))
    Session(model, DECODER, close_up(about, arrays))


def test_a_snapshot_is_of_a_decoder(model):
    """Another predictor or joiner, or another limit, would go on otherwise."""
    session = Session(model, DECODER)
    session.push(make_signal(9000))
    others = [copy.deepcopy(model) for _ in "ab"]
    with torch.no_grad():
        others[0].decoder.embedding.weight[3] += 1
    others[1].decoder.max_symbols = 1
    for other in others:
        with pytest.raises(ValueError, match=r"snapshot must .*got one of"):
            Session(other, DECODER, session.snapshot())


def test_threads_share_a_model(asr):
    """Eight sessions at once say what they say one after the other."""
    signals = [make_signal(15000, seed) for seed in range(8)]
    expected = [committed(push_all(asr.session(), [s])) for s in signals]
    said = [None] * len(signals)

    def work(number):
        pushes = signals[number].split(1000 + number)
        said[number] = committed(push_all(asr.session(), pushes))

    threads = [
        threading.Thread(target=work, args=(number,))
        for number in range(len(signals))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == expected


def test_a_written_folder_is_the_model(folder, asr):
    """All its weights, and its limit of labels."""
    model = make_transducer()
    for name, weight in model.state_dict().items():
        assert asr.model.state_dict()[name].equal(weight), name
    assert asr.model.decoder.max_symbols == model.decoder.max_symbols
    assert asr.model.fingerprint() == model.fingerprint()
    assert (folder / "decoder.safetensors").is_file()


@pytest.mark.parametrize("chunk_size", [2, 16, 50])
def test_speechbrain_streams_the_folder(folder, asr, tmp_path, chunk_size):
    """SpeechBrain's own class, unmodified, gives the text of the session and
    of offline, also for a batch."""
    signal = make_signal(50000).numpy()
    soundfile.write(tmp_path / "a.wav", signal, 16000, subtype="FLOAT")
    theirs = SpeechBrainStreamingASR.from_hparams(source=str(folder))
    text = theirs.transcribe_file(
        str(tmp_path / "a.wav"),
        DynChunkTrainConfig(chunk_size),
        use_torchaudio_streaming=False,
    )
    assert text == asr.transcribe_file(tmp_path / "a.wav")
    assert text == asr.transcribe_file_offline(tmp_path / "a.wav")
    assert len(text) > 20
    rows = [make_signal(16000, seed) for seed in range(3)]
    context = theirs.make_streaming_context(DynChunkTrainConfig(chunk_size))
    texts = [""] * 3
    chunks = torch.stack(rows).split(chunk_size * 320, dim=1)
    ends = [torch.ones(3)] * len(chunks) + [torch.zeros(3)]
    for chunk, end in zip([*chunks, torch.zeros(3, 640)], ends, strict=True):
        new = theirs.transcribe_chunk(context, chunk, end)
        texts = [text + part for text, part in zip(texts, new, strict=True)]
    assert texts == asr.transcribe_batch(torch.stack(rows))
    assert min(map(len, texts)) > 8


def test_offline_batches_do_not_matter(asr):
    """Rows of a padded batch are transcribed as alone."""
    rows = [make_signal(n, n) for n in (30000, 12345, 900)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) / 30000 for row in rows])
    alone = [asr.transcribe_batch(row[None])[0] for row in rows]
    assert asr.transcribe_batch(padded, lengths) == alone


def test_words_of_a_file_are_those_of_its_stream(asr, tmp_path):
    signal = make_signal(70000).numpy()
    soundfile.write(tmp_path / "a.wav", signal, 44100, subtype="FLOAT")
    expected = asr.transcript_offline(tmp_path / "a.wav")
    said = push_all(asr.session(), np.array_split(signal, 9), 44100)
    assert final_words(said) == rounded(expected.words)
    assert expected.words
