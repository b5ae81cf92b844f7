"""The benchmarks: they run in small, and refuse what does not agree."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from speechbrain_llsa.nnet.packed import PackedLinear
from speechbrain_llsa.training.data import read_or_fault

FOLDER = Path(__file__).parents[2] / "benchmarks"

SECTIONS = {
    "attention": (8, ["attention_time.png", "attention_memory.png"]),
    "llsa_forward": (7, []),
    "llsa_training": (5, []),
    "streaming_step": (7, []),
    "conformer_step": (7, []),
    "int8_convolutions": (6, []),
    "int8_batch": (9, []),
    "real_time_factor": (2, []),
    "start": (3, []),
    "server_load": (3, []),
    "one_hour": (3, ["one_hour.png"]),
    "import_exactness": (2, []),
}
"""By benchmark: rows at least, and plots."""

NEEDED = ("local_attention", "onnxruntime", "onnxscript", "psutil")

NO_PROGRAMS = {"common", "models", "process_status", "small_model"}
NO_PROGRAMS |= {"peer_stream"}


@pytest.fixture
def load(monkeypatch):
    """Imports a benchmark as if it were run; the threads it sets are put
    back."""
    for name in NEEDED:
        pytest.importorskip(name)
    monkeypatch.syspath_prepend(str(FOLDER))
    before = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_tiny(name, load, tmp_path):
    """Every benchmark writes a section with the machine, a table whose rows
    have figures, and its plots."""
    least, plots = SECTIONS[name]
    out = tmp_path / "new" / f"{name}.md"
    load(name).main(["--tiny", "--threads", "1", "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert text.startswith("## ")
    assert f"1 threads; PyTorch {torch.__version__}" in text
    _, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    )
    assert len(rows) >= least
    for row in rows:
        assert len(row) == 6 and row[0]
        assert any(digit in row[1] for digit in "0123456789")
        assert bool(row[4]) == (row[5] in ("met", "**missed**"))
    for plot in plots:
        assert f"({plot})" in text
        assert (out.parent / plot).stat().st_size > 1000


def test_refuses_a_wrong_path(load, tmp_path, monkeypatch):
    """No time and no section where an attention differs from the
    reference."""
    attention, common = load("attention"), load("common")
    right = common.attend_frames

    def wrong(*arguments, **options):
        return right(*arguments, **options) * 1.001

    monkeypatch.setattr(common, "attend_frames", wrong)
    monkeypatch.setattr(attention, "take_turns", None)
    out = tmp_path / "attention.md"
    with pytest.raises(SystemExit, match=r"^sa, hop 1, against the ref.*\d;"):
        attention.main(["--tiny", "--threads", "1", "--out", str(out)])
    assert not out.exists()


def test_texts_are_compared_before_they_are_timed(load, monkeypatch, tmp_path):
    """No time of a command, or of many streams, where a text differs."""
    start, many = load("start"), load("many_streams")
    monkeypatch.setattr(
        start, "time_to_first_letter", lambda command, _: (0.0, str(command))
    )
    monkeypatch.setattr(start, "duration", None)
    out = tmp_path / "start.md"
    with pytest.raises(SystemExit, match=r"^texts of the graph must be"):
        start.main(["--tiny", "--threads", "1", "--out", str(out)])
    monkeypatch.setattr(many, "run_batcher", lambda *arguments: ["?"] * 3)
    monkeypatch.setattr(many, "measure_throughput", None)
    with pytest.raises(ValueError, match=r"^text of stream 0 must be"):
        many.main(["--tiny"])
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("many_streams", "--streams 0", "--streams must be a number of at"),
        ("many_streams", "--seconds 0", "--seconds must be a number of at"),
        ("many_streams", "--seconds nan", "--seconds must be a number of at"),
        ("many_streams", "--repeats 0", "--repeats must be a number of at"),
        ("many_streams", "--most 0", "--most must be a number of at"),
        ("many_streams", "--threads 0", "--threads must be a number of at"),
        ("many_streams", "--threads -1", "--threads must be a number of at"),
        ("real_time_factor", "--seconds inf", "must be a finite number of at"),
        ("one_hour", "--minutes 0", "--minutes must be a number of at"),
        ("memory", "", "required: attention, frames"),
        ("memory", "sa", "required: frames"),
        ("memory", "llsa 8", "invalid choice: 'llsa'"),
        ("memory", "sa 8 1 4 8 2 0", "threads must be a number of at"),
        ("shard_reading", "--data_folder {}", "must be a folder with FLAC"),
    ],
)
def test_refuses_bad_input(load, tmp_path, capsys, name, line, message):
    """In one sentence, before any work."""
    with pytest.raises(SystemExit, match="2"):
        load(name).main(line.format(tmp_path).split())
    assert message in capsys.readouterr().err


def test_models_are_as_users_have_them(load):
    """Frozen and packed."""
    models, small = load("models"), load("small_model")
    for model, _ in (
        models.make_model("finetune_small", models.SMALL),
        small.make_small_model(**models.SMALL),
    ):
        assert not any(each.requires_grad for each in model.parameters())
        layers = {type(each) for each in model.modules()}
        assert PackedLinear in layers and torch.nn.Linear not in layers


def test_reading_from_shards(load, tmp_path, monkeypatch):
    """A section with a speed; none where waveforms differ from the files."""
    reading = load("shard_reading")
    out = tmp_path / "shard_reading.md"
    line = ["--tiny", "--threads", "1", "--out", str(out)]
    reading.main(line)
    assert "12 files, 0.00 hours, 1 processes | 0" in out.read_text()
    out.unlink()

    def wrong(*arguments):
        waveform, fault = read_or_fault(*arguments)
        return waveform * 1.001, fault

    monkeypatch.setattr(reading, "read_or_fault", wrong)
    with pytest.raises(SystemExit, match=r"^waveform must be the same"):
        reading.main(line)
    assert not out.exists()


def test_refuses_wrong_gradients(load):
    """Nor where the outputs agree and the gradients do not."""
    common = load("common")
    inputs = common.random_inputs(1, 3, 2)
    weight = torch.randn_like(inputs[0])
    right = common.with_gradients(lambda x: x[0] + x[1] * x[2], inputs, weight)
    wrong = common.with_gradients(
        lambda x: x[0] + x[1].detach() * x[2] + 0 * x[1], inputs, weight
    )
    common.check_equal("outputs", wrong[0], right[0])
    with pytest.raises(
        SystemExit, match=r"gradients must .*got a difference of"
    ):
        common.check_equal("gradients", wrong, right)


def test_no_number_is_no_agreement(load):
    """NaN is a difference, and so is another shape."""
    common = load("common")
    with pytest.raises(SystemExit, match=r"x must .*got a difference of nan"):
        common.check_equal("x", torch.tensor([torch.nan]), torch.zeros(1))
    with pytest.raises(SystemExit, match=r"x must be of shape"):
        common.check_equal("x", torch.zeros(2), torch.zeros(1))


def test_examples(load):
    """Those in the docstrings of what benchmarks share."""
    result = doctest.testmod(load("common"))
    assert result.attempted > 5 and result.failed == 0


@pytest.mark.slow
def test_beam_search_table(load, digits_corpus, tmp_path):
    """A row for each search, with figures; no text differs offline."""
    pytest.importorskip("kenlm")
    pytest.importorskip("pygtrie")
    from speechbrain_llsa.model_folder.write import write_streaming_folder
    from tiny_model import make_model, make_tokenizer
    from word_ngrams import make_arpa

    folder = write_streaming_folder(
        tmp_path / "model", make_model(), make_tokenizer()
    )
    arpa = make_arpa(tmp_path / "words.arpa")
    module, out = load("beam_search"), tmp_path / "section.md"
    module.main(
        [
            *("--model", str(folder), "--data", str(digits_corpus)),
            *("--language_model", str(arpa), "--beam_sizes", "2"),
            *("--utterances", "2", "--snr", "10", "--out", str(out)),
        ]
    )
    names = ["greedy", "beam of 2", "beam of 2, language model"]
    check_searches(out, names)
    module.main(["--made_up", "2", "--beam_sizes", "2", "--out", str(out)])
    names.append("beam of 2, language model, hotwords")
    check_searches(out, names)
    assert doctest.testmod(module).failed == 0


@pytest.mark.slow
def test_robustness_tables(load, digits_corpus, tmp_path):
    """A row for each level, sound and noise, with figures; what is streamed
    says the same as the whole, and each segment closes."""
    from speechbrain_llsa.model_folder.write import write_streaming_folder
    from tiny_model import make_model, make_tokenizer

    folder = write_streaming_folder(
        tmp_path / "model", make_model(), make_tokenizer()
    )
    robustness, out = load("robustness"), tmp_path / "section.md"
    line = ["--tiny", "--threads", "1", "--out", str(out)]
    line += ["--model", str(folder), "--data", str(digits_corpus)]
    robustness.main(line)
    text = out.read_text(encoding="utf-8")
    assert "4 utterances of test" in text
    names = [
        line.split("|")[1].strip()
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("| ---")
    ]
    assert names == [
        "level",
        *robustness.CONDITIONS,
        "1 times 5 s",
        *robustness.SOUNDS,
        "21 s behind speech",
        *robustness.NOISES,
    ]
    assert "| 4 of 4 |" in text


def test_the_levels_of_the_robustness_benchmark(load):
    """Each condition and sound has the level that its name says."""
    robustness = load("robustness")
    generator = np.random.default_rng(0)
    signal = np.float32(0.01 * generator.standard_normal(16000))

    def level(samples):
        return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))

    for name, (change, _) in robustness.CONDITIONS.items():
        changed = change(signal)
        assert changed.dtype == np.float32 and abs(changed).max() <= 1
        if name.endswith(" dB"):
            gained = level(changed) - level(signal)
            assert gained == pytest.approx(float(name[:-3]), abs=0.1)
        if "dBFS" in name:
            assert level(changed - signal) == pytest.approx(-30, abs=0.1)
    for name, make in robustness.SOUNDS.items():
        sound = make(2, generator)
        assert sound.dtype == np.float32 and sound.shape == (32000,)
        if "dBFS" in name:
            wanted = float(name.split()[-2])
            assert level(sound) == pytest.approx(wanted, abs=0.1)


def check_searches(out, names):
    """A row for each of these, and nothing that differs offline."""
    _, _, *rows = out.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert [row[0] for row in cells] == names
    for _, wer, different, factor, median, most, _ in cells:
        assert float(wer.removesuffix(" %")) >= 0
        assert different == "0"
        assert float(factor) >= 0
        assert 0 <= float(median[:-2]) <= float(most[:-2])


def test_peers_take_turns(load):
    """A B A B, each with a time for every turn."""
    common = load("common")
    calls = []
    times = common.take_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        turns=3,
        number=4,
    )
    changes = [calls[0]]
    for call in calls:
        if call != changes[-1]:
            changes.append(call)
    assert "".join(changes) == "ababab"
    assert [len(values) for values in times.values()] == [3, 3]


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [
        ("out.write_text('| table |')", 0, "## GPU\n\n| table |"),
        (
            "sys.exit('x must be 2, got 1')",
            1,
            "**Not measured**: x must be 2, got 1",
        ),
    ],
)
def test_all_joins_sections(load, monkeypatch, tmp_path, body, status, found):
    """Sections that were there, and those that were measured now; a benchmark
    that fails leaves its reason. What is written by hand stays."""
    script = "import pathlib, sys\nout = pathlib.Path(sys.argv[2])\n" + body
    (tmp_path / "gpu.py").write_text(script, encoding="utf-8")
    every = load("all")
    monkeypatch.setattr(every, "FOLDER", tmp_path)
    (tmp_path / "attention.section.md").write_text("## Attention\n")
    (tmp_path / "gpu.section.md").write_text("of an earlier run")
    (tmp_path / "RESULTS.md").write_text("by hand")
    assert every.main(["--folder", str(tmp_path), "--only", "gpu"]) == status
    results = (tmp_path / "measured.md").read_text(encoding="utf-8")
    assert results.startswith(every.HEAD)
    assert results.index("## Attention") < results.index(found)
    assert "earlier" not in results
    assert (tmp_path / "RESULTS.md").read_text() == "by hand"


def test_arguments_are_those_of_the_docs(load):
    """``make bench`` runs the commands that docs/benchmarks.md shows."""
    every = load("all")
    page = (FOLDER.parent / "docs" / "benchmarks.md").read_text("utf-8")
    shown = re.findall(r"`python benchmarks/(\w+)\.py(.*?)`", page)
    shown = {name: options.split() for name, options in shown}
    for name in every.BENCHMARKS.keys() & shown:
        assert every.ARGUMENTS.get(name, []) == shown[name]


def test_names_are_benchmarks(load):
    """Every file that is one is in the list."""
    shared = {
        "all",
        "common",
        "memory",
        "models",
        "process_status",
        "small_model",
    }
    # need a trained model, or hours
    shared |= {"beam_search", "onnx_accuracy", "robustness"}
    shared |= {"server_soak", "soak", "word_times"}
    # make bench-peers
    shared |= {"peers", "peer_stream", "peer_systems", "word_alignment"}
    scripts = {path.stem for path in FOLDER.glob("[!_]*.py")}
    assert set(load("all").BENCHMARKS) == scripts - shared
    assert "benchmarks" in str(sys.modules["all"].__file__)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in FOLDER.glob("[!_]*.py") if path.stem not in NO_PROGRAMS],
    ids=lambda path: path.stem,
)
def test_benchmarks_are_programs(path, tmp_path):
    """They find what they import, from any folder."""
    pytest.importorskip("local_attention")  # of the extra bench
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, path, "--help"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )
