"""Moonshine tiny-en as its own library runs it, encoder and decoder."""

from pathlib import Path


def make_transcriber():
    """Loads it from the package moonshine-voice (``pip install ".[peers]"``).

    Returns
    -------
    callable
        From samples, (samples,) in float32 at 16 kHz, to text.
    pathlib.Path
        The folder of its files.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    """
    from moonshine_voice import ModelArch, Transcriber
    from moonshine_voice.utils import get_model_path

    folder = Path(get_model_path("tiny-en"))
    model = Transcriber(str(folder), ModelArch.TINY)

    def transcribe(samples):
        transcript = model.transcribe_without_streaming(samples.tolist())
        return " ".join(line.text for line in transcript.lines)

    return transcribe, folder
