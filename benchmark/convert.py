"""`python -m benchmark.convert DIRECTORY`: converts records of schema 1 to today's schema, with their new keys.

Numbers, seeds, environments and revisions do not change. The fingerprint, which schema 1 lacks, comes from the code of the recorded
revision in git, and the digests of the data come from drawing it again. This module can be deleted when no run of schema 1 remains.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from benchmark import ROOT, fingerprint
from benchmark.identity import PARTS, identity
from benchmark.names import label
from benchmark.records.history import columns
from benchmark.records.schema import SCHEMA
from benchmark.records.store import KEY, Record, Store, canonical, digest, read_record, record_paths
from datasets.source import Source
from datasets.task import Split, draw
from methods import registry
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError
from robust_benchmark.files import read_regular

LONG = ("per_class_accuracy", "confusion_matrix", "weight_histograms", "history")


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.convert", description="Rewrite records of schema 1 for this version.")
    parser.add_argument("directory", type=Path, help="directory of records, searched recursively")
    parser.add_argument("--data-dir", default="data", help="directory of published data sets (default: data)")
    given = parser.parse_args(arguments)
    if not given.directory.is_dir():
        raise UserError(f"no results directory {given.directory}")
    old = [Path(path).absolute() for path in record_paths(given.directory) if _schema(path) == 1]
    for path in old:
        _rewrite(path, given.data_dir)
    print(f"{len(old)} records rewritten")
    return 0


def _schema(path: str) -> object:
    """Return the schema in the file; raise UserError if it has none."""
    try:
        return json.loads(read_regular(path))["schema"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"record {path} cannot be read ({error}); move it away") from error


def _rewrite(path: Path, data_dir: str) -> None:
    text = read_regular(path).decode()
    record = json.loads(text)
    if record.pop("checksum") not in (digest(record), hashlib.sha256(text[: text.rindex(',\n"checksum"')].encode()).hexdigest()[:16]):
        raise UserError(f"record {path} was changed after it was written (its checksum differs)")
    written = Store(path.parents[3]).write(_converted(record, data_dir))
    read_record(written)
    path.unlink()
    if not any(path.parent.iterdir()):
        path.parent.rmdir()


def _converted(old: Record, data_dir: str) -> Record:
    config = identity({part: old["config"][part] for part in (*PARTS, "split") if part in old["config"]}, registry.added_options)
    config |= {name: old["config"][name] for name in ("scale", "precision") if name in old["config"]}
    metrics = old["metrics"]
    return {
        **{name: old[name] for name in ("seed", "status", "needs", "timing", "environment")},
        "schema": SCHEMA,
        "key": digest(config, KEY),
        "method": label(config["method"]),
        "overrides": [],
        "config": config,
        "fingerprint": fingerprint.of(config, root=_checkout(old["environment"]["revision"])),
        "digests": _digests(old, data_dir),
        "metrics": {name: value for name, value in metrics.items() if name not in LONG},
        "per_class": {short: metrics[name] for short, name in (("accuracy", LONG[0]), (LONG[1], LONG[1])) if name in metrics},
        "history": columns(metrics["history"]),
        "weight_histograms": metrics.get("weight_histograms", {}),
        "data": old["data"],
    }


@functools.cache
def _checkout(revision: str) -> Path:
    """Return the tree of a revision, in a temporary directory that exists until the process ends."""
    directory = tempfile.TemporaryDirectory()
    _kept.append(directory)
    try:
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"git has no revision '{revision}' in {ROOT}, whose code a record's fingerprint needs") from error
    subprocess.run(["tar", "-x", "-C", directory.name], input=archive, check=True)
    return Path(directory.name)


_kept: list[tempfile.TemporaryDirectory] = []


def _digests(old: Record, data_dir: str) -> dict[str, str]:
    """Return the digests of the data drawn again, which must have the counts in the record."""
    source = _source(canonical(old["config"]["dataset"]["source"]), data_dir)
    noise = instantiate({key: value for key, value in old["config"]["noise"].items() if key != "name"}, _convert_="all")
    drawn = draw(source, noise, Split(**old["config"]["split"]), old["seed"], "clean_set" in old["needs"])
    counts = torch.bincount(torch.from_numpy(drawn.train_labels), minlength=len(source.classes)).tolist()
    wrong = int((torch.from_numpy(drawn.train_labels) != source.train_labels[drawn.train]).sum())
    if (counts, wrong) != (old["data"]["train_labels_per_class"], old["data"]["wrong_labels"]["train"]):
        raise UserError(f"today's data differs from the record of {old['method']}, seed {old['seed']}: it has other labels")
    return {"source": source.digest, "drawn": drawn.digest}


@functools.cache
def _source(config: str, data_dir: str) -> Source:
    options: dict[str, Any] = json.loads(config)
    places = {} if options["_target_"].startswith("datasets.digits") else {"root": data_dir}
    return instantiate(options | places)


if __name__ == "__main__":
    sys.exit(main())
