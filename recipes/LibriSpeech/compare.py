#!/usr/bin/env python3
"""Trains one model for each row of a table, and writes the table.

> python compare.py ../../hparams/compare_small.yaml --data_folder FOLDER

FOLDER is in LibriSpeech layout. The YAML file, a plan, names the rows: the
entries of ``pretrain.py`` and ``finetune_ctc.py`` that each overrides, and its
seeds; a row that is a transducer names another YAML file. Everything else is
equal in all rows: data, order of batches, steps.

Running the same command again continues after an interruption: finished rows
are kept, and a row in progress resumes from its checkpoint. Two commands
running at once share the rows. ``--report`` only writes the report of the
results so far, ``--estimate`` prints what the trainings would cost.

``output_folder`` then holds ``RESULTS.md``, ``results.json``,
``error_rates.png`` and ``pretraining.png``, and in ``rows/`` each training
with its logs and its model.
"""

import sys
import time
from pathlib import Path

from comparison.estimate import check_rows, estimate_plan
from comparison.plan import as_arguments, read_plan
from comparison.report import write_report
from comparison.results import collect
from comparison.stages import Stage, StageError, locked
from librispeech_prepare import prepare_librispeech
from speechbrain_llsa.training.recipe import exit_on_bad_input
from speechbrain_llsa.training.warm_start import describe_start
from speechbrain_llsa_runtime.utils.checks import check_number
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters

HERE = Path(__file__).resolve().parent
OPERATIONS_PER_SECOND = 2e14
_WAIT_SECONDS = 5.0


class Comparison:
    """A plan, and the folder in which its rows are trained.

    Arguments
    ---------
    plan : comparison.plan.Plan
        The plan of the comparison.
    data_folder : pathlib.Path
        In LibriSpeech layout.
    output_folder : pathlib.Path
        Folder for all output.
    pretrained_folder : str, optional
        The model folder that all rows start from, for a plan that pre-trains
        none.

    Raises
    ------
    ValueError
        If the plan pre-trains and a folder is given, or neither.
    """

    def __init__(
        self, plan, data_folder, output_folder, pretrained_folder=None
    ):
        _check_start(plan, pretrained_folder)
        self.plan = plan
        self.data_folder = data_folder
        self.output_folder = output_folder
        self.pretrained_folder = pretrained_folder
        self._start = describe_start(pretrained_folder)

    def folder(self, row, seed):
        """Folder of a row and seed."""
        return self.output_folder / "rows" / row.folder_name / f"seed_{seed}"

    def seeds(self, row):
        """Seeds of a row."""
        return self.plan.trained(row).seeds

    def stages(self, row, seed):
        """The stages of a row, in order: those that train it, if it has a
        training of its own, and the one that measures it.

        Arguments
        ---------
        row : comparison.plan.Row
            The row.
        seed : int
            One of its seeds.

        Returns
        -------
        list of comparison.stages.Stage
        """
        folder = self.folder(row, seed)
        stages = []
        if row.weights_of is None:
            start = self.pretrained_folder
            if row.starts_from:
                start = self._model(row.starts_from, seed)
            elif start is None:
                stages.append(self._recipe("pretrain", row, seed))
                start = folder / "pretrain" / "pretrained"
            teacher = ()
            if row.teacher:
                teacher = ("--teacher", self._model(row.teacher, seed))
            stages.append(
                self._recipe(
                    "finetune",
                    row,
                    seed,
                    *("--pretrained_folder", start),
                    *teacher,
                    # measured by a stage of its own
                    *("--test_splits", "[]", "--streamed_count", "0"),
                )
            )
        settings = {
            "split": self.plan.test_split,
            **self.plan.measurement,
            **row.overrides.get("swaps", {}),
        }
        command = [
            *(sys.executable, HERE / "comparison" / "measure.py"),
            self._model(self.plan.trained(row).name, seed),
            self.data_folder,
            folder / "measured.json",
            *as_arguments(settings),
        ]
        return [*stages, Stage("measure", folder, command, settings)]

    def _model(self, name, seed):
        """The model folder that the training of a row ends with."""
        row = self.plan.row(name)
        return self.folder(row, seed) / "finetune" / "streaming"

    def _recipe(self, recipe, row, seed, *arguments):
        folder = self.folder(row, seed)
        hparams = row.hparams[recipe]
        settings = {"seed": seed, **row.overrides[recipe]}
        if "device" in self.plan.measurement:
            settings["device"] = self.plan.measurement["device"]
        command = [
            *(sys.executable, HERE / row.script(recipe)),
            hparams.resolve(),
            *("--data_folder", self.data_folder),
            *("--output_folder", folder / recipe),
            *("--manifest_folder", self.output_folder / "manifests"),
            *arguments,
            *as_arguments(settings),
        ]
        settings = {"hparams": hparams.name, **settings}
        if row.starts_from is None and self._start is not None:
            settings["pretrained_folder"] = self._start
        for entry in ("starts_from", "teacher"):
            if name := getattr(row, entry):
                # if that row is trained anew, so must this one be
                other = self.plan.row(name).overrides["finetune"]
                settings[entry] = {"row": name, **other}
        return Stage(recipe, folder, command, settings)

    def check(self):
        """Rejects rows that were trained with different settings."""
        for row in self.plan.rows:
            for seed in self.seeds(row):
                self.stages(row, seed)

    def prepare(self):
        """Writes the manifests that all trainings use."""
        splits = set()
        for row in self.plan.rows:
            for entries in row.entries.values():
                splits |= {*entries["train_splits"], *entries["valid_splits"]}
        with locked(self.output_folder / "manifests", wait=True):
            prepare_librispeech(
                self.data_folder,
                self.output_folder / "manifests",
                sorted(splits | {self.plan.test_split}),
            )

    def run(self, say=print):
        """Runs all rows, in the order of the plan, each with all its seeds.

        Arguments
        ---------
        say : callable
            Called with progress messages.

        Returns
        -------
        list of str
            Messages about what failed.
        """
        failures = []
        to_do = [
            (row, seed) for row in self.plan.rows for seed in self.seeds(row)
        ]
        while to_do:
            later = []
            for row, seed in to_do:
                if not self._may_begin(row, seed):
                    later.append((row, seed))
                    continue
                with locked(self.folder(row, seed)) as lock:
                    if lock is None:
                        later.append((row, seed))
                        continue
                    try:
                        changed = self._run_row(row, seed, lock, say)
                    except StageError as error:
                        say(f"{_label(row.name, seed)}: {error}")
                        failures.append(_label(row.name, seed))
                        changed = True
                if changed:
                    self.report()
            for row, seed in list(later):
                needed = {_label(name, seed) for name in row.needs}
                if needed & {*failures} and not self._may_begin(row, seed):
                    say(f"{_label(row.name, seed)}: left out")
                    failures.append(_label(row.name, seed))
                    later.remove((row, seed))
            if later == to_do:
                # somebody else trains these
                time.sleep(_WAIT_SECONDS)
            to_do = later
        self.report()
        return failures

    def report(self):
        """Writes the report of the results so far."""
        with locked(self.output_folder, wait=True):
            results = collect(self)
            write_report(results, self.output_folder)

    def _may_begin(self, row, seed):
        return all(
            stage.ended
            for name in row.needs
            for stage in self.stages(self.plan.row(name), seed)[:-1]
        )

    def _run_row(self, row, seed, lock, say):
        """Runs unfinished stages; returns whether there were any."""
        to_run = [each for each in self.stages(row, seed) if not each.ended]
        for stage in to_run:
            say(f"{_label(row.name, seed)}: {stage.name}")
            stage.run(lock, self.plan.threads)
            cost = stage.cost
            say(
                f"{_label(row.name, seed)}: {stage.name} took "
                f"{cost.cpu_seconds / 60:.1f} minutes of a core"
            )
        return bool(to_run)


def _label(name, seed):
    return f"{name}, seed {seed}"


def _check_start(plan, pretrained_folder):
    if plan.pretrains == (pretrained_folder is not None):
        raise ValueError(
            must_be(
                "pretrained_folder",
                (
                    "given for a plan without the entry 'pretrain', and for no "
                    "other"
                ),
                repr(pretrained_folder),
            )
        )


def prepare(arguments):
    """Prepares the training, and validates all input.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    Comparison or comparison.plan.Plan
        The comparison to run; for an estimate, its plan alone.
    argparse.Namespace
        The options of the command line.
    """
    parser = OneLineParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path, help="YAML file of the rows")
    parser.add_argument(
        "--data_folder", type=Path, help="needed unless --estimate is given"
    )
    parser.add_argument(
        "--output_folder",
        type=Path,
        help="where everything goes (default: results/NAME_OF_THE_PLAN)",
    )
    parser.add_argument(
        "--pretrained_folder",
        help="the model that all rows start from, if the plan pre-trains none",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="write the table of what there is, and train nothing",
    )
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="print the floating-point operations of each training, and train "
        "nothing",
    )
    parser.add_argument(
        "--operations_per_second",
        type=float,
        default=OPERATIONS_PER_SECOND,
        help="what a device does, for --estimate (default: %(default)g, a "
        "fifth of the peak of an H200 in bf16)",
    )
    options = parser.parse_args(arguments)
    plan = read_plan(options.plan)
    if options.estimate:
        check_number(
            "--operations_per_second", options.operations_per_second, 1
        )
        _check_start(plan, options.pretrained_folder)
        describe_start(options.pretrained_folder)
        check_rows(plan)
        return plan, options
    if options.data_folder is None:
        raise ValueError(must_be("--data_folder", "given", "none"))
    output_folder = options.output_folder or Path("results", options.plan.stem)
    comparison = Comparison(
        plan,
        options.data_folder.resolve(),
        output_folder.resolve(),
        options.pretrained_folder,
    )
    comparison.check()
    if not options.report:
        comparison.prepare()
    return comparison, options


@all_characters()
def main(arguments):
    """Runs the comparison.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    int
        The exit status: 1 if a row failed.
    """
    comparison, options = exit_on_bad_input(prepare, arguments)
    if options.estimate:
        print(
            estimate_plan(
                comparison,
                options.operations_per_second,
                options.pretrained_folder,
            )
        )
        return 0
    failures = []
    if options.report:
        comparison.report()
    else:
        failures = comparison.run(say=lambda text: print(text, flush=True))
    print(f"The table is in {comparison.output_folder / 'RESULTS.md'}")
    if failures:
        print(f"failed: {'; '.join(failures)}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
