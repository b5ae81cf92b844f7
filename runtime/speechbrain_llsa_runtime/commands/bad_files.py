"""Error that collects the files that a command could not process."""


class BadFiles(ValueError):
    """Raised after all other files have been processed.

    Arguments
    ---------
    errors : dict of str to Exception
        What is wrong, by the name of the file.

    Example
    -------
    >>> BadFiles({"a.wav": ValueError("no audio")}).lines
    ['a.wav: no audio']
    """

    def __init__(self, errors):
        self.lines = [f"{path}: {error}" for path, error in errors.items()]
        super().__init__("; ".join(self.lines))
