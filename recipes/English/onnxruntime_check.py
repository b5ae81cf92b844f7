"""Compares an imported encoder with ONNX Runtime's own output."""

import numpy as np
import torch

from speechbrain_llsa.commands.audio_folder import read_utterance, spread
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.utils.errors import must_be

MOST_FILES = 20
"""Files that are compared."""

LEAST_CORRELATION = 0.99
"""The graph rounds activations to 8 bits, so that its output is not the
same."""


def check_against_onnxruntime(model, content, files):
    """Prints how the outputs of utterances compare.

    Arguments
    ---------
    model : ImportedModel
        The encoder, with ``attention="aa"``.
    content : bytes
        The graph of Moonshine's encoder, as ONNX Runtime loads it.
    files : list of pathlib.Path
        Audio files.

    Raises
    ------
    ImportError
        If ONNX Runtime is not installed.
    ValueError
        If the outputs of an utterance correlate too little.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(
        content, providers=["CPUExecutionProvider"]
    )
    for path in spread(files, MOST_FILES):
        signal = read_utterance(path)
        ours = _output(model, signal)
        samples = signal.numpy()[None]
        mask = np.ones(samples.shape, np.int64)
        theirs, *_ = session.run(
            None, {"input_values": samples, "attention_mask": mask}
        )
        correlation = np.corrcoef(ours.ravel(), theirs[0].ravel())[0, 1]
        difference = abs(ours - theirs[0]).max()
        print(
            f"{path}: correlation {correlation:.4f}, "
            f"largest difference {difference:.2g}"
        )
        if not correlation >= LEAST_CORRELATION:
            raise ValueError(
                must_be(
                    "correlation with ONNX Runtime",
                    f"at least {LEAST_CORRELATION}",
                    f"{correlation:.4f} for {str(path)!r}",
                )
            )


@torch.no_grad()
@full_float32()
def _output(model, signal):
    """(frames, features)."""
    latents = model.extractor(signal[None])
    return model.encoder_wrapper(latents)["embeddings"][0].numpy()
