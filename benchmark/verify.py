"""`python -m benchmark.verify results/reference --sample 5`: train sampled trials again, and compare their numbers with their records.

Where the type of the processor, the number of threads and the versions of torch, torchvision and numpy agree with the record, all numbers
must be equal bit for bit. Elsewhere, the test accuracy must be as near to the record's as another seed's: the distance is at most
t s sqrt(2), with the standard deviation s of the recorded seeds of the cell and the 99.5 % quantile t of Student's distribution, which
holds for 99 % of pairs of independent seeds. One test image is always allowed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmark import trial, workers
from benchmark.config import Cell, cells
from benchmark.fingerprint import stale_parts
from benchmark.overrides import written
from benchmark.page.again import method_overrides, setting_overrides
from benchmark.records import failures
from benchmark.records.store import Record, numbers, read_record, record_paths
from benchmark.training.threads import one_thread
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError, whole
from robust_benchmark.imports import command
from robust_benchmark.words import number_of

SAME, DIFFERS, UNKNOWN = "same", "differs", "not compared"
EXACT = "bit for bit"
FEWEST = 3  # seeds that have a spread
VERSIONS = ("torch", "torchvision", "numpy")


@dataclass(frozen=True)
class Verdict:
    """The comparison of a record with the same trial of today.

    rule: EXACT, or the spread of seeds; '' if the trial could not be trained
    result: SAME, DIFFERS or UNKNOWN; reason: a sentence for the last two
    """

    record: Record
    again: Record | None
    rule: str
    result: str
    reason: str = ""


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 1 unless every sampled record is verified, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog=command("verify"), description="Trains sampled trials again and compares them with their records."
    )
    parser.add_argument("places", nargs="+", metavar="PLACE", help="a directory of records, or a record")
    parser.add_argument("--sample", type=int, default=5, help="number of records to verify (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default 0)")
    parser.add_argument("--processes", type=int, help="number of training processes (default: as benchmark.run)")
    parser.add_argument("--device", default="auto", help="device of the trials (default auto)")
    parser.add_argument("--data-dir", default="data", help="directory of published data sets (default data)")
    given = parser.parse_args(arguments)
    whole("--sample", given.sample, 1)
    if given.processes is not None:
        whole("--processes", given.processes, 1)
    records = [read_record(path) for path in sampled(given.places, given.sample, given.seed)]
    options = [f"device={given.device}", f"data_dir={written(given.data_dir)}"]
    options += [] if given.processes is None else [f"processes={given.processes}"]
    with one_thread(trial.device_of(given.device)):
        return _show(verify(records, options))


def sampled(places: Sequence[str], count: int, seed: int) -> list[str]:
    """Return the paths of `count` records, or of all if there are fewer, at random among those at the places. Raises UserError."""
    found: set[str] = set()
    for place in places:
        if not Path(place).exists():
            raise UserError(f"no record and no results directory {place}")
        found.update(record_paths(place) if Path(place).is_dir() else [place])
    if not found:
        raise UserError(f"no record in {', '.join(places)}")
    return sorted(random.Random(seed).sample(sorted(found), min(count, len(found))))


def verify(records: Sequence[Record], options: Sequence[str] = ()) -> list[Verdict]:
    """Train the trials of the records again, in a temporary directory, and compare. options: overrides that change no numbers"""
    with tempfile.TemporaryDirectory(prefix="verify-") as directory:
        places = [f"{option}={written(f'{directory}/{option}')}" for option in ("results_dir", "checkpoint_dir")]
        composed = [_composed(record, [*places, *options]) for record in records]
        trials = [(cell, record["seed"]) for cell, record in zip(composed, records, strict=True) if isinstance(cell, Cell)]
        _, stopped_by = workers.train(trials)
        if stopped_by:
            raise KeyboardInterrupt
        return [_verdict(record, cell) for cell, record in zip(composed, records, strict=True)]


def _composed(record: Record, options: Sequence[str]) -> Cell | str:
    """Return the cell of the record, or the reason why today's code has none."""
    try:
        overrides = [*method_overrides(record["config"]["method"]), *setting_overrides(record["config"])]
        layout = record["environment"].get("compute", {}).get("channels_last")
        overrides += [] if layout is None else [f"channels_last={json.dumps(layout)}"]
        (cell,) = cells([*overrides, f"seed={record['seed']}", "trials=1", *options])
    except UserError as error:
        return str(error)
    return cell if cell.key == record["key"] else f"its options give key {cell.key} today"


def _verdict(record: Record, cell: Cell | str) -> Verdict:
    if isinstance(cell, str):
        return Verdict(record, None, "", UNKNOWN, cell)
    path = trial.path(cell, record["seed"])
    if not path.exists():
        note = failures.read_failure(path.with_suffix(".failure"))
        return Verdict(record, None, "", UNKNOWN, note.error if note else "its training ended early")
    again = read_record(path)
    verdict = compared(record, again, accuracies_of_cell(record["path"]))
    stale = stale_parts(record["fingerprint"], again["fingerprint"])
    if verdict.result == SAME or not stale:
        return verdict
    return Verdict(record, again, verdict.rule, verdict.result, f"{verdict.reason}; its code was another: {', '.join(stale)}")


def compared(record: Record, again: Record, accuracies: Sequence[float]) -> Verdict:
    """Compare a record with the same trial of today. accuracies: test accuracies of the recorded seeds of the cell"""
    if _origin(record) == _origin(again):
        reason = _first_difference(record, again)
        return Verdict(record, again, EXACT, DIFFERS if reason else SAME, reason)
    rule = f"spread of {len(accuracies)} seeds"
    if record["digests"] != again["digests"]:
        return Verdict(record, again, rule, DIFFERS, "it was made from other images or labels")
    if record["status"] != again["status"]:
        return Verdict(record, again, rule, DIFFERS, f"it is {record['status']} and is {again['status']} again")
    if record["status"] == "diverged":
        return Verdict(record, again, rule, SAME)
    if len(accuracies) < FEWEST:
        return Verdict(record, again, rule, UNKNOWN, f"its cell has {number_of(len(accuracies), 'seed')}; a spread needs {FEWEST}")
    distance = abs(record["metrics"]["test_accuracy"] - again["metrics"]["test_accuracy"])
    most = max(tolerance(accuracies), 1 / record["data"]["sizes"]["test"])
    reason = f"the test accuracies differ by {100 * distance:.2f} points, and other seeds by at most {100 * most:.2f}"
    return Verdict(record, again, rule, *((SAME, "") if distance <= most * (1 + 1e-9) else (DIFFERS, reason)))


def tolerance(accuracies: Sequence[float]) -> float:
    """Return the distance that two independent seeds exceed with probability 1 %, if accuracies are normal: t s sqrt(2)."""
    from scipy.stats import t  # import takes half a second

    return float(t.ppf(0.995, len(accuracies) - 1) * np.std(accuracies, ddof=1) * math.sqrt(2))


def accuracies_of_cell(path: str) -> list[float]:
    """Return the test accuracies of all recorded seeds in the folder of a record."""
    cell = [read_record(each, whole=False, metrics=("test_accuracy",)) for each in record_paths(Path(path).parent)]
    return [record["metrics"]["test_accuracy"] for record in cell if record["status"] == "done"]


def _origin(record: Record) -> dict[str, Any]:
    """Return what bit-identical numbers need: the type of the processor, without its number of cores, the threads and the versions."""
    environment = record["environment"]
    device = re.sub(r" \(\d+ cores\)$", "", environment["device"])
    return {"device": device, "threads": environment.get("threads")} | {name: environment["versions"].get(name) for name in VERSIONS}


def _first_difference(record: Record, again: Record) -> str:
    """Return the first number that differs, '' if all that the record has are equal. Newer code may add metrics."""
    for part, recorded in numbers(record).items():
        pairs = [(part, recorded, again[part])]
        if isinstance(recorded, dict):
            pairs = [(f"{part}.{name}", value, again[part].get(name)) for name, value in recorded.items()]
        for name, old, new in pairs:
            if old != new:
                return f"{name} is {old!s:.80} and is {new!s:.80} again"
    return ""


def _show(verdicts: Sequence[Verdict]) -> int:
    columns = ["method", "dataset", "noise", "seed", "compared", "recorded", "again", "result"]
    print(tabulate(map(_row, verdicts), columns, disable_numparse=True))
    for each in verdicts:
        if each.reason:
            print(f"{each.result}: {each.record['path']}: {each.reason}", file=sys.stderr)
    counts = Counter(each.result for each in verdicts)
    exact = sum(each.result == SAME and each.rule == EXACT for each in verdicts)
    others = "".join(f"; {counts[result]} {result}" for result in (DIFFERS, UNKNOWN) if counts[result])
    print(f"{counts[SAME]} of {number_of(len(verdicts), 'record')} verified, {exact} of them bit for bit{others}")
    return 0 if counts[SAME] == len(verdicts) else 1


def _row(verdict: Verdict) -> list[Any]:
    record, names = verdict.record, [verdict.record["config"][part]["name"] for part in ("dataset", "noise")]
    return [record["method"], *names, record["seed"], verdict.rule or "-", *map(_accuracy, (record, verdict.again)), verdict.result]


def _accuracy(record: Record | None) -> str:
    if record is None:
        return "-"
    return f"{100 * record['metrics']['test_accuracy']:.2f} %" if record["status"] == "done" else "diverged"


if __name__ == "__main__":
    sys.exit(main())
