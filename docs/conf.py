"""Configuration of Sphinx: the pages of this folder, and a reference of all
modules by the extensions that SpeechBrain's documentation uses."""

import re
from pathlib import Path

from sphinx.ext import apidoc

import speechbrain_llsa
import speechbrain_llsa_runtime

project = "speechbrain_llsa"
copyright = "the authors of speechbrain_llsa"
release = version = speechbrain_llsa.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
root_doc = "index"
html_theme = "sphinx_rtd_theme"
html_theme_options = {"navigation_depth": 2}
default_role = "code"
myst_heading_anchors = 3

napoleon_google_docstring = False
napoleon_numpy_docstring = True
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
# a name is documented where it is defined, not where it is exported as well
autodoc_default_options = {
    "members": True,
    "ignore-module-all": True,
    "show-inheritance": True,
}

DOCS = Path(__file__).parent
API = DOCS / "api"  # written anew by each build
BENCHMARK_RESULTS = """
```{include} ../benchmarks/RESULTS.md
:heading-offset: 1
:relative-images:
```
"""
HIDDEN_CONTENTS = "\n\n```{{toctree}}\n:hidden:\n\n{}\n```\n"


def write_api(app):
    """Writes a page for each module, and one of the public names."""
    for package in (speechbrain_llsa, speechbrain_llsa_runtime):
        apidoc.main(
            [
                *("--force", "--separate", "--module-first", "--no-toc"),
                *("--output-dir", str(API), str(Path(package.__file__).parent)),
            ]
        )
    names = [
        f"- {{py:obj}}`{name} <{getattr(speechbrain_llsa, name).__module__}"
        f".{name}>`"
        for name in sorted(speechbrain_llsa.__all__)
        if not name.startswith("__")
    ]
    text = "# Reference\n\n`speechbrain_llsa` exports these names:\n\n"
    text += "\n".join(names)
    text += HIDDEN_CONTENTS.format("speechbrain_llsa\nspeechbrain_llsa_runtime")
    (API / "index.md").write_text(text, encoding="utf-8")


def complete_page(app, name, source):
    """Makes the pages that the index links the contents of the site, joins
    the results of the benchmarks to their page, and takes away links to what
    is in the repository alone."""
    text = source[0]
    if name == root_doc:
        pages = re.findall(r"\]\((\w[\w-]*)\.md\)", text)
        text += HIDDEN_CONTENTS.format("\n".join([*pages, "api/index"]))
    text = text.replace("(../benchmarks/RESULTS.md", "(benchmarks.md")
    if name == "benchmarks":
        text += BENCHMARK_RESULTS
    source[0] = re.sub(
        r"\[([^]]+)\]\(\.\./([\w/]+\.md|\w+)(#.*?)?\)", r"\1", text
    )


def setup(app):
    """Connects both to the build."""
    app.connect("builder-inited", write_api)
    app.connect("source-read", complete_page)
