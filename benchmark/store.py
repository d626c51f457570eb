"""Records in and out of a results directory: one self-describing JSON file a trial. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets.errors import UserError

SCHEMA = 1
FIELDS = {"schema", "key", "seed", "status", "method", "needs", "config", "metrics", "data", "timing", "environment", "checksum"}
Record = dict[str, Any]


def canonical(value: Any) -> str:
    """The one JSON text of `value`."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Hexadecimal SHA-256 of the canonical JSON of `value`, shortened."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


class Store:
    """A results directory. Several processes may write to it: a record appears whole, and the first one stays."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, config: Mapping[str, Any], key: str, seed: int) -> Path:
        """Where the record of a trial lies: <root>/<dataset>/<noise>/<method>-<key>/seed-<seed>.json."""
        names = [slug(config[part]["name"]) for part in ("dataset", "noise", "method")]
        return self.root / names[0] / names[1] / f"{names[2]}-{key}" / f"seed-{seed}.json"

    def write(self, record: Record) -> Path:
        """Keep `record`; where another process was first, its record stays."""
        path = self.path(record["config"], record["key"], record["seed"])
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(_text(record | {"checksum": digest(record)}))
                file.flush()
                os.fsync(file.fileno())
            os.link(part, path)
        except FileExistsError:
            pass
        finally:
            part.unlink(missing_ok=True)
        return path


def _text(record: Record) -> str:
    """JSON with a line for each part of the record."""
    lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in record.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def slug(name: str) -> str:
    """`name` fit for a file name.

    >>> slug("my data/set")
    'my-data-set'
    """
    return re.sub(r"[^\w.=+-]+", "-", name)


def read(path: Path) -> Record:
    """The record in the file `path`.

    Raises UserError where it is truncated, edited after it was written, or of another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, OSError) as error:  # ValueError: no JSON, or no UTF-8
        raise UserError(f"record {path} cannot be read ({error}); delete it to run that trial again") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise UserError(f"record {path} is not of schema {SCHEMA}, the one this version reads")
    missing = sorted(FIELDS - set(record))
    if missing:
        raise UserError(f"record {path} lacks '{missing[0]}'; delete it to run that trial again")
    checksum = record.pop("checksum")
    if checksum != digest(record):
        raise UserError(f"record {path} was changed after it was written (its checksum differs); delete it to run that trial again")
    return record


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_all(root: str | Path) -> tuple[list[Record], list[UserError]]:
    """The readable records under `root`, in the order of their paths, one a trial; and what is wrong with the others.

    Raises UserError where `root` is no directory.
    """
    if not Path(root).is_dir():
        raise UserError(f"no results directory {root}")
    records: dict[tuple[str, int], Record] = {}
    errors = []
    for path in _record_paths(Path(root)):
        try:
            record = read(path)
        except UserError as error:
            errors.append(error)
        else:
            records.setdefault((record["key"], record["seed"]), record)
    return list(records.values()), errors


def _record_paths(root: Path) -> Iterator[Path]:
    yield from sorted(root.rglob("seed-*.json"))
