"""What README shows works."""

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_examples_run():
    """The examples with a prompt give what they show."""
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    blocks = [block for block in blocks if block.startswith(">>>")]
    assert blocks
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    names = {}
    for number, block in enumerate(blocks):
        example = parser.get_doctest(
            block, names, f"README block {number}", "README.md", 0
        )
        runner.run(example, clear_globs=False)
        names = example.globs
    assert runner.failures == 0


def test_files_exist():
    """Every file and folder that README links or names in a command is
    there."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    named = re.findall(
        r"\b((?:hparams|recipes|docs|tests)/[\w./-]+\.(?:ya?ml|py|png|md))\b",
        README,
    )
    for name in {*links, *named}:
        assert (ROOT / name).exists(), name


def test_make_targets_exist():
    """Every ``make`` command has its target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
