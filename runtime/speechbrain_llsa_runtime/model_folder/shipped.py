"""Models that come with a package, by name."""

from pathlib import Path

from speechbrain_llsa_runtime.model_folder.description import MODEL_FILE

DEFAULT_MODEL = "english"
"""The model that commands take if none is named."""

MODELS = Path(__file__).parents[1] / "models"
"""Exported models, a folder for each."""


def find_model(source, models=MODELS):
    """Finds a model by the name that it ships under. A model folder of that
    name in the working directory takes precedence.

    Arguments
    ---------
    source : str or pathlib.Path
        A name, or anything else that stands for a model.
    models : pathlib.Path
        The folder that holds a folder for each model that ships.

    Returns
    -------
    str or pathlib.Path
        The folder of the model that ships; any other source as it is.

    Example
    -------
    >>> find_model("results/streaming")
    'results/streaming'
    """
    names = [each.name for each in models.glob("*") if each.is_dir()]
    if not isinstance(source, str) or source not in names:
        return source
    is_own = (Path(source) / MODEL_FILE).exists()
    return source if is_own else models / source
