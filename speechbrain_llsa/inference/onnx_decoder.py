"""Writes predictor and joiner of a transducer: as weights, which the runtime
runs with NumPy, and as ONNX graphs, for other runtimes."""

import numpy as np

from speechbrain_llsa.model_folder.weights import write_weights
from speechbrain_llsa_runtime.inference.onnx_graph import OnnxGraph
from speechbrain_llsa_runtime.utils.checksums import file_checksum
from speechbrain_llsa_runtime.utils.errors import must_be

OPSET = 18
IR_VERSION = 8
"""As those of the step."""

WEIGHTS_FILE = "decoder.safetensors"
GRAPH_FILES = {"predictor": "predictor.onnx", "joiner": "joiner.onnx"}

TOLERANCE = 1e-4
"""Largest difference of log-probabilities that the graphs may have."""


def write_decoder(folder, decoder):
    """Writes the files of a transducer's decoder in float32, and compares the
    graphs with the weights.

    Arguments
    ---------
    folder : pathlib.Path
        Where to write.
    decoder : TransducerDecoder
        Predictor and joiner.

    Returns
    -------
    dict
        The section ``transducer`` of ``model.json``.

    Raises
    ------
    ValueError
        If a graph gives something else than NumPy.
    """
    write_weights(folder / WEIGHTS_FILE, decoder.float().state_dict())
    weights = decoder.weights()
    write_decoder_graphs(weights, *(folder / n for n in GRAPH_FILES.values()))
    return {
        "file": WEIGHTS_FILE,
        "sha256": file_checksum(folder / WEIGHTS_FILE),
        **GRAPH_FILES,
        "context_size": weights.context_size,
        "max_symbols": decoder.max_symbols,
    }


def write_decoder_graphs(weights, predictor, joiner):
    """Writes both graphs, and compares them with NumPy.

    The predictor maps ``labels``, int64 (batch, context size), to
    ``predicted``, (batch, features); a label below 0 counts as the blank. Its
    metadata say ``vocab_size`` and ``context_size``, as sherpa-onnx asks. The
    joiner maps ``frames`` and ``predicted``, (batch, features), to ``logits``,
    (batch, labels).

    Arguments
    ---------
    weights : TransducerWeights
        Predictor and joiner.
    predictor : pathlib.Path
        The file of the predictor.
    joiner : pathlib.Path
        The file of the joiner.

    Raises
    ------
    ValueError
        If a graph gives something else than NumPy.
    """
    _write_predictor(weights, predictor)
    _write_joiner(weights, joiner)
    _check(weights, OnnxGraph(predictor, 1), OnnxGraph(joiner, 1))


def _write_predictor(weights, path):
    from onnx import TensorProto, helper

    node = helper.make_node
    _save(
        path,
        [
            node("Max", ["labels", "blank"], ["known"]),
            node("Gather", ["embedding", "known"], ["embedded"]),
            node("Mul", ["embedded", "convolution"], ["weighted"]),
            node("ReduceSum", ["weighted", "places"], ["mixed"], keepdims=0),
            node("Relu", ["mixed"], ["positive"]),
            node(
                "Gemm",
                ["positive", "projection", "projection_bias"],
                ["predicted"],
                transB=1,
            ),
        ],
        inputs={"labels": (TensorProto.INT64, weights.context_size)},
        outputs={"predicted": (TensorProto.FLOAT, weights.features)},
        constants={
            "blank": np.array([0], np.int64),
            "places": np.array([1], np.int64),
            "embedding": weights.embedding,
            "convolution": weights.convolution[:, 0].T,
            "projection": weights.projection,
            "projection_bias": weights.projection_bias,
        },
        metadata={
            "vocab_size": str(weights.labels),
            "context_size": str(weights.context_size),
        },
    )


def _write_joiner(weights, path):
    from onnx import TensorProto, helper

    node = helper.make_node
    features = (TensorProto.FLOAT, weights.features)
    _save(
        path,
        [
            node("Add", ["frames", "predicted"], ["sum"]),
            node("Tanh", ["sum"], ["joined"]),
            node(
                "Gemm",
                ["joined", "output", "output_bias"],
                ["logits"],
                transB=1,
            ),
        ],
        inputs={"frames": features, "predicted": features},
        outputs={"logits": (TensorProto.FLOAT, weights.labels)},
        constants={
            "output": weights.output,
            "output_bias": weights.output_bias,
        },
    )


def _save(path, nodes, inputs, outputs, constants, metadata=None):
    import onnx
    from onnx import helper, numpy_helper

    def values(named):
        return [
            helper.make_tensor_value_info(name, kind, ["batch", size])
            for name, (kind, size) in named.items()
        ]

    graph = helper.make_graph(
        nodes,
        path.stem,
        values(inputs),
        values(outputs),
        [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in constants.items()
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = IR_VERSION
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _check(weights, predictor, joiner):
    random = np.random.default_rng(0)
    labels = random.integers(-1, weights.labels, (9, weights.context_size))
    frames = random.normal(size=(9, weights.features)).astype(np.float32)
    (predicted,) = predictor.run({"labels": labels})
    (logits,) = joiner.run({"frames": frames, "predicted": predicted})
    logits = logits - logits.max(axis=1, keepdims=True)
    given = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = np.concatenate(
        [
            weights.log_probs(frame[None], weights.predict(tuple(history)))
            for frame, history in zip(
                frames, labels.clip(0).tolist(), strict=True
            )
        ]
    )
    error = np.abs(given - expected).max()
    if not error <= TOLERANCE:
        raise ValueError(
            must_be(
                "decoder",
                f"one whose graphs give the same within {TOLERANCE:g}",
                f"log-probabilities that differ by up to {error:.3g}",
            )
        )
