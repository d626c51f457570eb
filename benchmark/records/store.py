"""Records in and out of a results directory: one self-describing JSON file a trial. Nothing here imports torch."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robust_benchmark.errors import UserError
from robust_benchmark.files import write

SCHEMA = 1
FIELDS = {"schema", "key", "seed", "status", "method", "needs", "config", "metrics", "data", "timing", "environment", "checksum"}
LONG = {"data", "timing", "confusion_matrix", "history", "per_class_accuracy", "weight_histograms"}  # parts and metrics that no table needs
LONG_LINES = tuple(f'"{name}":' for name in LONG)
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
        write(path, text_of(record), first_stays=True, durable=True)
        return path


def text_of(record: Record) -> str:
    """JSON with a line for each part of the record and for each of its metrics, and below the checksum of these lines.

    Raises ValueError for a number that is not finite.
    """
    parts = {name: json.dumps(value, allow_nan=False) for name, value in record.items()}
    metrics = {name: json.dumps(value, allow_nan=False) for name, value in record["metrics"].items()}
    return _signed(_lines(parts | {"metrics": _lines(metrics) + "\n}"}))


def _lines(values: Mapping[str, str]) -> str:
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {value}" for name, value in values.items())


def _signed(lines: str) -> str:
    checksum = hashlib.sha256(lines.encode()).hexdigest()[:16]
    return f'{lines},\n"checksum": "{checksum}"\n}}\n'


SIGNATURE = len(_signed(""))


def slug(name: str) -> str:
    """`name` fit for a file name.

    >>> slug("my data/set")
    'my-data-set'
    """
    return re.sub(r"[^\w.=+-]+", "-", name)


def read_record(path: str | Path, whole: bool = True) -> Record:
    """The record in the file `path`; unless `whole`, without LONG and sharing its parts with other records, for reading only.

    Raises UserError where it is truncated, edited after it was written, or of another schema.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        lines = text[:-SIGNATURE]
        signed = text == _signed(lines)
        parse = _parse_short if signed and not whole else _parse
        record = parse(f"{lines}\n}}" if signed else text)
    except (ValueError, OSError) as error:  # ValueError: no JSON, or no UTF-8
        raise UserError(f"record {path} cannot be read ({error}); delete it to run that trial again") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise UserError(f"record {path} is not of schema {SCHEMA}, the one this version reads")
    if signed:
        return record
    _check(record, path)
    return record if whole else _without_long(record)


def _check(record: Record, path: str | Path) -> None:
    """Raises UserError unless it is one of the first records, whose checksum is the digest of all else they hold; takes it off."""
    missing = FIELDS - record.keys()
    if missing:
        raise UserError(f"record {path} lacks '{min(missing)}'; delete it to run that trial again")
    if record.pop("checksum") != digest(record):
        raise UserError(f"record {path} was changed after it was written (its checksum differs); delete it to run that trial again")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_parse = json.JSONDecoder(parse_constant=_no_constant).decode
_parse_once = functools.lru_cache(maxsize=1000)(_parse)  # the trials of a cell, side by side, have most of their lines in common


def _parse_short(text: str) -> Record:
    """The record in a text by `text_of`, less the checksum, without LONG; equal parts are one object."""
    lines = [line for line in text.split("\n") if not line.startswith(LONG_LINES)]
    start, end = lines.index('"metrics": {'), lines.index("},")
    record: Record = {}
    for line in lines[1:start] + lines[end + 1 : -1]:
        record |= _parse_once("{" + line.rstrip(",") + "}")
    record["metrics"] = _parse("{" + "".join(lines[start + 1 : end]).rstrip(",") + "}")
    return record


def _without_long(record: Record) -> Record:
    metrics = {name: value for name, value in record["metrics"].items() if name not in LONG}
    return {name: value for name, value in record.items() if name not in LONG} | {"metrics": metrics}


def read_all(root: str | Path, whole: bool = True) -> tuple[list[Record], list[UserError]]:
    """The readable records under `root`, in the order of their paths, one a trial; and what is wrong with the others.

    whole: as in `read_record`
    Raises UserError where `root` is no directory.
    """
    records: dict[tuple[str, int], Record] = {}
    errors = []
    for _, record in read_each(root, whole):
        if isinstance(record, UserError):
            errors.append(record)
        else:
            records.setdefault((record["key"], record["seed"]), record)
    return list(records.values()), errors


def read_each(root: str | os.PathLike[str], whole: bool = True) -> Iterator[tuple[str, Record | UserError]]:
    """Each record's path under `root`, in order, with the record or what is wrong with it; otherwise as `read_all`."""
    if not Path(root).is_dir():
        raise UserError(f"no results directory {root}")
    for path in _record_paths(root):
        try:
            yield path, read_record(path, whole)
        except UserError as error:
            yield path, error


def _record_paths(root: str | os.PathLike[str]) -> Iterator[str]:
    for directory, folders, files in os.walk(root):
        folders.sort()
        yield from (os.path.join(directory, name) for name in sorted(files) if name.startswith("seed-") and name.endswith(".json"))
