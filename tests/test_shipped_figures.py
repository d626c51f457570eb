"""The figures in docs/: each has its command, which the tests of the page run (tests/documents.py)."""

from __future__ import annotations

from pathlib import Path

from benchmark import ROOT
from benchmark.analysis.figures import KINDS
from tests.shipped import FIGURES, TABLES, figure_of, option


def test_every_shipped_figure_has_its_command() -> None:
    drawn = [*map(figure_of, FIGURES), *(figure for command in TABLES if (figure := option(command, "--figure")))]
    assert {Path(figure).with_suffix(".png") for figure in drawn} == {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.png")}


def test_the_figures_page_shows_every_kind() -> None:
    assert {*KINDS} == {"training", "against", *(kind for command in FIGURES if (kind := option(command, "--kind")))}
