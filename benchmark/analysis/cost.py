"""What methods cost: a small file that `python -m benchmark.speed cost` writes, joined to records by method and model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmark.records.store import Record
from robust_benchmark.errors import UserError

SCHEMA = 1
COST = ("relative_seconds", "peak_memory")  # the metrics that no record holds


class Entry(msgspec.Struct):
    """The cost of a method, by its label, on a model and a data set; None where it was not measured."""

    method: str
    model: str
    dataset: str
    relative_seconds: float | None = None
    peak_memory: float | None = None


class Costs(msgspec.Struct):
    """The file. environment: where it was measured, as in records."""

    schema: int
    environment: dict[str, Any]
    entries: list[Entry]


def read_costs(path: Path) -> Costs:
    """The costs in the file. Raises UserError where there is none, or where it is malformed."""
    try:
        costs = msgspec.json.decode(path.read_bytes(), type=Costs)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is no file of costs ({error}); `python -m benchmark.speed cost` writes one") from error
    if costs.schema != SCHEMA:
        raise UserError(f"{path} is of schema {costs.schema}, and this version reads costs of schema {SCHEMA}")
    return costs


def join(records: Sequence[Record], costs: Costs) -> list[Record]:
    """The records, with the metrics of COST where these were measured, and `cost`, which says on what device.

    An entry is of one method, model and data set.
    """
    measured = {(entry.method, entry.model, entry.dataset): entry for entry in costs.entries}
    where = str(costs.environment.get("device", "an unknown device"))
    return [_joined(record, measured.get(_place(record)), where) for record in records]


def _place(record: Record) -> tuple[str, str, str]:
    return record["method"], record["config"]["model"]["name"], record["config"]["dataset"]["name"]


def _joined(record: Record, entry: Entry | None, where: str) -> Record:
    found = {name: getattr(entry, name) for name in COST if getattr(entry, name, None) is not None}
    return record | {"metrics": record["metrics"] | found, "cost": where} if found else record
