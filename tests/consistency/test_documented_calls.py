"""How the documentation calls SpeechBrain's own class."""

import ast
import doctest
import re
from pathlib import Path

import pytest
import soundfile
import torchaudio
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_signal, make_tokenizer

ROOT = Path(__file__).parents[2]
TRAPS = (ROOT / "docs" / "traps.md").read_text(encoding="utf-8")
METHODS = ("transcribe_file", "transcribe_file_streaming")
FOLDERS = ("speechbrain_llsa", "examples", "recipes", "benchmarks")
SOURCES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *(path for name in FOLDERS for path in (ROOT / name).rglob("*.py")),
]


def code_of(path):
    """All code of a file: the blocks of a page; a program, and the examples
    of each of its docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    else:
        yield text
        blocks = [
            ast.get_docstring(node) or ""
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        ]
    for block in blocks:
        if ">>>" in block or path.suffix == ".py":
            examples = doctest.DocTestParser().get_examples(block)
            block = "".join(example.source for example in examples)
        yield block


def calls_of(code):
    """Those of a method that reads a file, where SpeechBrain's class is
    imported by name."""
    if "speechbrain.inference.ASR import StreamingASR\n" not in code:
        return []
    return [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in METHODS
    ]


def test_documented_calls_pass_the_argument():
    """Their default ends in an error with today's torchaudio."""
    calls = [
        (path, ast.unparse(call))
        for path in SOURCES
        for code in code_of(path)
        for call in calls_of(code)
    ]
    assert {path.name for path, _ in calls} >= {"streaming.md", "traps.md"}
    for path, call in calls:
        assert "use_torchaudio_streaming=False" in call, (path, call)


@pytest.mark.skipif(
    hasattr(torchaudio, "io"), reason="this torchaudio still has torchaudio.io"
)
def test_the_quoted_error(tmp_path):
    """SpeechBrain's class raises what the page quotes, word by word, unless
    it is told not to; ours gives the text."""
    write_streaming_folder(tmp_path / "model", make_model(), make_tokenizer())
    path = str(tmp_path / "a.wav")
    soundfile.write(path, make_signal(30000).numpy(), 16000)
    speechbrain_asr = SpeechBrainStreamingASR.from_hparams(
        source=str(tmp_path / "model")
    )
    config = DynChunkTrainConfig(16)
    with pytest.raises(AttributeError) as raised:
        speechbrain_asr.transcribe_file(path, config)
    assert f"\nAttributeError: {raised.value}\n" in TRAPS
    assert f"## AttributeError: {raised.value}\n" in TRAPS
    text = speechbrain_asr.transcribe_file(
        path, config, use_torchaudio_streaming=False
    )
    ours = StreamingASR.from_hparams(tmp_path / "model")
    assert len(text) > 20
    assert ours.transcribe_file(path) == text
    assert "".join(ours.transcribe_file_streaming(path, config)) == text
