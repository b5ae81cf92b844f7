"""The benchmark for GPUs: it runs, and refuses what does not agree."""

import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("benchmark_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(path):
    """The cells of the table's body."""
    lines = path.read_text(encoding="utf-8").splitlines()
    _, _, *table = (line for line in lines if line.startswith("|"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


@pytest.mark.slow
def test_tiny_on_the_cpu(gpu, tmp_path):
    """Every attention and length has a row with a batch and a speed."""
    out = tmp_path / "new" / "gpu.md"
    gpu.main(["--device", "cpu", "--tiny", "--out", str(out)])
    body = rows(out)
    assert [row[1:3] for row in body[:6]] == [
        ["aa", ""],
        ["maa", ""],
        ["sa", ""],
        ["llsa", "1"],
        ["llsa", "4"],
        ["llsa", "8"],
    ]
    assert len(body) == 12
    for row in body:
        assert row[3] == "2"
        assert float(row[4].replace(",", "")) > 0
        assert row[5:] == ["unknown", gpu.NOT_MEASURED, gpu.NOT_MEASURED]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs no CUDA")
def test_without_cuda_nothing_is_measured(gpu, tmp_path, capsys):
    """The table says so, and the script ends well."""
    out = tmp_path / "gpu.md"
    gpu.main(["--tiny", "--out", str(out)])
    assert "nothing was measured" in capsys.readouterr().out
    for row in rows(out):
        assert row[3:] == [gpu.NOT_MEASURED] * 5


def test_refuses_a_wrong_path(gpu, tmp_path, monkeypatch):
    """No time and no table where an attention differs from the reference."""
    right = gpu.attend

    def wrong(inputs, geometry, attention, end=None):
        out = right(inputs, geometry, attention, end)
        return out * 1.2 if attention == "llsa" else out

    monkeypatch.setattr(gpu, "attend", wrong)
    out = tmp_path / "gpu.md"
    with pytest.raises(SystemExit, match="llsa, hop 1"):
        gpu.main(["--device", "cpu", "--tiny", "--out", str(out)])
    assert not out.exists()


def test_peaks_by_name(gpu):
    """Names as CUDA gives them; a card that is not listed is unknown."""
    assert gpu.peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert gpu.peak_flops("NVIDIA H100 PCIe") == 756e12
    assert gpu.peak_flops("NVIDIA H200") == 989e12
    assert gpu.peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert gpu.peak_flops("NVIDIA GeForce RTX 3090") is None


def test_work_of_a_frame(gpu):
    """By hand: one layer of 2 features, 3 hidden ones, no look-back or
    look-ahead, 4 frames."""
    sizes = {
        "num_layers": 1,
        "embedding_dim": 2,
        "d_ffn": 3,
        "look_back": 0,
        "look_ahead": 0,
    }
    # weights: 4 x 2 x 2 + 2 x 2 x 3 = 28 multiplications; a key: 2 x 2
    assert gpu.flops_per_frame("aa", 1, 4, sizes) == 3 * 2 * (28 + 4 * 4)
    assert gpu.flops_per_frame("sa", 1, 4, sizes) == 3 * 2 * (28 + 4)
    sizes["look_ahead"] = 1
    # each frame is computed twice, with its own key and a provisional one
    work = gpu.flops_per_frame("llsa", 1, 4, sizes)
    assert work == 2 * 3 * 2 * (28 + 2 * 4)


def test_full_memory_is_no_error(gpu):
    """A batch that does not fit is told from one that does."""

    def step(batch):
        if batch > 5:
            raise torch.OutOfMemoryError

    assert [gpu.fits(step, batch) for batch in (1, 4, 8)] == [True, True, False]
