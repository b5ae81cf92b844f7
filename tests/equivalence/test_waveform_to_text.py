"""From the waveform to the text: streaming gives the offline text.

By sessions, by our ``StreamingASR`` and by SpeechBrain's own, unmodified one.
"""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speechbrain.decoders.ctc import ctc_greedy_decode
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig
from speechbrain.utils.streaming import split_fixed_chunks, split_wav_lens

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import make_model, make_signal, make_tokenizer, split

ATTENTIONS = ["llsa", "sa", "maa"]


@pytest.fixture(scope="module", params=ATTENTIONS)
def folder(request, tmp_path_factory):
    """A written model of each attention that streams."""
    path = tmp_path_factory.mktemp(request.param) / "streaming"
    return write_streaming_folder(
        path, make_model(request.param), make_tokenizer()
    )


@pytest.fixture(scope="module")
def asr(folder):
    return StreamingASR.from_hparams(folder)


@pytest.fixture(scope="module")
def speechbrain_asr(folder):
    return SpeechBrainStreamingASR.from_hparams(source=str(folder))


def offline_text(asr, signal):
    """By SpeechBrain's greedy decoder, not ours."""
    with torch.no_grad():
        log_probs, lengths = asr.model(signal[None])
    (labels,) = ctc_greedy_decode(log_probs, torch.ones(1), blank_id=0)
    assert lengths.tolist() == [log_probs.shape[1]]
    return "".join(asr.hparams.tokenizer.decode_ndim(labels))


def session_text(session, pushes, sample_rate=None):
    texts = [session.push(p, sample_rate).committed for p in pushes]
    texts.append(session.finish().committed)
    assert "".join(texts) == session.text
    return session.text


def speechbrain_text(speechbrain_asr, path, chunk_size=16):
    return speechbrain_asr.transcribe_file(
        str(path),
        DynChunkTrainConfig(chunk_size),
        use_torchaudio_streaming=False,
    )


def save(path, signal, sample_rate=16000):
    soundfile.write(path, signal.numpy(), sample_rate, subtype="FLOAT")
    return path


def test_the_text_is_not_trivial(asr):
    """The tiny model says something, and uses all its letters."""
    text = offline_text(asr, make_signal(48000))
    assert len(text) > 40
    assert set(text) == set("ABCDEFG ")


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    samples=st.integers(0, 24000),
    lengths=st.lists(
        st.one_of(st.integers(0, 700), st.integers(0, 12000)), max_size=10
    ),
)
def test_any_split_of_a_session(asr, samples, lengths):
    """Pushes of any lengths, then finish: the offline text."""
    signal = make_signal(samples, seed=samples)
    text = session_text(asr.session(), split(signal, lengths))
    assert text == offline_text(asr, signal)


@pytest.mark.parametrize("hop", [1, 3, 8])
@pytest.mark.parametrize("look_ahead", [0, 2, 9])
def test_any_geometry(hop, look_ahead):
    """So for other geometries."""
    model = make_model(hop=hop, look_ahead=look_ahead)
    decoder = TextDecoder(make_tokenizer())
    signal = make_signal(30000)
    whole = session_text(Session(model, decoder), [signal])
    parts = session_text(Session(model, decoder), signal.split(1111))
    assert whole == parts
    assert len(whole) > 20


@pytest.mark.parametrize("samples", [0, 1, 640, 641, 1000])
def test_short_audio(asr, speechbrain_asr, tmp_path, samples):
    """Audio with no frame has no text, with one frame at most a letter."""
    signal = make_signal(samples)
    text = session_text(asr.session(), [signal])
    assert text == offline_text(asr, signal)
    assert text == asr.transcribe_batch(signal[None])[0]
    path = save(tmp_path / "short.wav", signal)
    assert asr.transcribe_file(path) == text
    assert speechbrain_text(speechbrain_asr, path) == text
    assert len(text) <= 2
    if samples < 641:
        assert text == ""


def test_offline_batch_equals_rows_alone(asr):
    """Rows of a padded batch have the text that each has alone."""
    signals = [make_signal(n, seed=n) for n in (20000, 9000, 641, 300)]
    wavs = torch.nn.utils.rnn.pad_sequence(signals, batch_first=True)
    wavs[1, 9000:] = 7.0
    wav_lens = torch.tensor([len(signal) / 20000 for signal in signals])
    texts = asr.transcribe_batch(wavs, wav_lens)
    assert texts == [offline_text(asr, signal) for signal in signals]
    with torch.no_grad():
        log_probs, lengths = asr.model(wavs, wav_lens)
    for row, signal in enumerate(signals):
        alone, _ = asr.model(signal[None])
        assert lengths[row] == alone.shape[1]
        if alone.shape[1]:
            error = log_probs[row, : lengths[row]] - alone[0]
            assert error.abs().max() < 1e-4


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100])
def test_rates_and_channels(asr, speechbrain_asr, tmp_path, sample_rate):
    """Other rates and stereo: all give the text of offline."""
    signal = torch.stack([make_signal(30000), make_signal(30000, 1)], dim=1)
    text = session_text(asr.session(), signal.split(777), sample_rate)
    assert len(text) > 10
    path = save(tmp_path / "stereo.wav", signal, sample_rate)
    assert asr.transcribe_file_offline(path) == text
    assert asr.transcribe_file(path, DynChunkTrainConfig(3)) == text
    assert speechbrain_text(speechbrain_asr, path) == text


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_sample_types(asr, dtype):
    """Integers mean what the same file read as floating point means."""
    signal = make_signal(16000).numpy().astype(np.float64)
    scale = 1.0
    if np.issubdtype(dtype, np.integer):
        scale = -float(np.iinfo(dtype).min)
    samples = (signal * scale).astype(dtype)
    expected = torch.from_numpy((samples / scale).astype(np.float32))
    texts = {
        session_text(asr.session(), np.array_split(samples, 7)),
        session_text(asr.session(), torch.from_numpy(samples).split(900)),
    }
    assert texts == {offline_text(asr, expected)}


def test_provisional_text_is_that_of_the_frames_ahead(asr):
    """With llsa each hop shows provisional text, with the others at most the
    one label whose end has not come; finish shows none."""
    signal, session = make_signal(48000), asr.session()
    shown = [session.push(s).provisional for s in signal.split(1600)]
    if asr.model.encoder_wrapper.latent_encoder.attention == "llsa":
        assert sum(map(bool, shown)) > len(shown) / 2
        assert max(map(len, shown)) > 1
    else:
        assert max(map(len, shown)) == 1
    assert session.finish().provisional == ""


def test_sessions_do_not_know_of_each_other(asr):
    """Sessions that take turns give what each gives alone."""
    signals = [make_signal(16000, seed) for seed in range(3)]
    sessions = [asr.session() for _ in signals]
    for parts in zip(*(signal.split(1500) for signal in signals), strict=True):
        for session, part in zip(sessions, parts, strict=True):
            session.push(part)
    for session, signal in zip(sessions, signals, strict=True):
        session.finish()
        assert session.text == offline_text(asr, signal)


@pytest.mark.parametrize("chunk_size", [1, 4, 16, 100])
@pytest.mark.parametrize("samples", [40000, 16 * 320 * 5])
def test_speechbrain_transcribes_a_file(
    asr, speechbrain_asr, tmp_path, chunk_size, samples
):
    """SpeechBrain's own class gives the offline text, whatever its chunks."""
    signal = make_signal(samples)
    path = save(tmp_path / "a.wav", signal)
    assert speechbrain_text(speechbrain_asr, path, chunk_size) == offline_text(
        asr, signal
    )
    assert asr.transcribe_file(path, DynChunkTrainConfig(chunk_size)) == (
        offline_text(asr, signal)
    )


def test_speechbrain_chunk_by_chunk(asr, speechbrain_asr):
    """``transcribe_chunk`` takes chunks of any length up to SpeechBrain's."""
    signal = make_signal(30000)
    config = DynChunkTrainConfig(16)
    context = speechbrain_asr.make_streaming_context(config)
    chunk_samples = speechbrain_asr.get_chunk_size_frames(config)
    assert chunk_samples == 16 * 320
    pushes = split(signal, [1000, 0, 5120, 1, 319, 4000, 0, 5000, 5000, 5000])
    silence = torch.zeros(1, chunk_samples)
    count = speechbrain_asr.hparams.fea_streaming_extractor
    count = count.get_recommended_final_chunk_count(chunk_samples)
    nothing = silence[:, :0]
    chunks = [push[None] for push in pushes] + [silence, nothing] * count
    ones = torch.ones(1)
    texts = [
        speechbrain_asr.transcribe_chunk(context, chunk, ones)
        for chunk in chunks
    ]
    assert "".join(text for (text,) in texts) == offline_text(asr, signal)


@pytest.mark.parametrize("final_length", [0.0, 1.0])
def test_speechbrain_batches_of_streams(asr, speechbrain_asr, final_length):
    """Streams that end at different times give what each gives alone."""
    lengths = [33000, 5120, 12345, 300, 0, 33000 - 5]
    signals = [make_signal(n, seed=n) for n in lengths]
    wavs = torch.nn.utils.rnn.pad_sequence(signals, batch_first=True)
    wav_lens = torch.tensor(lengths) / wavs.shape[1]
    config = DynChunkTrainConfig(16)
    chunk_samples = speechbrain_asr.get_chunk_size_frames(config)
    chunks = split_fixed_chunks(wavs, chunk_samples)
    chunk_lens = split_wav_lens([c.shape[-1] for c in chunks], wav_lens)
    chunks = [*chunks, *[torch.zeros(6, chunk_samples)] * 7]
    chunk_lens = [*chunk_lens, *[torch.full((6,), final_length)] * 7]
    context = speechbrain_asr.make_streaming_context(config)
    texts = [""] * 6
    for chunk, chunk_len in zip(chunks, chunk_lens, strict=True):
        new = speechbrain_asr.transcribe_chunk(context, chunk, chunk_len)
        texts = [text + more for text, more in zip(texts, new, strict=True)]
    assert texts == [offline_text(asr, signal) for signal in signals]


def test_speechbrain_zeros_inside_a_file(asr, speechbrain_asr, tmp_path):
    """A second of digital silence inside a file is audio like any other."""
    signal = make_signal(60000)
    signal[10000:30000] = 0.0
    path = save(tmp_path / "gap.wav", signal)
    assert speechbrain_text(speechbrain_asr, path) == offline_text(asr, signal)


@pytest.mark.parametrize("silence", [1000, 8000, 20000])
@pytest.mark.parametrize("where", ["start", "end"])
def test_speechbrain_zeros_at_the_edges(
    asr, speechbrain_asr, tmp_path, silence, where
):
    """Digital silence at the start or the end is audio as well."""
    signal = make_signal(50001)
    if where == "start":
        signal[:silence] = 0.0
    else:
        signal[-silence:] = 0.0
    path = save(tmp_path / "edge.wav", signal)
    assert speechbrain_text(speechbrain_asr, path) == offline_text(asr, signal)


@pytest.mark.parametrize("samples", [16000, 100000])
def test_speechbrain_nothing_but_zeros(asr, speechbrain_asr, tmp_path, samples):
    """A file of zeros gives as many frames as offline, each once."""
    counts = []
    decode = speechbrain_asr.hparams.decoding_function

    def count(push, context):
        counts.append(push.frames.shape[1])
        return decode(push, context)

    speechbrain_asr.hparams.decoding_function = count
    try:
        speechbrain_text(
            speechbrain_asr, save(tmp_path / "zeros.wav", torch.zeros(samples))
        )
    finally:
        speechbrain_asr.hparams.decoding_function = decode
    assert sum(counts) == asr.model.extractor.get_output_lengths(samples)


def test_speechbrain_long_silence_gives_each_frame_once(
    asr, speechbrain_asr, tmp_path
):
    """After a silence that was taken for the end, the stream goes on: no
    frame is lost or given twice, and what follows is as offline."""
    signal = make_signal(160000)
    signal[20000:80000] = 0.0
    counts, decode = [], speechbrain_asr.hparams.decoding_function

    def count(push, context):
        counts.append((push.first, push.frames.shape[1]))
        return decode(push, context)

    speechbrain_asr.hparams.decoding_function = count
    try:
        text = speechbrain_text(
            speechbrain_asr, save(tmp_path / "pause.wav", signal)
        )
    finally:
        speechbrain_asr.hparams.decoding_function = decode
    position = 0
    for first, frames in counts:
        assert first == position
        position += frames
    assert position == asr.model.extractor.get_output_lengths(160000)
    assert text[-60:] == offline_text(asr, signal)[-60:]


def test_speechbrain_refuses_audio_after_the_end_of_a_row(speechbrain_asr):
    """Samples for a row that has ended are an error, zeros are not."""
    config = DynChunkTrainConfig(16)
    context = speechbrain_asr.make_streaming_context(config)
    chunk = make_signal(2 * 5120).view(2, 5120)
    speechbrain_asr.transcribe_chunk(context, chunk, torch.tensor([1.0, 0.5]))
    with pytest.raises(
        ValueError, match=r"rows that have ended, got samples in rows \[1\]"
    ):
        speechbrain_asr.transcribe_chunk(context, chunk, torch.ones(2))
    speechbrain_asr.transcribe_chunk(context, chunk, torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"chunk must be of 2 rows.*got 1"):
        speechbrain_asr.transcribe_chunk(context, chunk[:1])
    chunk[0, 7] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite"):
        speechbrain_asr.transcribe_chunk(
            context, chunk, torch.tensor([1.0, 0.0])
        )


def test_acausal_attention_is_offline_only(tmp_path):
    """The acausal kind is written and transcribes, but cannot stream."""
    folder = write_streaming_folder(
        tmp_path / "streaming", make_model("aa"), make_tokenizer()
    )
    asr = StreamingASR.from_hparams(folder)
    assert len(asr.transcribe_batch(make_signal(16000)[None])[0]) > 5
    with pytest.raises(ValueError, match="got 'aa'"):
        asr.session()
