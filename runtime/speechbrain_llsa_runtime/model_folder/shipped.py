"""Models that come with a package, by name."""

from pathlib import Path

DEFAULT_MODEL = "english"
"""The model that commands take if none is named."""

MODELS = Path(__file__).parents[1] / "models"
"""Exported models, a folder for each."""


def find_model(source, models=MODELS):
    """Finds a model by the name that it ships under. A folder of that name in
    the working directory takes precedence.

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
    is_name = isinstance(source, str) and source == Path(source).name
    if is_name and not Path(source).exists() and (models / source).is_dir():
        return models / source
    return source
