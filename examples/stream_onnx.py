"""Streams a 16 kHz mono file through an exported model with plain ONNX Runtime.

python examples/stream_onnx.py EXPORTED_FOLDER SPEECH.wav
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

# what the encoding of the output lacks is printed as an escape
sys.stdout.reconfigure(errors="backslashreplace")
folder = Path(sys.argv[1])
model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
options = onnxruntime.SessionOptions()
if hasattr(os, "sched_getaffinity"):  # the CPUs that this process may use
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
graphs = model["graphs"]  # fp32, int8 or both
step = onnxruntime.InferenceSession(
    str(folder / (graphs.get("int8") or graphs["fp32"])), options
)
speech, sample_rate = soundfile.read(sys.argv[2], dtype="float32")
assert speech.ndim == 1 and sample_rate == model["sample_rate"]

stride, field = model["stride_samples"], model["receptive_field_samples"]
field -= model.get("padding_samples", 0)
end = max(0, (len(speech) - field) // stride + 1)  # frames of the utterance
new_frames = end + model["delay_frames"] - model["first_frame"]
steps = -(-new_frames // model["step_frames"]) if end else 0
signal = np.zeros(steps * model["step_samples"], np.float32)
heard = speech[: len(signal) - model["leading_samples"]]
signal[model["leading_samples"] :][: len(heard)] = heard

state = {
    part["name"]: np.zeros([1, *part["shape"][1:]], np.float32)
    for part in model["state"]
}
position, last, text = model["first_frame"], model["blank_index"], ""
for samples in signal.reshape(steps, model["step_samples"]):
    log_probs, _, *new = step.run(
        None,
        {
            "samples": samples[None],
            "position": np.array([position]),
            "end": np.array([end]),  # model["never"] while it is not known
            **state,
        },
    )
    state = dict(zip(state, new, strict=True))
    first = position - model["delay_frames"]
    for label in log_probs[0].argmax(-1)[max(0, -first) : max(0, end - first)]:
        if label not in (last, model["blank_index"]):
            text += model["pieces" if text else "first_pieces"][label]
        last = label
    position += model["step_frames"]
print(text)
