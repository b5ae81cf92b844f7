"""Predictor and joiner in the runtime of sherpa-onnx, behind an encoder that
stands in for one with filter banks. Runs where sherpa-onnx is installed."""

import numpy as np
import pytest
import torchaudio

from speechbrain_llsa.inference.onnx_decoder import write_decoder_graphs
from speechbrain_llsa_runtime.decoders.transducer import (
    TransducerGreedySearch,
)
from tiny_model import make_signal
from tiny_transducer import FEATURES, make_decoder

onnx = pytest.importorskip("onnx")
sherpa_onnx = pytest.importorskip("sherpa_onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

BANKS, STRIDE, CHUNK = 80, 4, 8
LABELS = ["<blk>", *"ABCDEFGH"]
MATRIX = np.random.default_rng(0).normal(size=(BANKS, FEATURES)) * 0.03


def write_encoder(path):
    """Every fourth frame of filter banks, mapped to the joiner's features by
    a matrix; a bias counts the steps, so that the state matters."""

    def tensor(name, shape):
        return helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, shape
        )

    def constant(name, value, kind=np.int64):
        return numpy_helper.from_array(np.array(value, kind), name)

    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Slice", ["x", "0", "8", "1", "4"], ["some"]),
            node("MatMul", ["some", "matrix"], ["mapped"]),
            node("Slice", ["h", "0", "1", "2"], ["counts"]),
            node("Transpose", ["counts"], ["bias"], perm=[1, 0, 2]),
            node("Add", ["mapped", "bias"], ["encoder_out"]),
            node("Add", ["h", "step"], ["new_h"]),
            node("Identity", ["c"], ["new_c"]),
        ],
        "encoder",
        [
            tensor("x", ["N", CHUNK, BANKS]),
            tensor("h", [1, "N", 5]),
            tensor("c", [1, "N", 7]),
        ],
        [
            tensor("encoder_out", ["N", CHUNK // STRIDE, FEATURES]),
            tensor("new_h", [1, "N", 5]),
            tensor("new_c", [1, "N", 7]),
        ],
        [
            constant("matrix", MATRIX, np.float32),
            constant("step", [0.05], np.float32),
            *(constant(str(number), [number]) for number in (0, 1, 2, 4, 8)),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 8
    about = {
        "model_type": "lstm",
        "num_encoder_layers": 1,
        "T": CHUNK,
        "decode_chunk_len": CHUNK,
        "d_model": 5,
        "rnn_hidden_size": 7,
    }
    helper.set_model_props(model, {k: str(v) for k, v in about.items()})
    onnx.save(model, path)


def test_it_finds_the_labels_of_greedy_search(tmp_path):
    """In a stream, with their frames."""
    weights = make_decoder(blank_bias=2.0).weights()
    names = ("encoder", "decoder", "joiner")
    files = {name: str(tmp_path / f"{name}.onnx") for name in names}
    write_decoder_graphs(
        weights, tmp_path / "decoder.onnx", tmp_path / "joiner.onnx"
    )
    write_encoder(files["encoder"])
    tokens = "".join(f"{name} {i}\n" for i, name in enumerate(LABELS))
    (tmp_path / "tokens.txt").write_text(tokens)
    recogniser = sherpa_onnx.OnlineRecognizer.from_transducer(
        tokens=str(tmp_path / "tokens.txt"), num_threads=1, **files
    )
    signal = make_signal(64000)
    stream = recogniser.create_stream()
    for samples in signal.numpy().reshape(20, -1):
        stream.accept_waveform(16000, samples)
        while recogniser.is_ready(stream):
            recogniser.decode_stream(stream)
    banks = torchaudio.compliance.kaldi.fbank(
        signal[None],
        num_mel_bins=BANKS,
        snip_edges=False,
        high_freq=-400,
        energy_floor=0.0,
    ).numpy()
    chunks = (len(banks) - 1) // CHUNK
    frames = banks[: chunks * CHUNK : STRIDE] @ MATRIX
    frames += 0.05 * np.arange(chunks).repeat(CHUNK // STRIDE)[:, None]
    search = TransducerGreedySearch(weights, max_symbols=1)
    expected = search.advance(
        frames.astype(np.float32), search.make_streaming_context()
    )
    said = recogniser.get_result(stream)
    assert list(said) == [LABELS[token.label] for token in expected]
    assert recogniser.timestamps(stream) == pytest.approx(
        [token.start * 0.04 for token in expected], abs=1e-5
    )
    assert len(set(said)) > 2 and len(said) > 10
