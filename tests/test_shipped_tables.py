"""The tables in results/tables: each is what the command in results/README.md makes from the shipped records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark import ROOT, report
from benchmark.config import cells
from benchmark.records.store import Store
from docs.trials import Trials, _composed, composed
from tests.records import entry, record_of
from tests.shipped import TABLES, option, table_of


@pytest.mark.parametrize("command", TABLES, ids=table_of)
def test_a_shipped_table_is_what_the_shipped_records_give(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    figure = option(command, "--figure")
    moved = {table_of(command): str(tmp_path / "table"), figure: str(tmp_path / "figure")}
    assert report.show([moved.get(word, word) for word in command], composed) == 0
    assert (tmp_path / "table").read_text(encoding="utf-8") == Path(table_of(command)).read_text(encoding="utf-8")
    for ending in ("png", "pdf") if figure else ():
        assert (tmp_path / f"figure.{ending}").stat().st_size > 0
        assert Path(f"{figure}.{ending}").exists()


def test_every_shipped_table_has_its_command() -> None:
    assert sorted(map(table_of, TABLES)) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / "results" / "tables").iterdir())


def test_tables_figures_pages_and_documents_compose_a_grid_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("docs.trials.cells", lambda overrides: asked.append([*overrides]) or cells(overrides))
    _composed.cache_clear()
    Store(tmp_path).write(record_of(json.loads(cells(["experiment=fig7"])[0].canonical), 0, [entry(100, 0.5)]))
    page, figure = str(tmp_path / "page.html"), str(tmp_path / "figure.png")
    for more in ([], ["--figure", figure, "--y", "test_accuracy"], ["--html", page, "--grid", "experiment=fig7"]):
        assert report.show([str(tmp_path), "experiment=fig7", *more], composed) == 0
    assert Trials("fig7", {}).methods
    assert asked == [["experiment=fig7"]]
