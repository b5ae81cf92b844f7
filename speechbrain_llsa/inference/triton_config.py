"""What Triton Inference Server needs to be told of a graph: its inputs and
outputs, and which of them are the state of a stream."""

import textwrap

from speechbrain_llsa_runtime.utils.errors import must_be

MOST_ROWS = 16
"""Streams that one run of a graph may take: the slots of a batcher."""

MOST_STREAMS = 256
"""Live streams of an instance, whose states it keeps; others wait."""

IDLE_SECONDS = 60
"""Silence of a client after which Triton forgets its stream. By default it is
one second, which a network may well be slow for."""

DATA_TYPES = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64"}
"""Triton's name of each type that a graph has."""


def triton_config(inputs, outputs, rows_share_ranges=False):
    """Writes a ``config.pbtxt``: Triton's ``ModelConfig`` as text.

    An input for which there is an output ``new_NAME`` is state: Triton keeps
    it for each sequence, zeros at first. All others come from the client.

    Arguments
    ---------
    inputs : list of onnxruntime.NodeArg
        ``name``, ``type`` and ``shape`` of each, as ONNX Runtime gives them;
        the first axis is the batch.
    outputs : list of onnxruntime.NodeArg
        The same.
    rows_share_ranges : bool
        Whether the graph quantises the rows of a batch together, so that what
        it gives for one stream depends on the others. It then gets them one
        by one.

    Returns
    -------
    str
        The file. It names no model: Triton takes the name of the folder.

    Raises
    ------
    ValueError
        If an input or an output has a type that no graph of ours has.

    Example
    -------
    >>> from collections import namedtuple
    >>> Tensor = namedtuple("Tensor", "name type shape")
    >>> config = triton_config(
    ...     [
    ...         Tensor("samples", "tensor(float)", ["batch", 640]),
    ...         Tensor("end", "tensor(int64)", ["batch"]),
    ...         Tensor("ahead", "tensor(float)", ["batch", 4, 8]),
    ...     ],
    ...     [
    ...         Tensor("log_probs", "tensor(float)", ["batch", 2, 30]),
    ...         Tensor("new_ahead", "tensor(float)", ["batch", 4, 8]),
    ...     ],
    ... )
    >>> print(config[config.index("input") : config.index("output")])
    input {
      name: "samples"
      data_type: TYPE_FP32
      dims: [ 640 ]
    }
    input {
      name: "end"
      data_type: TYPE_INT64
      dims: [ 1 ]
      reshape { shape: [ ] }
    }
    <BLANKLINE>
    >>> print(config[config.index("  state") :])
      state {
        input_name: "ahead"
        output_name: "new_ahead"
        data_type: TYPE_FP32
        dims: [ 4, 8 ]
        initial_state {
          name: "ahead"
          data_type: TYPE_FP32
          dims: [ 4, 8 ]
          zero_data: true
        }
      }
    }
    <BLANKLINE>
    """
    new = {tensor.name for tensor in outputs}
    states = [each for each in inputs if f"new_{each.name}" in new]
    names = {f"new_{state.name}" for state in states}
    given = [each for each in inputs if each not in states]
    # an output without frames is none: Triton takes no axis of size 0
    read = [t for t in outputs if t.name not in names and 0 not in t.shape]
    lines = [
        'backend: "onnxruntime"',
        'platform: "onnxruntime_onnx"',
        *_most_rows(rows_share_ranges),
        *(_block("input", *_described(tensor)) for tensor in given),
        *(_block("output", *_described(tensor)) for tensor in read),
        _block(
            "sequence_batching",
            f"max_sequence_idle_microseconds: {IDLE_SECONDS * 10**6}",
            _block("oldest", f"max_candidate_sequences: {MOST_STREAMS}"),
            *map(_state, states),
        ),
    ]
    return "\n".join(lines) + "\n"


def _most_rows(rows_share_ranges):
    if rows_share_ranges:
        return (
            "# more rows would share the ranges of 8 bits, and change each "
            "other",
            "max_batch_size: 1",
        )
    return (f"max_batch_size: {MOST_ROWS}",)


def _state(tensor):
    form = _form(tensor)
    return _block(
        "state",
        f'input_name: "{tensor.name}"',
        f'output_name: "new_{tensor.name}"',
        *form,
        _block(
            "initial_state",
            f'name: "{tensor.name}"',
            *form,
            "zero_data: true",
        ),
    )


def _described(tensor):
    """An input or output. Triton wants an axis beside that of the batch, and
    takes it away where the graph has none."""
    scalar = [] if tensor.shape[1:] else ["reshape { shape: [ ] }"]
    return f'name: "{tensor.name}"', *_form(tensor), *scalar


def _form(tensor):
    if tensor.type not in DATA_TYPES:
        raise ValueError(
            must_be(
                "graph",
                f"one of {' and '.join(DATA_TYPES)} alone",
                f"{tensor.name} of {tensor.type}",
            )
        )
    sizes = ", ".join(map(str, tensor.shape[1:] or [1]))
    return f"data_type: {DATA_TYPES[tensor.type]}", f"dims: [ {sizes} ]"


def _block(name, *lines):
    inner = textwrap.indent("\n".join(lines), "  ")
    return f"{name} {{\n{inner}\n}}"
