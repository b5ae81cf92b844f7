"""The command that writes models for Triton Inference Server."""

import pytest

from speechbrain_llsa.__main__ import main
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from tiny_model import make_model, make_tokenizer

pytest.importorskip("onnxscript")


@pytest.mark.slow
def test_command(tmp_path, capsys):
    """--triton writes what Triton loads, again and again; the version is an
    exported folder. Two graphs are refused, and so is a folder with anything
    else."""
    source = write_streaming_folder(
        tmp_path / "streaming", make_model(), make_tokenizer()
    )
    out = tmp_path / "repository" / "tiny"
    command = ["export", "--model", str(source), "--triton"]
    for _ in range(2):
        assert main([*command, "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        for name in ("1/model.json", "1/model.onnx", "config.pbtxt"):
            assert str(out / name) in printed
    assert sorted(path.name for path in out.parent.iterdir()) == ["tiny"]
    assert {path.name for path in out.iterdir()} == {"1", "config.pbtxt"}
    OnnxStreamingASR.from_folder(out / "1")
    before = (out / "config.pbtxt").read_bytes()
    assert main([*command, "--out", str(out), "--int8"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "precisions must be one alone for Triton" in error
    assert (out / "config.pbtxt").read_bytes() == before
    assert main([*command, "--out", str(source)]) == 2
    assert "holds something else" in capsys.readouterr().err
