"""Streams a 16 kHz mono file through a model of a Triton server, by gRPC.

python examples/stream_triton.py REPOSITORY/MODEL SPEECH.wav localhost:8001
"""

import json
import sys
import uuid
from pathlib import Path

import numpy as np
import soundfile
import tritonclient.grpc as triton

# what the encoding of the output lacks is printed as an escape
sys.stdout.reconfigure(errors="backslashreplace")
folder = Path(sys.argv[1])  # as export --triton wrote it
model = json.loads((folder / "1" / "model.json").read_text(encoding="utf-8"))
speech, sample_rate = soundfile.read(sys.argv[2], dtype="float32")
assert speech.ndim == 1 and sample_rate == model["sample_rate"]
server = triton.InferenceServerClient(sys.argv[3])

stride, field = model["stride_samples"], model["receptive_field_samples"]
field -= model.get("padding_samples", 0)
end = max(0, (len(speech) - field) // stride + 1)  # frames of the utterance
new_frames = end + model["delay_frames"] - model["first_frame"]
steps = -(-new_frames // model["step_frames"]) if end else 0
signal = np.zeros(steps * model["step_samples"], np.float32)
heard = speech[: len(signal) - model["leading_samples"]]
signal[model["leading_samples"] :][: len(heard)] = heard


def tensor(name, values, datatype):
    """An input of one row."""
    given = triton.InferInput(name, [1, len(values)], datatype)
    given.set_data_from_numpy(values[None])
    return given


stream = str(uuid.uuid4())
position, last, text = model["first_frame"], model["blank_index"], ""
for step, samples in enumerate(signal.reshape(steps, model["step_samples"])):
    answer = server.infer(
        folder.name,
        [
            tensor("samples", samples, "FP32"),
            tensor("position", np.array([position]), "INT64"),
            # model["never"] while it is not known
            tensor("end", np.array([end]), "INT64"),
        ],
        sequence_id=stream,
        sequence_start=step == 0,
        sequence_end=step == steps - 1,
    )
    best = answer.as_numpy("log_probs")[0].argmax(-1)
    first = position - model["delay_frames"]
    for label in best[max(0, -first) : max(0, end - first)]:
        if label not in (last, model["blank_index"]):
            text += model["pieces" if text else "first_pieces"][label]
        last = label
    position += model["step_frames"]
print(text)
