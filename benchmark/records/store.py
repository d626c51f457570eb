"""Records in a results directory: one self-describing JSON file per trial. Nothing here imports torch."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmark.metrics import METRICS
from benchmark.records.schema import FIELDS, RAW, SCHEMA, Head, Whole, check_configuration, disagreement, with_metrics
from robust_benchmark.errors import UserError
from robust_benchmark.files import NotAFile, read_regular, write

Record = dict[str, Any]
RECORD = re.compile(r"seed-\d+\.json")
KEY = 12  # length of a key in digits
AGAIN = "move it away, or give `rerun=stale`, to run that trial again"
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class DamagedRecord(UserError):
    """A file that does not contain the record of the trial that its path names."""


def canonical(value: Any) -> str:
    """Return the canonical JSON text of `value`."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Return the shortened hexadecimal SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


class Store:
    """A results directory. Several processes may write to it: records are written atomically, and the first one stays."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, config: Mapping[str, Any], key: str, seed: int) -> Path:
        """Return the path of a trial's record: <root>/<dataset>/<noise>/<method>-<key>/seed-<seed>.json."""
        names = [slug(config[part]["name"]) for part in ("dataset", "noise", "method")]
        return self.root / names[0] / names[1] / f"{names[2]}-{key}" / f"seed-{seed}.json"

    def write(self, record: Record) -> Path:
        """Write `record`; if another process was first, its record stays."""
        path = self.path(record["config"], record["key"], record["seed"])
        write(path, text_of(record), first_stays=True, durable=True)
        return path


def results_dir_of(record: Record) -> str:
    """Return the results directory of a record that was read, from its path (Store.path)."""
    return os.path.normpath(os.path.join(record["path"], *[os.pardir] * 4))


def slug(name: str) -> str:
    """Return `name` in a form that is valid in a file name.

    >>> slug("my data/set")
    'my-data-set'
    """
    return re.sub(r"[^\w.=+-]+", "-", name)


def text_of(record: Mapping[str, Any]) -> str:
    """Return JSON with a line for each field of the record, followed by the checksum of these lines.

    Raises ValueError for a number that is not finite.
    """
    lines = ",\n".join(f'"{name}": {json.dumps(record[name], allow_nan=False)}' for name in FIELDS)
    above = f"{{\n{lines}".encode()
    return (above + _signature(above)).decode()


def _signature(above: bytes | memoryview) -> bytes:
    """Return the end of a record, with the checksum of the lines above it."""
    return b',\n"checksum": "%b"\n}\n' % hashlib.sha256(above).hexdigest()[:16].encode()


SIGNATURE = len(_signature(b""))


def read_record(path: str | Path, whole: bool = True, metrics: tuple[str, ...] | None = None) -> Record:
    """Return the record in the file `path`, and its `path`; unless `whole`, only the fields of SHORT, and the given metrics, or all.

    All returned fields are checked against the schema (benchmark.records.schema). Equal parts of several records are one object,
    for reading only.
    Raises DamagedRecord if it is truncated, edited after writing, inconsistent, at another trial's path
    or not a regular file; and UserError if it has another schema.
    """
    try:
        text = read_regular(path)
        read = _decoder(whole, metrics)(text)
        record = msgspec.structs.asdict(read)
        record["config"], key = _configuration(bytes(read.config))
        for name in RAW:
            record[name] = _shared(name, bytes(record[name]))
    except (ValueError, RecursionError, OSError) as error:  # ValueError: not JSON, not UTF-8, or not of this schema
        raise _unreadable(path, error) from error
    if read.schema != SCHEMA:
        raise _other_schema(path, read.schema)
    wrong = _not_as_written(text) or _misplaced(path, read, key) or disagreement(read)
    if wrong:
        raise DamagedRecord(f"record {path} {wrong}; {AGAIN}")
    if not whole:
        del record["history"]
    record["path"] = str(path)
    return record


def _not_as_written(text: bytes) -> str:
    changed = text[-SIGNATURE:] != _signature(memoryview(text)[:-SIGNATURE])
    return "was changed after it was written (its checksum differs)" if changed else ""


def _misplaced(path: str | Path, read: Head, key: str) -> str:
    """key: the key of its configuration"""
    own = f"-{read.key}{os.sep}seed-{read.seed}.json"
    if not str(path).endswith(own) and not os.path.abspath(path).endswith(own):
        return f"belongs to key {read.key} and seed {read.seed}, not to this path"
    return "" if key == read.key else f"has key {read.key}, but its configuration has key {key}"


@functools.cache
def _decoder(whole: bool, metrics: tuple[str, ...] | None) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(Whole if whole else with_metrics(METRICS if metrics is None else metrics)).decode


@functools.lru_cache(maxsize=100_000)
def _configuration(text: bytes) -> tuple[dict[str, Any], str]:
    """Return a configuration, whose parts are shared with equal ones, and its key. Raises ValueError for an invalid one."""
    check_configuration(text)
    parts = {name: _part(name, bytes(value)) for name, value in _parts(text).items()}
    whole = ",".join([parts[name][1] for name in sorted(parts)])  # its text in the result of `canonical`, between braces
    return {name: value for name, (value, _) in parts.items()}, hashlib.sha256(f"{{{whole}}}".encode()).hexdigest()[:KEY]


@functools.lru_cache(maxsize=100_000)
def _part(name: str, text: bytes) -> tuple[Any, str]:
    """Return a value, and its text with its name in canonical JSON."""
    value = msgspec.json.decode(text)
    return value, canonical({name: value})[1:-1]


@functools.lru_cache(maxsize=100_000)
def _shared(name: str, text: bytes) -> Any:
    """Return the value of a field; equal values are one object. Raises ValueError if it has another type."""
    RAW[name](text)
    return msgspec.json.decode(text)


def _unreadable(path: str | Path, error: Exception) -> UserError:
    """Return the error for a file that is not a record of this schema; it names another schema."""
    if isinstance(error, OSError) and not isinstance(error, NotAFile):
        return UserError(f"record {path} cannot be read ({error.strerror})")
    try:
        schema = json.loads(read_regular(path))["schema"]
    except (ValueError, TypeError, KeyError, RecursionError, OSError):
        schema = SCHEMA
    if schema != SCHEMA:
        return _other_schema(path, schema)
    return DamagedRecord(f"record {path} cannot be read ({error}); {AGAIN}")


def _other_schema(path: str | Path, schema: object) -> UserError:
    return UserError(f"record {path} has schema {schema}, but this version reads schema {SCHEMA}")


def read_all(root: str | Path, whole: bool = True, metrics: tuple[str, ...] | None = None) -> tuple[list[Record], list[UserError]]:
    """Return the readable records under `root`, in the order of their paths, one per trial; and the errors of the others.

    A copy of a record is no mistake; a second one of a trial with other numbers is.

    whole, metrics: as in `read_record`
    Raises UserError if `root` is not a directory.
    """
    if not Path(root).is_dir():
        raise UserError(f"no results directory {root}")
    records: dict[tuple[str, int], Record] = {}
    errors = []
    for path in record_paths(root):
        try:
            record = read_record(path, whole, metrics)
        except UserError as error:
            errors.append(error)
        else:
            first = records.setdefault((record["key"], record["seed"]), record)
            if first["metrics"] != record["metrics"]:
                errors.append(UserError(f"record {path} has other numbers than {first['path']} of the same trial, which counts alone"))
    return list(records.values()), errors


def numbers(record: Record) -> dict[str, Any]:
    """Return the parts of a record that are equal in two runs of one trial on one kind of machine."""
    return {part: record[part] for part in ("status", "digests", "metrics", "per_class", "history", "weight_histograms")}


def record_paths(root: str | Path) -> Iterator[str]:
    """Return the paths with the name of a record under `root`, in order."""
    folders = [os.fspath(root)]
    while folders:
        prefix = os.path.join(folders.pop(), "")
        records, inner = [], []
        with contextlib.suppress(OSError), os.scandir(prefix) as entries:  # removed in the meantime, or not readable
            for entry in entries:
                if RECORD.fullmatch(entry.name):
                    records.append(prefix + entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    inner.append(prefix + entry.name)
        yield from sorted(records)
        folders += sorted(inner, reverse=True)
