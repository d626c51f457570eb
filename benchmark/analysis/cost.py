"""The measured cost of methods. `python -m benchmark.speed cost` writes the file; `join` adds the costs to records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmark.records.store import Record
from robust_benchmark.errors import UserError

SCHEMA = 1
COST = ("relative_seconds", "peak_memory")  # metrics that records do not contain


class Entry(msgspec.Struct):
    """The cost of a method (its label) with a model and a data set. None: not measured"""

    method: str
    model: str
    dataset: str
    relative_seconds: float | None = None
    peak_memory: float | None = None


class Costs(msgspec.Struct):
    """The content of the file. environment: of the measurement, as in records"""

    schema: int
    environment: dict[str, Any]
    entries: list[Entry]


def read_costs(path: Path) -> Costs:
    """The costs in the file. Raises UserError if the file is missing or malformed."""
    try:
        costs = msgspec.json.decode(path.read_bytes(), type=Costs)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a file of costs ({error}); `python -m benchmark.speed cost` writes one") from error
    if costs.schema != SCHEMA:
        raise UserError(f"{path} has schema {costs.schema}, but this version reads costs of schema {SCHEMA}")
    return costs


def join(records: Sequence[Record], costs: Costs) -> list[Record]:
    """The records with the measured metrics of COST and with `cost`, the device of the measurement.

    A record gets the entry of its method, model and data set.
    """
    measured = {(entry.method, entry.model, entry.dataset): entry for entry in costs.entries}
    where = str(costs.environment.get("device", "an unknown device"))
    return [_joined(record, measured.get(_place(record)), where) for record in records]


def _place(record: Record) -> tuple[str, str, str]:
    return record["method"], record["config"]["model"]["name"], record["config"]["dataset"]["name"]


def _joined(record: Record, entry: Entry | None, where: str) -> Record:
    found = {name: getattr(entry, name) for name in COST if getattr(entry, name, None) is not None}
    return record | {"metrics": record["metrics"] | found, "cost": where} if found else record
