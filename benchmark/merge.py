"""`python -m benchmark.merge OTHER --into results/runs`: copy somebody's records into a results directory, each after its checks.

Nothing is overwritten, and each file appears whole or not at all. Two records of one trial that differ in their numbers are a conflict,
which the user decides. This module imports no torch.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmark import fingerprint
from benchmark.records.grids import TrialId
from benchmark.records.store import Record, Store, numbers, read_record, record_paths
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError
from robust_benchmark.files import read_regular, write
from robust_benchmark.imports import command
from robust_benchmark.words import number_of

TRIAL = re.compile(r"-([0-9a-f]+)/seed-(\d+)\.json$")


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 1 if a record is in conflict or refused, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog=command("merge"), description="Copies records of another directory into a results directory.")
    parser.add_argument("other", type=Path, help="directory of records, searched recursively")
    parser.add_argument("--into", type=Path, default=Path("results/runs"), help="results directory (default results/runs)")
    parser.add_argument("--dry-run", action="store_true", help="check and report, but write nothing")
    parser.add_argument("--other-code", action="store_true", help="also accept records of other code than that of this installation")
    given = parser.parse_args(arguments)
    if not given.other.is_dir():
        raise UserError(f"no results directory {given.other}")
    merge = Merge(given.into, given.dry_run, given.other_code)
    for path in record_paths(given.other):
        merge.add(path)
    print(merge.summary())
    return 1 if merge.counts["conflict"] or merge.counts["refused"] else 0


class Merge:
    """Copies records into a results directory, one by one, and counts them as merged, present, conflict or refused.

    dry_run: write nothing; other_code: accept records of other code than today's
    """

    def __init__(self, into: Path, dry_run: bool = False, other_code: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self._into, self._dry_run, self._other_code = into, dry_run, other_code
        self._known: dict[TrialId, list[str]] = defaultdict(list)  # paths of the records of each trial, here and to be copied
        for path in record_paths(into):
            if found := TRIAL.search(Path(path).absolute().as_posix()):
                self._known[found[1], int(found[2])].append(path)

    def add(self, path: str) -> None:
        """Copy the record, unless an equal one is there; report on stderr why it is not copied otherwise."""
        try:
            self.counts[self._added(path)] += 1
        except UserError as error:
            print(f"refused: {error}", file=sys.stderr)
            self.counts["refused"] += 1

    def _added(self, path: str) -> str:
        record = self._checked(path)
        others = self._known[record["key"], record["seed"]]
        for other in others:
            known = read_record(other)
            if numbers(known) != numbers(record):
                print(_conflict(known, record), file=sys.stderr)
                return "conflict"
        if others:
            return "present"
        others.append(path)
        return "merged" if self._dry_run else self._written(record)

    def _checked(self, path: str) -> Record:
        """Return the record. Raises UserError if it is damaged, of another schema, or of other code."""
        record = read_record(path)
        stale = fingerprint.stale_parts(record["fingerprint"], fingerprint.of(record["config"]))
        if stale and not self._other_code:
            raise UserError(f"record {path} comes from other code ({', '.join(stale)}): --other-code accepts it")
        return record

    def _written(self, record: Record) -> str:
        target = Store(self._into).path(record["config"], record["key"], record["seed"])
        content = read_regular(record["path"])
        write(target, content, first_stays=True, durable=True)
        if read_regular(target) == content:
            return "merged"
        print(_conflict(read_record(target), record), file=sys.stderr)  # another process wrote it just now
        return "conflict"

    def summary(self) -> str:
        """Return the counts in one line."""
        counts = self.counts
        done = "would be merged" if self._dry_run else "merged"
        wrong = "".join(f", {counts[kind]} {text}" for kind, text in (("conflict", "in conflict"), ("refused", "refused")) if counts[kind])
        return f"{number_of(counts['merged'], 'record')} {done} into {self._into}, {counts['present']} already there{wrong}"


def _conflict(known: Record, record: Record) -> str:
    """Return lines that show two records of one trial."""
    config = record["config"]
    trial = f"{record['method']}, {config['dataset']['name']} {config['noise']['name']}, seed {record['seed']}"
    return "\n".join([f"conflict: two records of {trial} have different numbers:", f"  {_shown(known)}", f"  {_shown(record)}"])


def _shown(record: Record) -> str:
    environment, accuracy = record["environment"], record["metrics"].get("test_accuracy")
    result = "diverged" if accuracy is None else f"test accuracy {100 * accuracy:.2f} %"
    origin = f"{environment['device']}, torch {environment['versions'].get('torch', 'unknown')}, revision {environment['revision']}"
    return f"{record['path']}: {result}; {origin}, {record['timing']['finished']}"


if __name__ == "__main__":
    sys.exit(main())
