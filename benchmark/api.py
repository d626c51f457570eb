"""A grid as a call from Python: the implementation of `robust_benchmark.run_grid`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence

import pandas as pd

from benchmark import trial
from benchmark.analysis.trials import frame
from benchmark.config import Cell, cells
from benchmark.records.store import Record
from benchmark.run import complete
from methods import registry
from robust_benchmark import streams
from robust_benchmark.errors import ContractError, UserError


def run_grid(overrides: Sequence[str]) -> pd.DataFrame:
    """See `robust_benchmark.run_grid`."""
    if threading.current_thread() is not threading.main_thread():
        raise UserError("run_grid must be called from the main thread, because Ctrl-C stops it there")
    grid = cells(overrides)
    for cell in grid if grid[0].config.launcher else ():
        for name in registry.only_here(cell.identity["method"]):
            raise UserError(f"method '{name}' is defined in __main__, where a launcher's processes cannot import it; put it in a module")
    with streams.safe():
        done, _, stopped_by = complete(grid, overrides)
    if stopped_by:
        signal.raise_signal(stopped_by)  # Ctrl-C is a KeyboardInterrupt to the caller
    trials = [(cell, seed) for cell in grid for seed in cell.seeds]
    return frame(done.get((cell.key, seed)) or _unrecorded(cell, seed) for cell, seed in trials)


def _unrecorded(cell: Cell, seed: int) -> Record:
    """Return the row of a trial without a record."""
    path = trial.path(cell, seed)
    note = path.with_suffix(".failure")
    status, file = ("failed", note) if note.exists() else ("missing", path)
    known = {"key": cell.key, "seed": seed, "method": cell.label, "config": cell.identity, "metrics": {}}
    return known | {"status": status, "path": str(file), "needs": _needs(cell)}


def _needs(cell: Cell) -> list[str]:
    """Return the information that the method uses in addition to noisy labels; empty if the method cannot be built."""
    try:
        return registry.build(cell.identity["method"]).needs.names()
    except ContractError:
        return []
