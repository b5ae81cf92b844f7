"""What CITATION.cff says of the package is so."""

from ruamel.yaml import YAML

import speechbrain_llsa
from source_files import ROOT


def test_the_citation_is_of_this_version():
    """Who cites the software names what they used."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation = YAML(typ="safe").load(text)
    assert citation["title"] == speechbrain_llsa.__name__
    assert citation["version"] == speechbrain_llsa.__version__
