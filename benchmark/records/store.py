"""Records in and out of a results directory: one self-describing JSON file a trial. Nothing here imports torch."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

from robust_benchmark.errors import UserError
from robust_benchmark.files import write

SCHEMA = 2
Record = dict[str, Any]


class Short(msgspec.Struct):
    """What tables need of a record, typed: the parser skips the rest of the file.

    key: digest of `config`, which holds all that determines the numbers, as names and values of options
    method: the name of the method's configuration
    needs: what the method may see beyond noisy labels
    fingerprint: digests of the code that made the numbers (benchmark.fingerprint)
    digests: of the data: its `source`, and the images and given labels `drawn` from it for this trial
    metrics: of the last evaluation, by the names of benchmark.metrics; a diverged trial has none
    """

    schema: int
    key: str
    seed: int
    status: Literal["done", "diverged"]
    method: str
    needs: list[str]
    config: msgspec.Raw
    fingerprint: msgspec.Raw
    digests: msgspec.Raw
    metrics: dict[str, float]
    environment: msgspec.Raw


class Whole(Short):
    """A record.

    overrides: of the command line, which compose this configuration; empty where unknown
    per_class: lists with an entry for each class, and the confusion matrix of the test set (rows: true class)
    history: columns of all evaluations (benchmark.records.history)
    weight_histograms: of the example weights; empty for methods that have none (benchmark.training.detection)
    """

    overrides: list[str]
    per_class: dict[str, list[Any]]
    history: dict[str, list[Any]]
    weight_histograms: dict[str, Any]
    data: dict[str, Any]
    timing: dict[str, Any]


FIELDS = Whole.__struct_fields__
BELOW_SHORT = b',\n"%b": ' % FIELDS[len(Short.__struct_fields__)].encode()
SHARED = ("config", "fingerprint", "digests", "environment")  # equal in many trials, so parsed once
RECORD = re.compile(r"seed-\d+\.json")
CHUNK = 2**16  # bytes, more than nearly all records have
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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


def slug(name: str) -> str:
    """`name` fit for a file name.

    >>> slug("my data/set")
    'my-data-set'
    """
    return re.sub(r"[^\w.=+-]+", "-", name)


def text_of(record: Mapping[str, Any]) -> str:
    """JSON with a line for each field of the record, and below the checksum of these lines.

    Raises ValueError for a number that is not finite.
    """
    lines = ",\n".join(f'"{name}": {json.dumps(record[name], allow_nan=False)}' for name in FIELDS)
    above = f"{{\n{lines}".encode()
    return (above + _signature(above)).decode()


def _signature(above: bytes | memoryview) -> bytes:
    """The end of a record, with the checksum of the lines above it."""
    return b',\n"checksum": "%b"\n}\n' % hashlib.sha256(above).hexdigest()[:16].encode()


SIGNATURE = len(_signature(b""))


def read_record(path: str | Path, whole: bool = True, metrics: tuple[str, ...] | None = None) -> Record:
    """The record in the file `path`, and its `path`; unless `whole`, only the fields of Short; of its metrics only those given, if any are.

    Equal parts of several records are one object, for reading only.
    Raises UserError where it is truncated, edited after it was written, of another schema, or in another trial's place.
    """
    try:
        text = _content(path)
        record = msgspec.structs.asdict(_decoder(whole, metrics)(text if whole else _short(text)))
        for name in SHARED:
            record[name] = _parsed_once(bytes(record[name]))
    except (ValueError, RecursionError, OSError) as error:  # ValueError: not JSON, not UTF-8, or not of this schema
        raise _unreadable(path, error) from error
    if record["schema"] != SCHEMA:
        raise _other_schema(path, record["schema"])
    if text[-SIGNATURE:] != _signature(memoryview(text)[:-SIGNATURE]):
        raise UserError(f"record {path} was changed after it was written (its checksum differs); delete it to run that trial again")
    own = f"-{record['key']}{os.sep}seed-{record['seed']}.json"
    if not str(path).endswith(own) and not os.path.abspath(path).endswith(own):
        raise UserError(f"record {path} is that of key {record['key']} and seed {record['seed']}, in another's place; delete it")
    record["path"] = str(path)
    return record


def _short(text: bytes) -> bytes:
    """The lines of a record that hold the fields of Short, which stand above the longer ones; all of another text."""
    end = text.find(BELOW_SHORT)  # no string within JSON has a line break
    return text[:end] + b"}" if end > 0 else text


@functools.cache
def _decoder(whole: bool, metrics: tuple[str, ...] | None) -> Callable[[bytes], Any]:
    if metrics is None:
        return msgspec.json.Decoder(Whole if whole else Short).decode
    kept = TypedDict("kept", dict.fromkeys(metrics, float), total=False)  # type: ignore[misc]  # the parser skips the others
    return msgspec.json.Decoder(msgspec.defstruct("Few", [("metrics", kept)], bases=(Whole if whole else Short,))).decode


def _content(path: str | Path) -> bytes:
    """All of a file, without the questions that `open` asks of it first."""
    file = os.open(path, os.O_RDONLY)
    try:
        text = os.read(file, CHUNK)
        while more := os.read(file, CHUNK):
            text += more
        return text
    finally:
        os.close(file)


@functools.lru_cache(maxsize=100_000)
def _parsed_once(text: bytes) -> dict[str, Any]:
    """An object, whose parts are also those of other objects, where they are equal."""
    return {name: _part(bytes(value)) for name, value in _parts(text).items()}


@functools.lru_cache(maxsize=100_000)
def _part(text: bytes) -> Any:
    return msgspec.json.decode(text)


def _unreadable(path: str | Path, error: Exception) -> UserError:
    """The error for a file that is no record of this schema; a record of another one is named as such."""
    try:
        schema = json.loads(Path(path).read_bytes())["schema"]
    except (ValueError, TypeError, KeyError, RecursionError, OSError):
        schema = SCHEMA
    if schema != SCHEMA:
        return _other_schema(path, schema)
    return UserError(f"record {path} cannot be read ({error}); delete it to run that trial again")


def _other_schema(path: str | Path, schema: object) -> UserError:
    if schema == 1:
        return UserError(f"record {path} is of schema 1: `python -m benchmark.convert DIRECTORY` rewrites records for this version")
    return UserError(f"record {path} is of schema {schema}, and this version reads schema {SCHEMA}")


def read_all(root: str | Path, whole: bool = True, metrics: tuple[str, ...] | None = None) -> tuple[list[Record], list[UserError]]:
    """The readable records under `root`, in the order of their paths, one a trial; and what is wrong with the others.

    whole, metrics: as in `read_record`
    Raises UserError where `root` is no directory.
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
            records.setdefault((record["key"], record["seed"]), record)
    return list(records.values()), errors


def record_paths(root: str | Path) -> Iterator[str]:
    """The files named as records under `root`, in order."""
    try:
        with os.scandir(root) as entries:
            found = {entry.name: entry for entry in entries}
    except OSError:  # taken away meanwhile, or nobody's to read
        return
    records = sorted(filter(RECORD.fullmatch, found))
    prefix = os.path.join(root, "")
    yield from (prefix + name for name in records)
    for name in sorted(found.keys() - records):
        if found[name].is_dir(follow_symlinks=False):
            yield from record_paths(prefix + name)
