"""Models that ship with a package, by name."""

import pytest

from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.model_folder import shipped
from speechbrain_llsa.model_folder.load import load_pretrained_tokenizer
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.model_folder.shipped import find_model
from tiny_model import make_model, make_tokenizer


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models" / "welsh").mkdir(parents=True)
    return tmp_path / "models"


def test_a_name_is_found(models):
    assert find_model("welsh", models) == models / "welsh"


@pytest.mark.parametrize(
    "source",
    ["cornish", "", ".", "..", "owner/welsh", "./welsh", "welsh/", 3, None],
)
def test_other_sources_stay_as_they_are(source, models):
    assert find_model(source, models) is source


def test_a_model_folder_takes_precedence(models, tmp_path, monkeypatch):
    """One in the working directory is somebody's own; any other folder, of
    data for instance, is not meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "welsh").mkdir()
    assert find_model("welsh", models) == models / "welsh"
    (tmp_path / "welsh" / "model.json").touch()
    assert find_model("welsh", models) == "welsh"


def test_loaders_take_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "MODELS", tmp_path)
    tokenizer = make_tokenizer()
    write_streaming_folder(tmp_path / "welsh", make_model(), tokenizer)
    assert load_pretrained_tokenizer("welsh").lab2ind == tokenizer.lab2ind
    with pytest.raises(FileNotFoundError, match="pretrained_folder must be"):
        load_pretrained_tokenizer("cornish")


@pytest.mark.parametrize("has_kenlm", [True, False])
def test_n_grams_need_kenlm(has_kenlm, monkeypatch, caplog):
    """Without it a model that ships is searched greedily, and says so; the
    folder of a user is left to fail."""
    monkeypatch.setattr(shipped, "find_spec", lambda name: has_kenlm or None)
    search = BeamSearchOptions(beam_size=4, language_model="words.arpa")
    chosen = shipped.choose_search(shipped.MODELS / "english", search)
    assert chosen is (search if has_kenlm else None)
    warned = "english makes more errors without its n-grams" in caplog.text
    assert warned is not has_kenlm
    monkeypatch.chdir(shipped.MODELS)
    assert shipped.choose_search("english", search) is chosen
    assert shipped.choose_search("results/streaming", search) is search
    for other in (None, BeamSearchOptions(beam_size=4)):
        place = shipped.MODELS / "english"
        assert shipped.choose_search(place, other) is other
