"""Runs the benchmarks that need no data and take no hours, and joins their
sections into measured.md.

> python benchmarks/all.py

Each runs in a process of its own. If the machine cannot run a benchmark, its
section says so. If a benchmark fails, its section holds the reason, and the
exit status is 1. Sections are kept in --folder, so that --only can repeat some
of them. benchmarks/RESULTS.md is put together from them by hand, and is never
written.
"""

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
OUT = FOLDER.parent / "results" / "benchmarks"

BENCHMARKS = {
    "attention": None,
    "llsa_forward": None,
    "llsa_training": None,
    "streaming_step": None,
    "conformer_step": None,
    "int8_convolutions": None,
    "int8_batch": None,
    "real_time_factor": None,
    "start": None,
    "many_streams": "Many live streams",
    "server_load": None,
    "one_hour": None,
    "import_exactness": None,
    "training_step": "Training step of the recipes",
    "shard_reading": None,
    "gpu": "GPU",
}
"""By name, the title of those whose section has none."""

ARGUMENTS = {
    "conformer_step": ["--threads", "1"],
    "many_streams": ["--threads", "2"],
    "import_exactness": ["--double"],
}
"""Those of the commands in docs/benchmarks.md."""

HEAD = """# Results of the benchmarks

Written by `python benchmarks/all.py`. Times are medians of turns that peers
take within one process, with the interquartile range; ratios are those of the
medians, with the range over the turns. Results are compared with those of the
reference or the peer before they are timed, but for rows that say "time only",
streams in real time and training steps of the recipes.
"""


def main(arguments=None):
    """Runs and joins.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.

    Returns
    -------
    int
        The exit status: 1 if a benchmark failed.
    """
    options = parser().parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = [name for name in options.only if not run(name, options)]
    sections = [HEAD]
    for name in BENCHMARKS:
        path = section_path(options.folder, name)
        if path.exists():
            sections.append(path.read_text(encoding="utf-8"))
    results = options.folder / "measured.md"
    results.write_text("\n".join(sections), encoding="utf-8")
    print(f"{results}: {len(sections) - 1} sections")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=OUT,
        help="for measured.md, sections and plots "
        "(default: results/benchmarks/)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=BENCHMARKS,
        default=list(BENCHMARKS),
        metavar="NAME",
        help=f"of {', '.join(BENCHMARKS)} (default: all)",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="small sizes: does it run?"
    )
    return parser


def section_path(folder, name):
    """Path of the section of a benchmark."""
    return folder / f"{name}.section.md"


def run(name, options):
    """Runs a benchmark; returns whether it succeeded.

    Arguments
    ---------
    name : str
        Of the benchmark.
    options : argparse.Namespace
        The result of :func:`parser`.

    Returns
    -------
    bool
    """
    path = section_path(options.folder, name)
    path.unlink(missing_ok=True)
    script = FOLDER / f"{name}.py"
    command = [sys.executable, str(script), "--out", str(path)]
    command += ARGUMENTS.get(name, [])
    if options.tiny:
        command.append("--tiny")
    print(f"{name} ...", flush=True)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    title = BENCHMARKS[name]
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        lines = done.stderr.strip().splitlines() or ["no message"]
        path.write_text(
            f"## {title or name}\n\n**Not measured**: {lines[-1]}\n",
            encoding="utf-8",
        )
        return False
    if title is not None:
        table = path.read_text(encoding="utf-8")
        path.write_text(f"## {title}\n\n{table}", encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main())
