"""Files that a command could not do, among others that it did."""


class BadFiles(ValueError):
    """Some files are bad; all others are done.

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
