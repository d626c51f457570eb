"""`python -m benchmark.audit pictures/`: which labels of your data are wrong? Writes a ranked list and a page to mark them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from benchmark import trial
from benchmark.audit import marks as marking
from benchmark.audit import reading
from benchmark.audit.data import Audited, rare
from benchmark.audit.judging import judge
from benchmark.audit.listing import write_suspects
from benchmark.audit.plan import check_own, defaults, first_cell, plan
from benchmark.audit.sheet import render
from benchmark.audit.trust import Trust, measured
from benchmark.audit.truth import against_truth
from benchmark.overrides import written
from benchmark.training.threads import CPU, one_thread
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError, in_range, whole
from robust_benchmark.files import write
from robust_benchmark.imports import command

LARGEST_SHARE = 0.1  # of planted errors, so that they do not spoil the training


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, or 2 for a user's mistake."""
    given = _parser().parse_intermixed_args(arguments)
    given.data += [each for each in given.methods or [] if "=" in each]  # overrides after --methods
    given.methods = [each for each in given.methods or [] if "=" not in each]
    _check(given)
    with one_thread(CPU):  # from the start, because processes with threads cannot be forked
        return _audit(given, Path(given.out))


def _audit(given: argparse.Namespace, out: Path) -> int:
    data, choices, overrides = _load(given, out)
    _check_data(data, given.folds)
    marks = marking.read(Path(given.marks or given.apply), data) if given.marks or given.apply else {}
    if given.apply:
        return _apply(data, marks, out / "cleaned.csv")
    cells, replaced = plan(data, choices, overrides, given.methods)
    notes = [*data.notes, *rare(data.classes, data.labels, given.folds), *replaced]
    for note in notes:
        print(note, file=sys.stderr)
    judged = judge(data, cells, out / "work", given.folds, given.plant, given.seed, given.processes)
    trust = measured(judged, data.labels, marks, given.top, given.seed)
    page = render(given.data[0], data, judged, trust, marks, given.folds, notes)
    write_suspects(out / "suspects.csv", data, judged, trust.probability)
    write(out / "suspects.html", page)
    print(_summary(trust, out))
    if data.true_labels is not None:
        print(against_truth(data, judged))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command("audit"),
        description="Ranks the labels of your data by suspicion, measures how far to trust the ranking, and writes a list and a page.",
    )
    parser.add_argument(
        "data",
        nargs="+",
        metavar="DATA",
        help="a folder with a folder of pictures for each class, a .csv with the columns path and label, or a table (.csv, .parquet, "
        f".npz); then overrides as for {command('run')}, such as model=resnet32 or trainer.steps=2000. Overrides alone audit a data set "
        "of the suite",
    )
    parser.add_argument("--clean", metavar="DATA", help="trusted examples in the same form, for methods with a clean set")
    parser.add_argument("--label", default="label", metavar="COLUMN", help="column of the given labels (default label)")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="methods that judge (default: conf/audit.yaml)")
    parser.add_argument("--folds", type=int, default=5, help="number of folds (default 5)")
    parser.add_argument("--plant", type=float, default=0.02, metavar="SHARE", help="share of planted errors, at least 20 (default 0.02)")
    parser.add_argument("--top", type=int, metavar="N", help="length of the list on the page (default 100 to 500, by the estimate)")
    parser.add_argument("--marks", metavar="FILE", help="marks that the page saved: they measure the precision")
    parser.add_argument("--apply", metavar="FILE", help="write cleaned.csv by these marks, without training")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave pictures out that cannot be read")
    parser.add_argument("--out", default="audit", metavar="DIR", help="folder of all results (default audit)")
    parser.add_argument("--seed", type=int, default=0, help="of folds, training and planted errors (default 0)")
    parser.add_argument("--processes", type=int, help="training processes on a CPU (default: one per core)")
    return parser


def _check(given: argparse.Namespace) -> None:
    whole("--folds", given.folds, 2)
    whole("--seed", given.seed, 0)
    in_range("--plant", given.plant, 0, LARGEST_SHARE)
    for name in ("top", "processes"):
        if getattr(given, name) is not None:
            whole(f"--{name}", getattr(given, name), 1)
    if given.marks and given.apply:
        raise UserError("--marks measures and --apply cleans: give one of them")
    for each in given.data[1:]:
        if "=" not in each:
            raise UserError(f"'{each}' is no override such as trainer.steps=2000, and an audit has one data set, {given.data[0]}")


def _load(given: argparse.Namespace, out: Path) -> tuple[Audited, list[str], list[str]]:
    """Return the data, the choices that conf/audit.yaml makes for it, and the user's overrides."""
    if "=" in given.data[0] and not Path(given.data[0]).exists():
        if given.clean:
            raise UserError("--clean is for your own data; split.clean_per_class gives a data set of the suite its clean set")
        return reading.of_suite(first_cell([], given.data), given.seed), [], given.data
    path, overrides = Path(given.data[0]), given.data[1:]
    check_own(overrides)
    kind = reading.kind_of(path)
    own = [f"dataset.path={written(str(path))}", *([f"dataset.label={written(given.label)}"] if kind == "table" else [])]
    config = first_cell([*defaults()["choices"][kind], *own], overrides).config
    clean = Path(given.clean) if given.clean else None
    data = reading.load(path, kind, config.dataset, given.label, clean, out / "work" / "pictures", given.skip_unreadable)
    if trial.resident(config, data.mapped_bytes):
        data = data.in_memory()
    return data, [*defaults()["choices"][data.settings], *own], overrides


def _check_data(data: Audited, folds: int) -> None:
    if len(data) < folds:
        raise UserError(f"{folds} folds need at least {folds} examples, and there are {len(data)}: give fewer by --folds")


def _apply(data: Audited, marks: dict[int, marking.Mark], path: Path) -> int:
    table, relabelled, dropped = marking.cleaned(data, marks)
    write(path, table.to_csv(index=False))
    print(f"{path}: {len(table):,} examples; {relabelled} have another label, and {dropped} are dropped")
    return 0


def _summary(trust: Trust, out: Path) -> str:
    headers = ["first", "recall (planted)", "uniform", "confused", "precision"]
    table = tabulate(trust.lengths, headers, tablefmt="github", disable_numparse=True)
    return f"{trust.estimate}\n\n{table}\n\nIn %, with 95 % intervals. List: {out / 'suspects.csv'}. Page: {out / 'suspects.html'}."


if __name__ == "__main__":
    sys.exit(main())
