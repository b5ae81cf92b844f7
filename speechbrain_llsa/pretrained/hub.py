"""Downloads models of transformers from a model hub."""

from __future__ import annotations

from pathlib import Path

from speechbrain_llsa_runtime.utils.errors import must_be, reason

_SAFE = ["*.json", "*.safetensors"]
_OLD = ["*.bin"]


def download(name: str) -> Path:
    """Downloads a model, or finds it in the cache of the hub's client.

    Arguments
    ---------
    name : str
        Its repository, "owner/name".

    Returns
    -------
    pathlib.Path
        The folder with its files.

    Raises
    ------
    ImportError
        If transformers is not installed.
    OSError
        If it cannot be downloaded.
    """
    try:
        import transformers  # noqa: F401
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            must_be(
                "SOURCE",
                "an existing folder, or the name of a model on a hub where "
                "transformers is installed "
                "(pip install 'speechbrain-llsa[transformers]')",
                repr(name),
            )
        ) from error
    try:
        folder = Path(snapshot_download(name, allow_patterns=_SAFE))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=_SAFE + _OLD))
    except Exception as error:
        raise OSError(
            must_be(
                "SOURCE",
                "an existing folder, or the name of a model that can be "
                "downloaded",
                f"{name!r}: {reason(error)}",
            )
        ) from error
    return folder
