"""The cost of the HTML page: its size, the time to make it, and the response times in a browser."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmark import ROOT
from benchmark.page.render import render
from benchmark.records.store import Record, read_all
from benchmark.speed.measure import Effort
from benchmark.speed.records import TRIALS, records

HEADERS = ["cells", "trials", "MB", "seconds to make", "ms until it answers", "ms of a filter", "ms of another evaluation"]
CELLS = 10_000
IMAGES = 10_000  # size of the test set, so that accuracies have four digits
SWITCH = """([label, place]) => {
  const field = [...document.querySelectorAll('select')].find((each) => each.dataset.key === label), began = performance.now();
  field.selectedIndex = place;
  field.dispatchEvent(new Event('change'));
  document.body.getBoundingClientRect();
  return performance.now() - began;
}"""


def page(effort: Effort) -> Iterator[list[str]]:
    """Measure the HTML page of the shipped records and of 10,000 cells, in headless Chromium if it is installed."""
    shipped, _ = read_all(ROOT / "results" / "reference")
    for found in (shipped, list(varied(CELLS * TRIALS))):
        yield row(found, effort.rounds)


def varied(count: int) -> Iterator[Record]:
    """Real records with other settings and random accuracies, which compress no better than measured ones."""
    generator = random.Random(0)
    for record in records(count):
        history = record["history"]
        column = [generator.randrange(IMAGES) / IMAGES for _ in history["test_accuracy"]]
        metrics = record["metrics"] | {"test_accuracy": column[-1]}
        yield record | {"metrics": metrics, "history": history | {"test_accuracy": column}}


def row(found: Sequence[Record], rounds: int) -> list[str]:
    """A row of the table, by HEADERS. Times of the browser are medians over the rounds."""
    began = time.perf_counter()
    text = render(found, "results")
    seconds = time.perf_counter() - began
    cells = len({(record["key"], record["method"]) for record in found})
    with TemporaryDirectory() as directory:
        file = Path(directory) / "page.html"
        file.write_text(text, encoding="utf-8")
        times = browse(file, rounds)
    measured = [f"{median(each):.0f}" for each in zip(*times, strict=True)] if times else ["no Chromium"] * 3
    return [f"{cells:,}", f"{len(found):,}", f"{len(text.encode()) / 1e6:.2f}", f"{seconds:.2f}", *measured]


def browse(file: Path, rounds: int) -> list[tuple[float, float, float]]:
    """Milliseconds to start, to filter and to switch the evaluation, in each round. Empty without Playwright or Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    chromium = shutil.which("chromium")
    if chromium is None:
        return []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        times = [_round(browser, file) for _ in range(rounds + 1)][1:]  # the first round warms up
        browser.close()
    return times


def _round(browser: Any, file: Path) -> tuple[float, float, float]:
    page = browser.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    ready = float(page.evaluate("document.documentElement.dataset.ready"))
    times = [float(page.evaluate(SWITCH, arguments)) for arguments in (["Sees", 1], ["Evaluation that counts", 1])]
    page.close()
    return ready, times[0], times[1]
