"""The cost of a table of many records."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory

from benchmark import ROOT
from benchmark.records.store import KEY, Record, Store, digest, read_all, text_of
from benchmark.speed.measure import Effort

HEADERS = ["records", "seconds", "of a CPU", "CPU microseconds a record", "peak MiB"]
COUNTS = (10_000, 50_000, 100_000)
TRIALS = 5
REPORT = """
import re, runpy, sys, time
try:
    runpy.run_module("benchmark.report", run_name="__main__")
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
    print(time.process_time(), int(peak[1]) / 1024, file=sys.stderr)
"""


def analysis(_: Effort) -> Iterator[list[str]]:
    """Measure the table of many records, by `python -m benchmark.report` in its own process: time, memory, and their growth."""
    for count in COUNTS:
        yield from rows(count)


def rows(count: int) -> Iterator[list[str]]:
    """Return one row, by HEADERS: `python -m benchmark.report` on `count` new records, 5 trials per cell, in the disk cache."""
    with TemporaryDirectory() as directory:
        for record in records(count):
            path = Store(directory).path(record["config"], record["key"], record["seed"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text_of(record), encoding="utf-8")  # not Store.write, which waits for the disk each time
        began = time.perf_counter()
        command = [sys.executable, "-c", REPORT, directory]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - began
    cpu, peak = map(float, done.stderr.split())
    yield [f"{count}", f"{seconds:.2f}", f"{cpu:.2f}", f"{1e6 * cpu / count:.0f}", f"{peak:.0f}"]


def records(count: int) -> Iterator[Record]:
    """Return real records of every method on digits, with other noise rates and clean sets in their configurations."""
    shipped, _ = read_all(ROOT / "results" / "reference" / "digits" / "digits" / "bgflip")
    trials = {(record["method"], record["seed"]): record for record in shipped}
    methods = list(dict.fromkeys(method for method, _ in trials))
    for number in range(count):
        cell, seed = divmod(number, TRIALS)
        setting, method = divmod(cell, len(methods))
        record = trials[methods[method], seed]
        config = record["config"]
        noise, split = config["noise"] | {"rate": setting % 10 / 10}, config["split"] | {"clean_per_class": 1 + setting // 10}
        config = config | {"noise": noise, "split": split}
        yield record | {"key": digest(config, KEY), "config": config}
