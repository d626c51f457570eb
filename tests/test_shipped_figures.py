"""The figures in docs/: each has the size that the command of its page draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import ROOT, report
from benchmark.analysis.figures import KINDS
from docs.trials import composed
from tests.shipped import FIGURES, TABLES, figure_of, option


@pytest.mark.parametrize("command", FIGURES, ids=figure_of)
def test_the_command_of_a_shipped_figure_draws_one_of_the_same_size(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    drawn = tmp_path / Path(figure_of(command)).name
    assert report.show([str(drawn) if word == figure_of(command) else word for word in command], composed) == 0
    shipped = Path(figure_of(command)).with_suffix(".png")
    assert abs(np.subtract(Image.open(drawn.with_suffix(".png")).size, Image.open(shipped).size)).max() <= 2


def test_every_shipped_figure_has_its_command() -> None:
    drawn = [*map(figure_of, FIGURES), *(figure for command in TABLES if (figure := option(command, "--figure")))]
    assert {Path(figure).with_suffix(".png") for figure in drawn} == {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.png")}


def test_the_figures_page_shows_every_kind() -> None:
    assert {*KINDS} == {"training", "against", *(kind for command in FIGURES if (kind := option(command, "--kind")))}
