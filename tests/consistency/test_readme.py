"""What README and the documentation show works."""

import argparse
import configparser
import doctest
import importlib.util
import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.encoder import CTCTextEncoder

from deployment_commands import PROGRAMS, check_command
from source_files import ROOT
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.training import recipe
from speechbrain_llsa_runtime.__main__ import main as run_runtime
from tiny_model import make_model, make_signal

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", *DOCS]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
PACKAGE = "speechbrain_llsa"
LETTERS = " ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(page, language):
    """The fenced blocks of a language, in their order."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.M)


def slugs(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text("utf-8"), flags=re.S | re.M
    )
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


def test_readme_is_read_in_one_sitting():
    """It is short, and fits a terminal."""
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 170
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "benchmarks" / "RESULTS.md"], ids=name_of
)
def test_links_lead_somewhere(page):
    """Linked files exist, and so do the headings that a link names."""
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in slugs(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_exist(page):
    """Every file of the repository that a page names is there."""
    folders = "benchmarks|docs|examples|hparams|recipes|requirements|tests"
    named = re.findall(
        rf"(?<![\w/])((?:{folders})/[\w./-]+\.(?:ya?ml|py|png|md|txt))\b",
        page.read_text(encoding="utf-8"),
    )
    for name in set(named):
        assert (ROOT / name).exists(), name


def test_the_index_lists_every_page():
    """So that the site has it in its contents."""
    index = ROOT / "docs" / "index.md"
    linked = re.findall(r"\]\(([\w-]+\.md)\)", index.read_text("utf-8"))
    assert sorted(linked) == [page.name for page in DOCS if page != index]


@pytest.fixture(scope="module")
def tiny_model():
    """A model and its tokenizer, for text in capitals."""
    tokenizer = CTCTextEncoder()
    tokenizer.update_from_iterable(LETTERS)
    tokenizer.insert_blank(index=0)
    return make_model(labels=len(LETTERS) + 1), tokenizer


@pytest.fixture(scope="module")
def reader_folder(tiny_model, tmp_path_factory):
    """A folder as the pages take it for granted."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("demo/finetune/streaming", "demo/pretrain/pretrained"):
        (folder / name).parent.mkdir(parents=True)
        write_streaming_folder(folder / name, *tiny_model)
    soundfile.write(folder / "speech.flac", make_signal(32000).numpy(), 16000)
    (folder / "digits.arpa").write_text(
        "\\data\\\nngram 1=4\nngram 2=1\n\n"
        "\\1-grams:\n-1\t<unk>\n-99\t<s>\t0\n-1\t</s>\n-1\tSEVEN\t0\n\n"
        "\\2-grams:\n-1\t<s> SEVEN\n\n\\end\\\n"
    )
    return folder


@pytest.fixture(scope="module")
def exported_folder(tiny_model, reader_folder):
    """The same model as ONNX graphs, in ``exported``."""
    pytest.importorskip("onnxruntime")
    model, tokenizer = tiny_model
    return export_model(
        reader_folder / "exported", model, TextDecoder(tokenizer)
    )


def run_python(page, monkeypatch, folder):
    """Runs the blocks of a page in a folder, one after the other."""
    monkeypatch.chdir(folder)
    samples = make_signal(32000).numpy()
    names = {
        "microphone": np.array_split(samples, 7),
        "samples": samples,
        "status_line": print,
    }
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    for number, block in enumerate(blocks(page, "python")):
        title = f"{page.name}, block {number}"
        if block.startswith(">>>"):
            example = parser.get_doctest(block, names, title, page.name, 0)
            runner.run(example, clear_globs=False)
            names = example.globs
            continue
        code = compile(block, title, "exec")
        needs_kenlm = "digits.arpa" in block
        if not needs_kenlm or importlib.util.find_spec("kenlm"):
            exec(code, names)
    assert runner.failures == 0, page.name


DEPLOYMENT = ROOT / "docs" / "deployment.md"


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p != DEPLOYMENT and blocks(p, "python")],
    ids=name_of,
)
def test_python_runs(page, reader_folder, monkeypatch):
    """Examples with a prompt give what they show; others raise nothing."""
    run_python(page, monkeypatch, reader_folder)


@pytest.mark.slow
def test_python_runs_on_exported_models(
    exported_folder, reader_folder, monkeypatch
):
    """The page about what runs without PyTorch."""
    run_python(DEPLOYMENT, monkeypatch, reader_folder)


def test_yaml_builds_what_it_names():
    """With smaller sizes."""
    (text,) = blocks(README, "yaml")
    smaller = text.replace("768", "32").replace("3072", "64")
    assert load_hyperpyyaml(smaller)["encoder"].attention == "llsa"


def commands(page):
    """The shell commands of a page, in blocks and within the text."""
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"`((?:python|make|torchrun|pip) [^`]+)`", text)
    for block in blocks(page, "sh"):
        block = re.sub(r"<<'END'\n.*?^END$", "", block, flags=re.S | re.M)
        lines += block.replace("\\\n", " ").splitlines()
    for line in lines:
        words = shlex.split(line, comments=True)
        for piped, part in itertools.groupby(words, lambda word: word == "|"):
            part = [word for word in part if not re.match(r"[A-Z_]+=", word)]
            if part and not piped:
                yield tuple(part)


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


class Parsed(BaseException):
    """Ends a program where its command line has been understood."""


@pytest.fixture
def only_parsing(monkeypatch):
    """Lets programs read their command line, and do nothing else."""
    monkeypatch.chdir(ROOT)

    def and_stop(parse):
        def parse_and_stop(*args, **kwargs):
            parse(*args, **kwargs)
            raise Parsed

        return parse_and_stop

    class_ = argparse.ArgumentParser
    parsed = and_stop(recipe.parse_arguments)
    monkeypatch.setattr(recipe, "parse_arguments", parsed)
    monkeypatch.setattr(class_, "parse_args", and_stop(class_.parse_args))


def make_commands():
    """The programs of the project that ``make`` runs, with their arguments;
    a name of a file stands for what the shell would find."""
    printed = subprocess.run(
        [
            *("make", "--dry-run", "--always-make", "--no-print-directory"),
            *("demo", "bench", "soak", "picture"),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    ).stdout.replace("\\\n", " ")
    printed = re.sub(r"\$\(.*\)", "speech.flac", printed)
    commands = [shlex.split(line) for line in printed.splitlines()]
    return [
        command
        for command in commands
        if command[0].endswith("/python") and "pip" not in command
    ]


@pytest.mark.parametrize("command", [*COMMANDS, *make_commands()], ids=" ".join)
def test_commands_are_understood(command, only_parsing, monkeypatch, tmp_path):
    """By the parsers of the programs themselves."""
    program, *arguments = command
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
        assert set(arguments) <= {*targets, "PYTHON=python"}
    elif program == "pip":
        wanted = [each for each in arguments[1:] if each != "./runtime"]
        for extra in re.findall(r"[\w-]+", " ".join(wanted)):
            assert extra in SETUP["options.extras_require"], extra
    elif program.endswith("python") and arguments[:2] == ["-m", PACKAGE]:
        with pytest.raises(Parsed):
            main(arguments[2:])
    elif program == "speechbrain-llsa-runtime":
        with pytest.raises(Parsed):
            run_runtime(arguments)
    elif program in PROGRAMS:
        monkeypatch.undo()
        check_command(program, tuple(arguments), ROOT, tmp_path)
    elif program.endswith(("python", "torchrun")):
        run_script(arguments, monkeypatch)
    else:
        assert program in {"arecord"}


def run_script(arguments, monkeypatch):
    """A script of the repository, up to where it has read its arguments."""
    if arguments[0] in ("-", "-m"):
        return
    (start, *_) = (i for i, word in enumerate(arguments) if word[-3:] == ".py")
    path = ROOT / arguments[start]
    if path.parent.name == "benchmarks":
        pytest.importorskip("local_attention")  # of the extra bench
    if "sys.argv[" in path.read_text(encoding="utf-8").replace("argv[1:", ""):
        return  # takes words by their places
    monkeypatch.setattr(sys, "argv", arguments[start:])
    monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(Parsed):
        runpy.run_path(str(path), run_name="__main__")


def test_code_between_words_compiles():
    """What a shell command hands to Python."""
    found = 0
    for page in PAGES:
        for block in blocks(page, "sh"):
            for code in re.findall(r"<<'END'\n(.*?)^END$", block, re.S | re.M):
                compile(code, page.name, "exec")
                found += 1
    assert found
