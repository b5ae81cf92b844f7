"""The plan of a comparison: rows that differ in a few entries of the recipes.

A plan is a YAML file:

    pretrain: pretrain_small.yaml   # beside the plan
    finetune: finetune_small.yaml
    test_split: test
    seeds: [1]                      # of rows that name none
    overrides: {num_layers: 6}      # of both recipes, in every row
    rows:
      - name: acausal
        overrides: {attention: aa}
        seeds: [1, 2]
      - name: llsa
        overrides: {attention: llsa, look_ahead: 8}
    comparisons:
      - [llsa, acausal]

A plan without ``pretrain`` compares fine-tunings of one model folder, which the
command line names; rows differ in what is fine-tuned. A row can have a YAML
file of its own as ``finetune``, for CTC or for a transducer. In such a plan a
row can start from the model of another row, as ``starts_from: NAME``, and learn
from that of another as its ``teacher: NAME``, of the same seed. The other row
must not need one itself.

``device`` is the device of PyTorch; ``push_seconds``, ``streamed_count`` and
``timing_seconds`` are arguments of ``speechbrain_llsa.evaluation``.

With ``base``, another plan in the same folder, a plan only lists differences:
its entries replace those of the base, and overrides are merged one by one.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import ruamel.yaml

from speechbrain_llsa.evaluation.measure import PUSH_SECONDS
from speechbrain_llsa.training.arguments import parse_arguments
from speechbrain_llsa_runtime.geometry import check_attention
from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.text_files import read_text

RECIPES = ("pretrain", "finetune")
TRANSDUCER_SCRIPT = "finetune_transducer.py"
_ENTRIES = {
    "base": str,
    "title": str,
    "text": str,
    "pretrain": str,
    "finetune": str,
    "test_split": str,
    "threads": int,
    "push_seconds": float,
    "device": str,
    "streamed_count": int,
    "timing_seconds": float,
    "seeds": list,
    "overrides": dict,
    "pretrain_overrides": dict,
    "finetune_overrides": dict,
    "rows": list,
    "comparisons": list,
}
_ROW_ENTRIES = {
    "name": str,
    "note": str,
    "finetune": str,
    "seeds": list,
    "weights_of": str,
    "starts_from": str,
    "teacher": str,
    "overrides": dict,
    "pretrain_overrides": dict,
    "finetune_overrides": dict,
}
_MEASUREMENT = ("push_seconds", "streamed_count", "timing_seconds", "device")
_SWAPS = ("attention", "hop", "look_ahead")
_SET_BY_ROW = (
    "seed",
    "data_folder",
    "output_folder",
    "manifest_folder",
    "pretrained_folder",
    "teacher",
    "test_splits",
    "streamed_count",
)


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    """Name of the row."""

    seeds: tuple[int, ...]
    """Seeds of the row, each for a training of its own."""

    hparams: dict = field(default_factory=dict)
    """Path of the YAML file of each recipe; a plan of fine-tunings alone has
    no "pretrain"."""

    entries: dict = field(default_factory=dict, compare=False)
    """Entries of those files, unresolved, with the overrides of the row."""

    overrides: dict = field(default_factory=dict)
    """Overridden YAML entries by recipe, "pretrain" and "finetune". A row with
    the weights of another has only "swaps": the attention, hop and look_ahead
    that it is evaluated with."""

    weights_of: str | None = None
    """The row whose training this one shares; ``None`` for its own."""

    starts_from: str | None = None
    """The row whose model it starts from; ``None`` for the start of all."""

    teacher: str | None = None
    """The row whose model it learns from as well; ``None`` for none."""

    note: str = ""
    """Remark for the reader."""

    @property
    def needs(self):
        """Names of the rows whose trainings come first."""
        names = (self.weights_of, self.starts_from, self.teacher)
        return tuple(dict.fromkeys(filter(None, names)))

    def script(self, recipe):
        """Name of the script that runs a recipe of the row.

        Arguments
        ---------
        recipe : str
            "pretrain" or "finetune".

        Returns
        -------
        str
        """
        if recipe == "pretrain":
            return "pretrain.py"
        is_transducer = "decoder" in self.entries[recipe]
        return TRANSDUCER_SCRIPT if is_transducer else "finetune_ctc.py"

    @property
    def folder_name(self):
        """The name as a valid folder name."""
        return re.sub(r"\W+", "_", self.name).strip("_").lower()


@dataclass(frozen=True)
class Plan:
    """A comparison: its rows, and how they are trained and measured."""

    file_name: str
    """Name of its YAML file."""

    title: str
    """Heading of the report."""

    text: str
    """Introduction of the report."""

    pretrains: bool
    """Whether rows are pre-trained; if not, all start from one folder."""

    test_split: str
    """The split that the rows are measured on."""

    threads: int
    """Number of threads of every process."""

    measurement: dict
    """Options of ``measure.py`` for all rows; recipes use "device" as well."""

    rows: tuple[Row, ...]
    """Rows in the order of the table."""

    comparisons: tuple[tuple[str, str], ...]
    """Pairs of rows whose difference is reported."""

    def row(self, name):
        """Finds a row by name."""
        return next(row for row in self.rows if row.name == name)

    def trained(self, row):
        """Finds the row whose training a row uses, by default itself."""
        return self.row(row.weights_of) if row.weights_of else row


def read_plan(path):
    """Reads and validates a plan.

    Arguments
    ---------
    path : str or pathlib.Path
        The YAML file.

    Returns
    -------
    Plan

    Raises
    ------
    FileNotFoundError
        If the file, or one that it names, does not exist.
    TypeError
        If an entry has the wrong type.
    ValueError
        If an entry is unknown, missing or out of range; a row is named.
    """
    path = Path(path)
    entries = read_entries(path)
    for name in ("finetune", "test_split", "rows"):
        if not entries.get(name):
            raise ValueError(f"plan must have the entry {name!r}, got none")
    threads = entries.get("threads", 1)
    check_integer("plan: threads", threads, 1)
    if "streamed_count" in entries:
        check_integer("plan: streamed_count", entries["streamed_count"], 1)
    if "timing_seconds" in entries:
        check_number("plan: timing_seconds", entries["timing_seconds"], 0)
    if "push_seconds" in entries:
        check_number(
            "plan: push_seconds", entries["push_seconds"], *PUSH_SECONDS
        )
    plan = Plan(
        file_name=path.name,
        title=entries.get("title", path.stem),
        text=" ".join(entries.get("text", "").split()),
        pretrains="pretrain" in entries,
        test_split=entries["test_split"],
        threads=threads,
        measurement={
            name: entries[name] for name in _MEASUREMENT if name in entries
        },
        rows=tuple(_row(row, entries, path.parent) for row in entries["rows"]),
        comparisons=tuple(
            tuple(pair) if isinstance(pair, list) else (pair,)
            for pair in entries.get("comparisons", ())
        ),
    )
    _check_together(plan)
    return plan


def read_entries(path):
    """Reads the entries of a plan, merged with those of its base.

    Arguments
    ---------
    path : pathlib.Path
        The YAML file.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If the file, or its base, does not exist.
    TypeError
        If an entry has the wrong type.
    ValueError
        If an entry is unknown, or a file is not readable.
    """
    entries = _load(path)
    _check_entries("plan", entries, _ENTRIES)
    if "base" not in entries:
        return entries
    base = _load(path.parent / entries.pop("base"))
    allowed = {name: kind for name, kind in _ENTRIES.items() if name != "base"}
    _check_entries("base", base, allowed)
    for name, value in entries.items():
        known = base.get(name)
        base[name] = {**known, **value} if isinstance(known, dict) else value
    return base


def _load(path):
    try:
        entries = ruamel.yaml.YAML(typ="safe").load(read_text(path))
    except FileNotFoundError:
        raise FileNotFoundError(
            must_be(
                "plan",
                "the path of a YAML file",
                f"{str(path)!r}, which does not exist",
            )
        ) from None
    except (OSError, ValueError, ruamel.yaml.YAMLError) as error:
        raise ValueError(
            must_be("plan", "a YAML file", f"{str(path)!r}: {error}")
        ) from error
    if not isinstance(entries, dict):
        raise ValueError(
            must_be(
                "plan", "a YAML file of entries with names", repr(str(path))
            )
        )
    return entries


def _check_entries(where, entries, allowed):
    for name, value in entries.items():
        if name not in allowed:
            raise ValueError(
                must_be(
                    f"entries of {where}",
                    f"among {', '.join(allowed)}",
                    repr(name),
                )
            )
        kind = allowed[name]
        kinds = (int, float) if kind is float else kind
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise TypeError(
                must_be(f"{name} of {where}", f"a {kind.__name__}", repr(value))
            )


def _row(entries, plan_entries, folder):
    if not isinstance(entries, dict) or not entries.get("name"):
        raise ValueError(must_be("rows", "entries with a name", repr(entries)))
    where = f"row {entries['name']!r}"
    _check_entries(where, entries, _ROW_ENTRIES)
    common = {
        "name": entries["name"],
        "note": entries.get("note", ""),
        "weights_of": entries.get("weights_of"),
    }
    if common["weights_of"]:
        swaps = entries.get("overrides", {})
        wrong = {*swaps} - {*_SWAPS} | entries.keys() & {
            "seeds",
            "finetune",
            "starts_from",
            "teacher",
            "pretrain_overrides",
            "finetune_overrides",
        }
        if wrong:
            raise ValueError(
                must_be(
                    f"overrides of {where}",
                    (
                        f"among {', '.join(_SWAPS)}, because it has the "
                        "weights of "
                        "another row"
                    ),
                    ", ".join(sorted(wrong)),
                )
            )
        _check_attention(where, swaps)
        return Row(seeds=(), overrides={"swaps": swaps}, **common)
    seeds = entries.get("seeds", plan_entries.get("seeds"))
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(
            must_be(f"seeds of {where}", "one or several different ones", seeds)
        )
    for seed in seeds:
        check_integer(f"{where}: seeds", seed, 0)
    files = {**plan_entries, **entries}
    hparams = {name: folder / files[name] for name in RECIPES if name in files}
    overrides = {
        recipe: {
            **plan_entries.get("overrides", {}),
            **plan_entries.get(f"{recipe}_overrides", {}),
            **entries.get("overrides", {}),
            **entries.get(f"{recipe}_overrides", {}),
        }
        for recipe in hparams
    }
    for recipe in hparams:
        _check_overrides(where, recipe, overrides[recipe], hparams[recipe])
    return Row(
        seeds=tuple(seeds),
        hparams=hparams,
        entries={
            recipe: recipe_entries(file) | overrides[recipe]
            for recipe, file in hparams.items()
        },
        overrides=overrides,
        starts_from=entries.get("starts_from"),
        teacher=entries.get("teacher"),
        **common,
    )


def _check_overrides(where, recipe, overrides, hparams):
    for name in _SET_BY_ROW:
        if name in overrides:
            raise ValueError(
                f"overrides of {where} must leave {name} to the comparison, "
                f"got {overrides[name]!r}"
            )
    _check_attention(where, overrides)
    try:
        parse_arguments([str(hparams), *as_arguments(overrides)])
    except (FileNotFoundError, TypeError, ValueError) as error:
        raise type(error)(f"{where}: {recipe}: {error}") from error


def _check_attention(where, overrides):
    if "attention" in overrides:
        try:
            check_attention(overrides["attention"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _check_together(plan):
    names = [row.name for row in plan.rows]
    folders = {}
    for row in plan.rows:
        if row.folder_name in folders or not row.folder_name:
            raise ValueError(
                must_be(
                    "names of rows",
                    "different in letters and digits",
                    f"{row.name!r} and {folders.get(row.folder_name, '')!r}",
                )
            )
        folders[row.folder_name] = row.name
        for entry in ("weights_of", "starts_from", "teacher"):
            _check_other_row(plan, row, entry)
        if row.weights_of:
            _check_swaps(row, plan.trained(row))
    for pair in plan.comparisons:
        if len(pair) != 2 or not set(pair) <= set(names):
            raise ValueError(
                must_be(
                    "comparisons", f"pairs of {', '.join(names)}", list(pair)
                )
            )


def _check_other_row(plan, row, entry):
    """Checks the name of the row whose model a row uses."""
    name = getattr(row, entry)
    if name is None:
        return
    others = {each.name: each for each in plan.rows}
    other = others.get(name)
    is_fit = other is not None and not other.weights_of
    allowed = "the name of a row that is trained itself"
    if entry != "weights_of":
        is_fit = is_fit and not other.needs
        allowed += ", and needs no other"
    if not is_fit:
        raise ValueError(
            must_be(f"{entry} of row {row.name!r}", allowed, repr(name))
        )
    if entry == "weights_of":
        return
    if entry == "teacher" and "teacher" not in row.entries["finetune"]:
        raise ValueError(
            must_be(
                f"finetune of row {row.name!r}",
                "a YAML file with the entry teacher",
                row.hparams["finetune"].name,
            )
        )
    if plan.pretrains:
        raise ValueError(
            must_be(
                f"{entry} of row {row.name!r}",
                "left out of a plan that pre-trains",
                repr(name),
            )
        )
    if not set(row.seeds) <= set(other.seeds):
        raise ValueError(
            must_be(
                f"seeds of row {row.name!r}",
                f"among those of {name!r}, {list(other.seeds)}",
                list(row.seeds),
            )
        )


def _check_swaps(row, trained):
    entries = trained.entries["finetune"]
    for name in ("hop", "look_ahead"):
        of_model = entries.get(name)
        allowed = of_model if isinstance(of_model, list) else [of_model]
        got = row.overrides["swaps"].get(name, allowed[0])
        if got not in allowed:
            raise ValueError(
                must_be(
                    f"{name} of row {row.name!r}",
                    f"one of {allowed}, which {trained.name!r} is trained for",
                    got,
                )
            )


def recipe_entries(path):
    """Reads the entries of a recipe's YAML file, unresolved.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    dict
    """
    return dict(ruamel.yaml.YAML().load(read_text(path)))


def as_arguments(overrides):
    """Formats overrides as command-line arguments of the recipes.

    Arguments
    ---------
    overrides : dict
        Values by the names of entries.

    Returns
    -------
    list of str

    Example
    -------
    >>> as_arguments({"lr": 0.001, "hop": [8, 1], "attention": "sa"})
    ['--lr', '0.001', '--hop', '[8, 1]', '--attention', 'sa']
    """
    arguments = []
    for name, value in overrides.items():
        text = "null" if value is None else str(value)
        arguments += [f"--{name}", text]
    return arguments
