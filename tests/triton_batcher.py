"""What Triton's sequence batcher does with a model, by its config alone."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import triton_to_np_dtype


def read_config(folder):
    """The ``config.pbtxt`` of a model, as Triton reads it."""
    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, ModelConfig())


def numpy_type(config_type):
    """That of a number such as TYPE_FP32."""
    name = type_name(config_type).removeprefix("TYPE_")
    return triton_to_np_dtype(name)


def type_name(config_type):
    """The name of such a number."""
    types = ModelConfig.DESCRIPTOR.file.enum_types_by_name["DataType"]
    return types.values_by_number[config_type].name


@dataclass
class Request:
    """One request of a client, whose rows are one."""

    sequence: int
    inputs: dict
    start: bool = False
    end: bool = False


class TritonBatcher:
    """The states of sequences, and a graph that knows nothing of them."""

    def __init__(self, folder):
        self.config = read_config(folder)
        self.live = {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            folder / "1" / "model.onnx", options
        )

    def infer(self, requests):
        """Runs a batch; gives the outputs of each request, by name."""
        config = self.config
        states = config.sequence_batching.state
        assert 0 < len(requests) <= config.max_batch_size
        assert len({r.sequence for r in requests}) == len(requests)
        for request in requests:
            assert request.start == (request.sequence not in self.live)
            if request.start:
                self.live[request.sequence] = [
                    self._initial(state) for state in states
                ]
        most = config.sequence_batching.oldest.max_candidate_sequences
        assert len(self.live) <= most
        feeds = {
            each.name: self._batch(each, [r.inputs for r in requests])
            for each in config.input
        }
        kept = [self.live[request.sequence] for request in requests]
        for index, state in enumerate(states):
            rows = [tensors[index] for tensors in kept]
            feeds[state.input_name] = np.concatenate(rows)
        read = [each.name for each in config.output]
        names = read + [state.output_name for state in states]
        given = self._session.run(names, feeds)
        for row, request in enumerate(requests):
            new = [each[row : row + 1] for each in given[len(read) :]]
            self.live[request.sequence] = new
            if request.end:
                del self.live[request.sequence]
        outputs = given[: len(read)]
        for each, output in zip(config.output, outputs, strict=True):
            assert output.shape[1:] == tuple(each.dims)
        return [
            {
                name: output[row : row + 1]
                for name, output in zip(read, outputs, strict=True)
            }
            for row in range(len(requests))
        ]

    def _initial(self, state):
        (initial,) = state.initial_state
        assert initial.name and initial.dims == state.dims
        assert initial.data_type == state.data_type
        assert initial.WhichOneof("state_data") == "zero_data"
        return np.zeros([1, *initial.dims], numpy_type(initial.data_type))

    def _batch(self, described, inputs):
        assert all(
            each.keys() == {known.name for known in self.config.input}
            for each in inputs
        )
        rows = [each[described.name] for each in inputs]
        for row in rows:
            assert row.shape == (1, *described.dims)
            assert row.dtype == numpy_type(described.data_type)
        batch = np.concatenate(rows)
        if described.HasField("reshape"):
            batch = batch.reshape(len(rows), *described.reshape.shape)
        return batch
