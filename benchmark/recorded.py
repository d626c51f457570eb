"""The recorded trials of a grid, and whether their records come from today's data and code."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark import trial
from benchmark.config import Cell
from benchmark.fingerprint import stale_parts
from benchmark.records.schema import SHORT
from benchmark.records.store import DamagedRecord, Record, read_record
from benchmark.trial import Trial
from robust_benchmark.errors import UserError


def recorded(trials: Sequence[Trial], set_aside: bool = False) -> dict[tuple[str, int], Record]:
    """Return the existing records, by key and seed, each completely checked, with the fields that tables need.

    set_aside: rename damaged ones to end in .stale, so that their trials are missing
    Raises UserError for a record that cannot be read.
    """
    found = {}
    for cell, seed in trials:
        path = trial.path(cell, seed)
        if os.path.lexists(path):
            try:
                record = read_record(path)
            except DamagedRecord as error:
                if not set_aside:
                    raise
                print(f"{error} (set aside now)", file=sys.stderr)
                _set_aside(path)
            else:
                found[cell.key, seed] = {name: record[name] for name in (*SHORT, "path")}
    return found


def check_data(trials: Sequence[Trial], records: dict[tuple[str, int], Record]) -> None:
    """Raise UserError if a record was made from other images or labels than the trial would use today."""
    found = [(cell, seed, records[cell.key, seed]) for cell, seed in trials if (cell.key, seed) in records]
    other = [record["path"] for cell, seed, record in found if _of_other_data(cell, seed, record)]
    if other:
        which = f"{other[0]} was" if len(other) == 1 else f"{other[0]} and {len(other) - 1} more were"
        raise UserError(
            f"record {which} made from other images or labels than this"
            " configuration gives today: `rerun=stale` trains such trials again, and another results_dir keeps both"
        )


def set_stale_aside(trials: Sequence[Trial], records: dict[tuple[str, int], Record]) -> dict[tuple[str, int], Record]:
    """Return the records of today's data and code; rename each of the others to end in .stale, so that its trial is missing."""
    current = dict(records)
    for cell, seed in trials:
        if _is_stale(cell, seed, current):
            del current[cell.key, seed]
            current |= recorded([(cell, seed)], set_aside=True)  # another command may have trained it again since it was read
            if _is_stale(cell, seed, current):
                _set_aside(trial.path(cell, seed))
                del current[cell.key, seed]
    return current


def _is_stale(cell: Cell, seed: int, records: dict[tuple[str, int], Record]) -> bool:
    """Return whether the trial has a record, and it is not of today's data and code."""
    record = records.get((cell.key, seed))
    return record is not None and (bool(stale_parts(record["fingerprint"], trial.code_of(cell))) or _of_other_data(cell, seed, record))


def _set_aside(path: Path) -> None:
    """Rename a file at a record's path to an unused name. Raises UserError if this fails."""
    endings = (f".{number}.stale" if number else ".stale" for number in itertools.count())
    free = next(place for ending in endings if not os.path.lexists(place := path.with_suffix(ending)))
    try:
        path.rename(free)
    except FileNotFoundError:  # another command has just done it
        pass
    except OSError as error:
        raise UserError(f"cannot rename {path}: {error.strerror}") from error


def _of_other_data(cell: Cell, seed: int, record: Record) -> bool:
    """Return whether the trial's data differs from that of its record; false if the data is not on this machine."""
    today = trial.digests_of(cell, seed)
    return today is not None and today != record["digests"]
