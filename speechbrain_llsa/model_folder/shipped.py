"""Models that come with this package, by name: weights to stream with and to
fine-tune."""

from importlib.util import find_spec
from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_llsa_runtime.model_folder import shipped

logger = get_logger(__name__)

MODELS = Path(__file__).parents[1] / "models"
"""Streaming folders, one for each model."""


def find_model(source):
    """Finds a model by the name that it ships under.

    Arguments
    ---------
    source : str or pathlib.Path
        A name, or anything else that stands for a model.

    Returns
    -------
    str or pathlib.Path
        The folder of the model that ships; any other source as it is.
    """
    return shipped.find_model(source, MODELS)


def choose_search(source, search):
    """Chooses greedy search for a model that ships with n-grams where KenLM is
    not installed, and says so.

    Arguments
    ---------
    source : str or pathlib.Path
        The folder of the model.
    search : BeamSearchOptions or None
        What the folder says.

    Returns
    -------
    BeamSearchOptions or None
        ``None`` for greedy search.
    """
    if search is None or search.language_model is None:
        return search
    if Path(source).resolve().parent != MODELS.resolve() or _has_kenlm():
        return search
    logger.warning(
        f"{Path(source).name} makes more errors without its n-grams: "
        'pip install "speechbrain-llsa[kenlm]"'
    )
    return None


def _has_kenlm():
    return None not in map(find_spec, ("kenlm", "pygtrie"))
