"""`python -m benchmark.prepare dataset=cifar10`: download and decode the data of a grid, and print what is available; trains nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmark import labels, trial
from benchmark.config import Cell, cells
from benchmark.identity import PLACES
from benchmark.objects import model_factory
from benchmark.records.failures import last_line
from benchmark.records.store import canonical
from datasets.source import UNKNOWN, Source
from datasets.task import Task
from robust_benchmark.commands import guarded
from robust_benchmark.imports import command


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 2 for missing data or a mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog=command("prepare"),
        description="Downloads and decodes the data of a grid, and downloads pretrained weights; prints what is available. Trains nothing.",
    )
    parser.add_argument("overrides", nargs="*", help="those of the grid, such as dataset=cifar10 or experiment=table2")
    parser.add_argument(
        "--labels", action="store_true", help="also prints, for each true class, its wrong labels and its row of the transition matrix"
    )
    given = parser.parse_intermixed_args(arguments)
    problems: dict[str, None] = {}  # each once, in order
    for line in _prepared(cells(given.overrides), problems, given.labels):
        print(line, flush=True)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _prepared(grid: Sequence[Cell], problems: dict[str, None], by_class: bool) -> Iterator[str]:
    """Yield lines on available data as it becomes available: each data set, each draw from it and each model once.

    by_class: also lines on the labels of each class

    Missing data of one cell goes to `problems`, and does not affect other cells.
    """
    known: set[str] = set()

    def is_new(*options: object) -> bool:
        key = canonical(options)
        new = key not in known
        known.add(key)
        return new

    for cell in grid:
        try:
            yield from _of_cell(cell, is_new, by_class)
        except trial.FAILURES as error:
            problems[last_line(error)] = None


def _of_cell(cell: Cell, is_new: Callable[..., bool], by_class: bool) -> Iterator[str]:
    config = cell.config
    data = config.dataset["source"]
    if is_new(data):
        yield from _described(config.dataset["name"], trial.source_of(cell), data)
    if is_new(data, config.imbalance, config.noise, asdict(config.split)):
        chosen = ", ".join(_named(part, cell.identity[part]) for part in ("imbalance", "noise") if part in cell.identity)
        task = trial.task_of(cell, config.seed)
        yield f"  {chosen}: {_counted(task)}"
        yield from (f"    {line}" for line in (labels.lines(task) if by_class else ()))
    if is_new(data, config.model):
        source = trial.source_of(cell)
        model = model_factory(config.model)(len(source.classes), source.train_images.shape[1:])
        yield f"  model {config.model['name']}: {sum(each.numel() for each in model.parameters()):,} parameters"


def _described(name: str, source: Source, options: dict[str, object]) -> Iterator[str]:
    shape = " x ".join(map(str, source.train_images.shape[1:]))
    yield f"{name}: {len(source.train_images):,} training and {len(source.test_images):,} test images of {shape}, digest {source.digest}"
    yield f"  {len(source.classes)} classes: {', '.join(source.classes)}"
    known = int((source.true_labels != UNKNOWN).sum())
    yield f"  true labels: known for {known:,} of {len(source.train_images):,} training images"
    for place in PLACES:
        if place in options:
            yield f"  {place}: {Path(str(options[place])).resolve()}"


def _named(part: str, options: dict[str, object]) -> str:
    return " ".join([part, str(options["name"]), *(f"{name}={value}" for name, value in options.items() if name != "name")])


def _counted(task: Task) -> str:
    wrong = task.train.wrong()
    said = "an unknown number of wrong labels" if wrong is None else f"{wrong:,} wrong labels ({wrong / len(task.train):.2%})"
    return f"{len(task.train):,} training examples with {said}, {len(task.clean):,} clean, {len(task.hyper_validation):,} hyper-validation"


if __name__ == "__main__":
    sys.exit(main())
