"""Weights of Moonshine's encoder are read from onnxruntime's own format."""

import zipfile

import numpy as np
import pytest
from moonshine_ort import IN_WHEEL, read_bytes, read_weights

QUANTISED = np.array([[0, 200], [128, 255], [7, 130]], np.uint8)
CONSTANTS = {
    "onnx::MatMul_1_quantized": QUANTISED,
    "onnx::MatMul_1_scale": np.array(0.5, np.float32),
    "onnx::MatMul_1_zero_point": np.array(128, np.uint8),
    "layers.0.mlp.fc1.bias": np.array([1.0, -2.0], np.float32),
    "onnx::Mul_2080": np.array([[3.0], [4.0]], np.float32),
    "onnx::Add_2081": np.array([[5.0], [6.0]], np.float32),
}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A graph with one product in 8 bits, and the group norm's weights."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    product = make.make_node(
        "DynamicQuantizeMatMul",
        ["x", *list(CONSTANTS)[:4]],
        ["product"],
        name="/layers.0/mlp/fc1/MatMul_quant",
        domain="com.microsoft",
    )
    graph = make.make_graph(
        [
            product,
            make.make_node("Mul", ["product", "onnx::Mul_2080"], ["scaled"]),
            make.make_node("Add", ["scaled", "onnx::Add_2081"], ["y"]),
        ],
        "encoder",
        [make.make_tensor_value_info("x", kind, [2, 3])],
        [make.make_tensor_value_info("y", kind, [2, 2])],
        [
            onnx.numpy_helper.from_array(array, name)
            for name, array in CONSTANTS.items()
        ],
    )
    model = make.make_model(
        graph,
        ir_version=8,
        opset_imports=[
            make.make_opsetid("", 18),
            make.make_opsetid("com.microsoft", 1),
        ],
    )
    path = tmp_path_factory.mktemp("moonshine") / "encoder_model.ort"
    options = runtime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return path.read_bytes()


def test_weights_are_what_8_bits_stand_for(content):
    """By the names of transformers, (out, in), in floating point."""
    weights = read_weights(content)
    assert set(weights) == {
        "groupnorm.weight",
        "groupnorm.bias",
        "layers.0.mlp.fc1.weight",
        "layers.0.mlp.fc1.bias",
    }
    expected = (QUANTISED.astype(np.float32) - 128).T / 2
    assert np.array_equal(weights["layers.0.mlp.fc1.weight"], expected)
    assert weights["layers.0.mlp.fc1.bias"].tolist() == [1, -2]
    assert weights["groupnorm.weight"].tolist() == [3, 4]
    assert weights["groupnorm.bias"].tolist() == [5, 6]


def test_from_a_wheel(content, tmp_path):
    wheel = tmp_path / "moonshine_voice.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(IN_WHEEL, content)
    assert read_bytes(wheel) == content
    (tmp_path / "encoder_model.ort").write_bytes(content)
    assert read_bytes(tmp_path / "encoder_model.ort") == content


def test_bad_sources(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(FileNotFoundError, match=r"^source must be an existing"):
        read_bytes(tmp_path / "missing.whl")
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(ValueError, match=r"^source must be a wheel with"):
        read_bytes(wheel)
    with pytest.raises(ValueError, match=r"^source must be the encoder of"):
        read_weights(b"something else")
