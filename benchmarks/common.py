"""Shared by all benchmarks: the command line, timing, checks, and the section
of benchmarks/RESULTS.md that each writes."""

import argparse
import math
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch.utils.benchmark import Timer

import _paths  # noqa: F401
from speechbrain_llsa.evaluation.corpus import read_split
from speechbrain_llsa.evaluation.machine import processor
from speechbrain_llsa.ops import reference
from speechbrain_llsa.ops.attend import attend_frames, attend_hops
from speechbrain_llsa.utils.markdown import markdown_table
from speechbrain_llsa.visibility import frame_tags, hop_tags
from speechbrain_llsa_runtime.utils.checks import check_number
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.processes import available_cpus

TOLERANCE = 1e-4
"""Largest difference in float32, relative to the largest value where that is
above 1."""


def make_parser(description):
    """The command line of a benchmark.

    Arguments
    ---------
    description : str
        What it measures.

    Returns
    -------
    argparse.ArgumentParser
        With --out, --tiny and --threads.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="Markdown file; plots go into the same folder (default: print)",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="small sizes: does it run?"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=2,
        help="threads of PyTorch and ONNX Runtime (default: %(default)s)",
    )
    return parser


def parse(parser, arguments):
    """Reads the command line, and begins: threads and seed.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        The result of :func:`make_parser`, possibly with more options.
    arguments : list of str or None
        The command line without the name of the program.

    Returns
    -------
    argparse.Namespace
    """
    options = parser.parse_args(arguments)
    check_at_least_one(parser, options, "--threads")
    options.threads = min(options.threads, available_cpus())
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options


def check_at_least_one(parser, options, *names):
    """Exits with an error of the command line if a number is below 1.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        The parser.
    options : argparse.Namespace
        What it has read.
    *names : str
        Arguments that are numbers, such as --threads; ``None`` passes.

    Example
    -------
    >>> parser = make_parser("Sums of numbers.")
    >>> check_at_least_one(parser, parser.parse_args([]), "--threads")
    """
    for name in names:
        value = getattr(options, name.lstrip("-"))
        try:
            if value is not None:
                check_number(name, value, 1)
        except ValueError as error:
            parser.error(str(error))


def read_splits(parser, options):
    """Reads the splits of the command line.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        The parser, which exits with an error if one cannot be read.
    options : argparse.Namespace
        With ``data`` and ``splits``.

    Returns
    -------
    dict of str to list of Utterance
        By split.
    """
    try:
        return {
            split: read_split(options.data, split) for split in options.splits
        }
    except (OSError, ValueError) as error:
        parser.error(str(error))


def machine():
    """Describes the machine.

    Returns
    -------
    str
        Processor, cores, threads and versions.
    """
    import psutil

    return (
        f"{processor()}, {psutil.cpu_count(logical=True)} logical cores; "
        f"{torch.get_num_threads()} threads; PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


def take_turns(functions, turns=5, min_run_time=0.5, number=None):
    """Times functions in turn, A B C A B C ..., so that other load on the
    machine affects all of them.

    Arguments
    ---------
    functions : dict of str to callable
        By name, without arguments.
    turns : int
        How often each has its turn.
    min_run_time : float
        Seconds of a turn, at least; a turn has at least one call, after one
        that warms up.
    number : int, optional
        Calls of a turn, in place of ``min_run_time``; more come before them,
        to warm up.

    Returns
    -------
    dict of str to list of float
        By name, the seconds of a call in each turn.

    Example
    -------
    >>> times = take_turns({"sum": lambda: sum(range(9))}, 3, 0.001)
    >>> len(times["sum"])
    3
    """
    timers = {
        name: Timer(
            "function()",
            globals={"function": function},
            num_threads=torch.get_num_threads(),
        )
        for name, function in functions.items()
    }
    times = {name: [] for name in functions}
    for _ in range(turns):
        for name, timer in timers.items():
            if number is None:
                turn = timer.blocked_autorange(min_run_time=min_run_time)
            else:
                turn = timer.timeit(number)
            times[name].append(turn.median)
    return times


def check_equal(what, actual, expected, tolerance=TOLERANCE):
    """Exits if two results differ.

    Arguments
    ---------
    what : str
        Name of the results.
    actual : torch.Tensor or list of torch.Tensor
        The computed values.
    expected : torch.Tensor or list of torch.Tensor
        The expected values, of the same shapes.
    tolerance : float
        Largest difference, relative to the largest value where that is above
        1.

    Raises
    ------
    SystemExit
        If they differ by more.
    """
    if isinstance(actual, torch.Tensor):
        actual, expected = [actual], [expected]
    for one, other in zip(actual, expected, strict=True):
        if one.shape != other.shape:
            raise SystemExit(
                must_be(
                    what,
                    f"of shape {tuple(other.shape)}",
                    f"{tuple(one.shape)}; nothing was measured",
                )
            )
        error = (one - other).abs().max() / other.abs().max().clamp(min=1)
        if not error <= tolerance:
            raise SystemExit(
                must_be(
                    what,
                    f"the same within {tolerance:g}",
                    f"a difference of {error.item():.3g}; nothing was measured",
                )
            )


def attend(inputs, geometry, attention):
    """Runs the attention path for a whole utterance.

    Arguments
    ---------
    inputs : list of torch.Tensor
        Query, key and value, (batch, heads, frames, head dimension); for llsa
        the frames lie hop by hop.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    attention : str
        One of aa, maa, sa and llsa.

    Returns
    -------
    torch.Tensor
        Of the shape of the query.
    """
    if attention == "llsa":
        return attend_hops(*inputs, None, None, 0, geometry)
    return attend_frames(*inputs, 0, 0, geometry, attention)


def with_gradients(function, inputs, weight):
    """Computes the output of a function, and its gradients.

    Arguments
    ---------
    function : callable
        Takes the list of inputs, gives a tensor.
    inputs : list of torch.Tensor
        They want gradients.
    weight : torch.Tensor
        The gradient of the output.

    Returns
    -------
    list of torch.Tensor
        The output, and the gradient of each input.
    """
    out = function(inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, weight)]


def random_inputs(heads, frames, head_dim):
    """Query, key and value.

    Arguments
    ---------
    heads : int
        Attention heads.
    frames : int
        Frames.
    head_dim : int
        Features of a head.

    Returns
    -------
    list of torch.Tensor
        Three of (1, heads, frames, head dimension), which want gradients.
    """
    return [
        torch.randn(1, heads, frames, head_dim, requires_grad=True)
        for _ in range(3)
    ]


def check_attention(geometry, attention, heads, head_dim):
    """Exits if an attention differs from the reference, outputs or gradients,
    on an utterance somewhat longer than it looks back.

    Arguments
    ---------
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    attention : str
        One of aa, maa, sa and llsa.
    heads : int
        Attention heads.
    head_dim : int
        Features of a head.

    Raises
    ------
    SystemExit
        If they differ.
    """
    frames = geometry.look_back + geometry.look_ahead + 7
    tags = frame_tags(0, frames)
    if attention == "llsa":
        tags = hop_tags(0, -(-frames // geometry.hop), geometry)
    inputs = random_inputs(heads, len(tags.position), head_dim)
    weight = torch.randn_like(inputs[0])
    check_equal(
        f"{attention}, hop {geometry.hop}, against the reference",
        with_gradients(
            lambda x: attend(x, geometry, attention), inputs, weight
        ),
        with_gradients(
            lambda x: reference.attend(*x, tags, tags, geometry, attention),
            inputs,
            weight,
        ),
    )


def exponent(sizes, values):
    """Growth exponent of a value: the slope of a line through the logarithms.

    Arguments
    ---------
    sizes : list of int
        Sizes.
    values : list of float
        The value at each of them.

    Returns
    -------
    float

    Example
    -------
    >>> round(exponent([1, 2, 4], [3.0, 12.0, 48.0]), 3)
    2.0
    """
    logarithms = numpy.log(sizes), numpy.log(values)
    return float(numpy.polynomial.polynomial.polyfit(*logarithms, 1)[1])


@dataclass(frozen=True)
class Bar:
    """A bound that a figure must meet.

    Example
    -------
    >>> str(Bar(0.75)), Bar(0.75).met(0.8)
    ('at most 0.75', False)
    >>> str(Bar(15, least=True)), Bar(15, least=True).met(16)
    ('at least 15', True)
    """

    allowed: float
    """The bound."""

    least: bool = False
    """Whether it is a lower bound."""

    def met(self, value):
        """Whether a figure meets the bound."""
        if self.least:
            return value >= self.allowed
        return value <= self.allowed

    def __str__(self):
        return f"at {'least' if self.least else 'most'} {self.allowed:.4g}"


class Report:
    """One section of the results: a table of work against bars.

    Arguments
    ---------
    title : str
        Of the section.
    text : str
        What was measured, how, and against what.
    options : argparse.Namespace
        The result of :func:`parse`.

    Example
    -------
    >>> options = argparse.Namespace(tiny=False, out=None)
    >>> report = Report("Sums", "Sums of numbers.", options)
    >>> report.add("9", "2 s", "5 s", "0.4", Bar(0.5), 2 / 5)
    Sums: 9 | 2 s | 5 s | 0.4 | at most 0.5 | met
    >>> report.markdown().splitlines()[-1]
    '| 9 | 2 s | 5 s | 0.4 | at most 0.5 | met |'
    """

    def __init__(self, title, text, options):
        self.title = title
        self.text = " ".join(text.split())
        self.options = options
        self.rows = []
        self.pictures = []

    def compare(self, work, ours, peer, bar=None):
        """A row of times.

        Arguments
        ---------
        work : str
            What was timed.
        ours : list of float
            Seconds, for each turn.
        peer : list of float
            Seconds of the peer, for each turn.
        bar : Bar, optional
            A lower bound of the speed-up, or an upper bound of our fraction of
            the peer's time.
        """
        faster = bar is None or bar.least
        pairs = zip(ours, peer, strict=True)
        ratios = [b / a if faster else a / b for a, b in pairs]
        one, other = statistics.median(ours), statistics.median(peer)
        ratio = other / one if faster else one / other
        self.add(
            work,
            duration(ours),
            duration(peer),
            f"{figure(ratio)}{' times faster' if faster else ''} "
            f"({figure(min(ratios))} to {figure(max(ratios))})",
            bar,
            ratio,
        )

    def add(self, work, ours, peer="", ratio="", bar=None, value=None):
        """Any row.

        Arguments
        ---------
        work : str
            What was measured.
        ours : str
            Our figure.
        peer : str
            Figure of the peer.
        ratio : str
            Of the two.
        bar : Bar, optional
            Bound for ``value``.
        value : float, optional
            Value that is compared with the bar.
        """
        verdict = ""
        if bar is not None:
            verdict = "met" if bar.met(value) else "**missed**"
        cells = work, ours, peer, ratio, "" if bar is None else str(bar)
        self.rows.append((*cells, verdict))
        print(f"{self.title}: {' | '.join(self.rows[-1])}", flush=True)

    def save_picture(self, figure, name):
        """Saves a plot beside the section, if that is written.

        Arguments
        ---------
        figure : matplotlib.figure.Figure
            The plot.
        name : str
            Name of the file.
        """
        if self.options.out is not None:
            self.options.out.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(self.options.out.parent / name, dpi=100)
            self.pictures.append(name)

    def markdown(self):
        """The section."""
        lines = [f"## {self.title}", "", self.text, ""]
        if self.options.tiny:
            lines += ["Small sizes, which say only that it runs.", ""]
        lines += [
            f"{machine()}.",
            "",
            markdown_table(
                ["work", "ours", "peer", "ratio", "bar", "result"],
                self.rows,
                right=range(1, 5),
            ),
        ]
        for name in self.pictures:
            title = name.partition(".")[0].replace("_", " ").capitalize()
            lines += ["", f"![{title}]({name})"]
        return "\n".join(lines) + "\n"

    def write(self):
        """Writes the section to the path of the command line."""
        if self.options.out is not None:
            self.options.out.parent.mkdir(parents=True, exist_ok=True)
            self.options.out.write_text(self.markdown(), encoding="utf-8")


def figure(value):
    """Three digits, and no exponent.

    Example
    -------
    >>> figure(1234.5), figure(12.345), figure(0.012345)
    ('1,234', '12.3', '0.0123')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def duration(times):
    """Median and interquartile range of times.

    Arguments
    ---------
    times : list of float
        Seconds.

    Returns
    -------
    str
        In milliseconds.

    Example
    -------
    >>> duration([0.010, 0.012, 0.014])
    '12.0 ms (11.0 to 13.0)'
    """
    low, median, high = numpy.percentile(times, [25, 50, 75]) * 1e3
    return f"{figure(median)} ms ({figure(low)} to {figure(high)})"


def mebibytes(size):
    """Bytes, as a cell of the table.

    Example
    -------
    >>> mebibytes(3 * 2**20)
    '3.00 MiB'
    """
    return f"{figure(size / 2**20)} MiB"
