"""The content of results/: the tables match the records, and every row of the paper's tables trains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import ROOT, report, run
from benchmark.analysis.figures import KINDS
from benchmark.analysis.tables import FORMATS, render
from benchmark.config import cells
from benchmark.records.store import Store, read_all
from docs.regenerate import PAGES, commands_of
from docs.trials import Trials, _composed, composed
from tests.records import entry, record_of

RESULTS = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
COMMANDS = [command for command in commands_of("results/README.md") if "--output" in command]
FIGURES = [command for page in PAGES if page != "results/README.md" for command in commands_of(page)]


@pytest.fixture
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def option(command: list[str], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


def table_of(command: list[str]) -> str:
    name = option(command, "--output")
    assert name is not None
    return name


@pytest.mark.usefixtures("_at_root")
@pytest.mark.parametrize("command", COMMANDS, ids=table_of)
def test_a_shipped_table_is_what_the_shipped_records_give(command: list[str], tmp_path: Path) -> None:
    figure = option(command, "--figure")
    moved = {table_of(command): str(tmp_path / "table"), figure: str(tmp_path / "figure")}
    assert report.show([moved.get(word, word) for word in command], composed) == 0
    assert (tmp_path / "table").read_text(encoding="utf-8") == Path(table_of(command)).read_text(encoding="utf-8")
    for ending in ("png", "pdf") if figure else ():
        assert (tmp_path / f"figure.{ending}").stat().st_size > 0
        assert Path(f"{figure}.{ending}").exists()


def figure_of(command: list[str]) -> str:
    name = option(command, "--figure")
    assert name is not None
    return name


@pytest.mark.usefixtures("_at_root")
@pytest.mark.parametrize("command", FIGURES, ids=figure_of)
def test_the_command_of_a_shipped_figure_draws_one_of_the_same_size(command: list[str], tmp_path: Path) -> None:
    drawn = tmp_path / Path(figure_of(command)).name
    assert report.show([str(drawn) if word == figure_of(command) else word for word in command], composed) == 0
    shipped = Path(figure_of(command)).with_suffix(".png")
    assert abs(np.subtract(Image.open(drawn.with_suffix(".png")).size, Image.open(shipped).size)).max() <= 2


def test_tables_figures_pages_and_documents_compose_a_grid_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("docs.trials.cells", lambda overrides: asked.append([*overrides]) or cells(overrides))
    _composed.cache_clear()
    Store(tmp_path).write(record_of(json.loads(cells(["experiment=fig7"])[0].canonical), 0, [entry(100, 0.5)]))
    for more in ([], ["--figure", str(tmp_path / "figure.png")], ["--html", str(tmp_path / "page.html"), "--grid", "experiment=fig7"]):
        assert report.show([str(tmp_path), "experiment=fig7", *more], composed) == 0
    assert Trials("fig7", {}).methods
    assert asked == [["experiment=fig7"]]


def test_every_shipped_figure_has_its_command() -> None:
    commands = {Path(figure_of(command)).with_suffix(".png") for command in FIGURES} | {
        Path(figure).with_suffix(".png") for command in COMMANDS if (figure := option(command, "--figure"))
    }
    assert commands == {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.png")}


def test_the_figures_page_shows_every_kind() -> None:
    assert {*KINDS} == {"training", "against", *(kind for command in FIGURES if (kind := option(command, "--kind")))}


def test_every_shipped_table_has_its_command() -> None:
    assert sorted(table_of(command) for command in COMMANDS) == sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "results" / "tables").iterdir()
    )


def test_every_shipped_record_says_which_clean_revision_made_it() -> None:
    records, errors = read_all(ROOT / "results" / "reference")
    assert errors == []
    assert len(records) > 100
    for record in records:
        assert re.fullmatch(r"[0-9a-f]{12}", record["environment"]["revision"])


@pytest.mark.parametrize("metric", ["test_accuracy", "weights_auroc"])
@pytest.mark.parametrize("rewritten", [False, True])
def test_short_records_give_the_same_tables_as_whole_ones(metric: str, rewritten: bool, tmp_path: Path) -> None:
    directory = ROOT / "results" / "reference"
    records, _ = read_all(directory)
    if rewritten:
        directory = tmp_path
        for record in records:
            Store(directory).write(record)
    short, errors = read_all(directory, whole=False)
    assert errors == []
    assert [render(short, form, metric) for form in FORMATS] == [render(records, form, metric) for form in FORMATS]


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_every_row_of_the_papers_tables_trains(table: str, tmp_path: Path) -> None:
    small = ["dataset=digits", "model=convnet", "trainer=digits", "trainer.steps=4", "trials=1", "split.clean_total=100"]
    places = [f"results_dir={tmp_path}/results", f"checkpoint_dir={tmp_path}/checkpoints"]
    overrides = [f"experiment={table}", *small, *places]
    assert run.main(overrides) == 0
    records, errors = read_all(tmp_path / "results")
    assert errors == []
    assert {record["status"] for record in records} == {"done"}
    assert {record["key"] for record in records} == {cell.key for cell in cells(overrides)}
    assert len(records) == len(cells(overrides)[0].config.experiment.rows)
