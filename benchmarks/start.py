"""From the command to the first letter of a file of two seconds, each time in a
new process.

> python benchmarks/start.py --out start.md
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from common import Bar, Report, duration, make_parser, parse
from speechbrain_llsa_runtime.dataio.audio_files import read_signal
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.model_folder.shipped import find_model
from speechbrain_llsa_runtime.utils.errors import must_be
from synthesize import synthesize_corpus

SECONDS = 2.0
TURNS = 7

TEXT = """
`transcribe` with the English model on a file of 2 s of synthetic speech, from
the start of the process to the first letter of its output. Files are in the
memory of the machine, and the commands take turns. Before they are timed, all
print the same text but for that of the weights, which must not be empty.
"""


def commands(audio):
    """The commands to time.

    Arguments
    ---------
    audio : pathlib.Path
        The file.

    Returns
    -------
    dict of str to (list of str, Bar or None)
        By name: the command line, and the bound of its seconds.
    """
    runtime = [sys.executable, "-m", "speechbrain_llsa_runtime", "transcribe"]
    full = [sys.executable, "-m", "speechbrain_llsa", "transcribe"]
    exported = ["--model", str(find_model("english"))]
    return {
        "graph, runtime package": ([*runtime, str(audio)], Bar(1.0)),
        "graph, full package": ([*full, *exported, str(audio)], None),
        "weights, greedy": (
            [*full, "--search", "greedy", str(audio)],
            Bar(4.0),
        ),
    }


def time_to_first_letter(command, environment):
    """Runs a command.

    Arguments
    ---------
    command : list of str
        The command line.
    environment : dict
        Its environment.

    Returns
    -------
    float
        Seconds to the first letter.
    str
        All that it printed.

    Raises
    ------
    SystemExit
        If it fails, or prints no letter.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        bufsize=0,
    ) as process:
        text = b""
        while not text.strip():
            byte = process.stdout.read(1)
            if not byte:
                raise SystemExit(
                    must_be(
                        " ".join(command),
                        "a command that prints text",
                        process.stderr.read().decode(errors="replace")[-500:],
                    )
                )
            text += byte
        seconds = time.perf_counter() - began
        text += process.stdout.read()
    return seconds, text.decode().strip()


def main(arguments=None):
    """Checks, measures and writes."""
    options = parse(make_parser(__doc__), arguments)
    turns = 1 if options.tiny else TURNS
    report = Report("Start", TEXT, options)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": str(options.threads),
    }
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "sentences")
        synthesize_corpus(corpus, {"test": (1, 1)}, "sentences", progress=False)
        (whole,) = corpus.rglob("*.flac")
        audio = Path(folder, "speech.wav")
        samples = read_signal(whole)[: round(SECONDS * SAMPLE_RATE)]
        soundfile.write(audio, samples, SAMPLE_RATE)
        # brings the files into memory as well
        graph, same, _ = (
            time_to_first_letter(command, environment)[1]
            for command, _ in commands(audio).values()
        )
        if graph != same:
            raise SystemExit(
                must_be("texts of the graph", repr(graph), repr(same))
            )
        times = {name: [] for name in commands(audio)}
        for _ in range(turns):
            for name, (command, _) in commands(audio).items():
                seconds, _ = time_to_first_letter(command, environment)
                times[name].append(seconds)
        for name, (_, bar) in commands(audio).items():
            median = statistics.median(times[name])
            report.add(name, duration(times[name]), bar=bar, value=median)
    report.write()


if __name__ == "__main__":
    main()
