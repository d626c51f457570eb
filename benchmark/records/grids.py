"""Submitted grids: their trials and the jobs that have them; JSON files under <checkpoint_dir>/jobs/<grid>/. No torch here."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmark.records.schema import Amount, Count
from benchmark.records.store import digest
from robust_benchmark.errors import UserError, unknown
from robust_benchmark.files import read_regular, write

T = TypeVar("T")
TrialId = tuple[str, int]  # a cell's key and a seed


@dataclass(frozen=True)
class GridCell:
    """One cell: the folder of its records under the results directory, its trials, and the steps of each.

    options: overrides that not all cells of the grid share, but for those of method, data set and noise, which label and folder name
    """

    key: str
    label: str
    folder: str
    seeds: list[Count]
    steps: Count
    options: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Assignment:
    """The trials of one process. id: SLURM's, or the process's number; log: its output."""

    id: str
    log: str
    trials: list[TrialId]


@dataclass(frozen=True)
class Submission:
    """Tasks submitted together, by the launcher of this name, from this host, at this time in seconds since 1970."""

    launcher: str
    host: str
    time: float
    tasks: list[Assignment]


@dataclass(frozen=True)
class _Content:
    """The content of grid.json."""

    results_dir: str
    checkpoint_dir: str
    claim_seconds: Amount
    cells: list[GridCell]


@dataclass(frozen=True)
class Grid:
    """A grid, with all known information about its tasks."""

    directory: Path
    results_dir: Path
    checkpoint_dir: Path
    claim_seconds: float
    cells: list[GridCell]
    submissions: list[Submission] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The grid's name: a digest of its trials."""
        return self.directory.name

    def record(self, cell: GridCell, seed: int) -> Path:
        """Return the path of a trial's record."""
        return self.results_dir / cell.folder / f"seed-{seed}.json"

    def tasks(self) -> Iterator[Assignment]:
        """Return all tasks of all submissions, the oldest first."""
        for submission in self.submissions:
            yield from submission.tasks

    def write(self) -> None:
        """Write the grid, without its submissions. Raises OSError."""
        content = _Content(str(self.results_dir), str(self.checkpoint_dir), self.claim_seconds, self.cells)
        write(self.directory / "grid.json", json.dumps(asdict(content)))

    def add(self, submission: Submission) -> None:
        """Write a submission and add it to this grid. Raises OSError."""
        write(self.directory / f"submission-{uuid.uuid4().hex}.json", json.dumps(asdict(submission)))
        self.submissions.append(submission)


def open_grid(cells: Sequence[GridCell], results_dir: str, checkpoint_dir: str, claim_seconds: float) -> Grid:
    """Return the grid of these cells, with its earlier submissions."""
    name = digest(sorted([cell.key, list(cell.seeds)] for cell in cells), 8)
    directory = Path(checkpoint_dir).absolute() / "jobs" / name
    grid = Grid(directory, Path(results_dir).absolute(), Path(checkpoint_dir).absolute(), claim_seconds, list(cells))
    return Grid(**{**vars(grid), "submissions": _submissions(directory)})


def read_grid(directory: Path) -> Grid:
    """Return the grid in `directory`. Raises UserError if it cannot be read."""
    said = _read(directory / "grid.json", _Content)
    return Grid(directory, Path(said.results_dir), Path(said.checkpoint_dir), said.claim_seconds, said.cells, _submissions(directory))


def find(checkpoint_dir: str | Path, name: str | None = None) -> list[Grid]:
    """Return the grid of that name, or all, the oldest first. Raises UserError with the nearest name if there is none."""
    known = {path.parent.name: path.parent for path in Path(checkpoint_dir).glob("jobs/*/grid.json")}
    if name is not None and name not in known:
        raise unknown("grid", name, known) if known else UserError(f"no grid '{name}': {checkpoint_dir} has no submitted grid")
    chosen = known.values() if name is None else [known[name]]
    return [read_grid(directory) for directory in sorted(chosen, key=lambda each: (each / "grid.json").lstat().st_mtime)]


def _submissions(directory: Path) -> list[Submission]:
    paths = sorted(directory.glob("submission-*.json"), key=lambda path: path.lstat().st_mtime_ns)
    return [_read(path, Submission) for path in paths]


def _read(path: Path, of: type[T]) -> T:
    """Return the content of the file. Raises UserError if it is not of the type, or not a regular file."""
    try:
        return msgspec.json.decode(read_regular(path), type=of)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error})") from error
