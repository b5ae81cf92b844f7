"""The SpeechBrain ``Pretrainer`` of a model folder."""

from pathlib import Path

import torch
from speechbrain.utils.parameter_transfer import Pretrainer

from speechbrain_llsa.model_folder.labels import load_tokenizer
from speechbrain_llsa.model_folder.weights import check_checksum, load_weights
from speechbrain_llsa_runtime.model_folder.description import (
    MODEL_FILE,
    read_checksums,
)
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be


class FolderPretrainer(Pretrainer):
    """SpeechBrain's ``Pretrainer`` for one model folder, with custom file names
    and strict loading.

    Files of a local folder are read in place, so that nothing is linked and no
    file of an earlier run is picked up.

    Arguments
    ---------
    loadables : dict
        Modules and tokenizers by name.
    file_names : dict
        File name of each in the source.

    Raises
    ------
    TypeError
        If an argument is not a dict.
    ValueError
        If the names differ, or a file is not directly in the source.
    """

    def __init__(self, loadables, file_names):
        check_type("loadables", loadables, dict)
        check_type("file_names", file_names, dict)
        if loadables.keys() != file_names.keys():
            raise ValueError(
                must_be(
                    "file_names",
                    f"one for each of {', '.join(map(str, loadables))}",
                    f"those of {', '.join(map(str, file_names))}",
                )
            )
        for name in file_names.values():
            if not isinstance(name, str) or Path(name).name != name:
                raise ValueError(
                    must_be(
                        "file_names",
                        "names of files in the source itself",
                        repr(name),
                    )
                )
        super().__init__(
            loadables=loadables,
            custom_hooks=dict.fromkeys(loadables, load_part),
        )
        self.file_names = dict(file_names)

    def collect_files(self, default_source=None, *args, **kwargs):
        """Finds the files, and fetches them from a model hub.

        Arguments
        ---------
        default_source : str or pathlib.Path
            The folder, or a repository of a model hub.
        *args : tuple
            As for SpeechBrain's class.
        **kwargs : dict
            As for SpeechBrain's class.

        Returns
        -------
        dict
            Path of each file, by name.

        Raises
        ------
        FileNotFoundError
            If a file is missing in a local folder.
        ValueError
            If a file does not match its description in ``model.json``.
        """
        folder = Path(str(default_source))
        self.paths.update(
            (name, f"{default_source}/{file_name}")
            for name, file_name in self.file_names.items()
        )
        if folder.is_dir():
            self.set_collect_in(None)
            for file_name in (*self.file_names.values(), MODEL_FILE):
                check_present(folder, file_name)
            checksums = read_checksums(folder / MODEL_FILE)
            for file_name in checksums.keys() & {*self.file_names.values()}:
                check_checksum(folder / file_name, checksums[file_name])
        return super().collect_files(default_source, *args, **kwargs)


def check_present(folder, file_name, name="source"):
    """Rejects a folder without a required file.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder.
    file_name : str
        Name of the file.
    name : str
        Name of the argument that the folder was passed as.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    """
    if not Path(folder, file_name).is_file():
        raise FileNotFoundError(
            must_be(
                name,
                "a complete model folder",
                f"{str(folder)!r}, which holds no {file_name}",
            )
        )


def load_part(part, path):
    """Loads one file of a model folder, as a custom hook of SpeechBrain's
    ``Pretrainer``.

    Arguments
    ---------
    part : torch.nn.Module or CTCTextEncoder or SentencePieceProcessor
        The part to load into.
    path : str or pathlib.Path
        The file: weights for a module, ``model.json`` for characters,
        SentencePiece's own file for its tokenizer.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or does not match the part.
    """
    if isinstance(part, torch.nn.Module):
        load_weights(path, part)
    else:
        load_tokenizer(part, path)
