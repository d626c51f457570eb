"""Rows and columns of a table by any option."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from benchmark import report
from benchmark.analysis.axes import axes
from benchmark.analysis.tables import render
from benchmark.records.store import Record
from robust_benchmark.errors import UserError
from tests.test_tables import record, trials, write

RATES, SIZES = (0.2, 0.4, 0.05), (5, 10)
GRID = [
    record(method, accuracy / 100, noise__rate=rate, split__clean_per_class=size)
    for accuracy, (method, rate, size) in enumerate(itertools.product(("reed", "l2rw"), RATES, SIZES), 10)
]


def lines(records: list[Record], rows: list[str], columns: list[str]) -> list[list[str]]:
    """The cells of all lines above the caption, headings being lines of one."""
    text = render(records, axes=axes(rows, columns, 1)).partition("\n\nTest accuracy")[0]
    split = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if not line.startswith("-")]
    return [cells for cells in split if cells]


def accuracy_of(method: str, rate: float, size: int) -> str:
    (found,) = (
        each
        for each in GRID
        if (each["method"], each["config"]["noise"]["rate"], each["config"]["split"]["clean_per_class"]) == (method, rate, size)
    )
    return f"{100 * found['metrics']['test_accuracy']:.2f}"


def test_an_option_makes_the_columns_in_the_order_of_its_numbers() -> None:
    header, *body = lines([each for each in GRID if each["config"]["split"]["clean_per_class"] == 5], ["method"], ["noise.rate"])
    assert header == ["method", "rate=0.05", "rate=0.2", "rate=0.4"]
    assert sorted(body) == sorted([method, *(accuracy_of(method, rate, 5) for rate in sorted(RATES))] for method in ("reed", "l2rw"))


def test_what_is_in_neither_and_varies_splits_the_tables() -> None:
    found = lines(GRID, ["method"], ["noise.rate"])
    assert [line for line in found if len(line) == 1] == [["clean_per_class=5"], ["clean_per_class=10"]]
    assert ["l2rw", *(accuracy_of("l2rw", rate, 10) for rate in sorted(RATES))] in found[5:]


def test_methods_split_the_tables_where_they_are_in_neither() -> None:
    found = lines(GRID, ["noise.rate"], ["split.clean_per_class"])
    assert [line for line in found if len(line) == 1] == [["l2rw"], ["reed"]]
    assert found[1] == ["noise.rate", "clean_per_class=5", "clean_per_class=10"]
    assert found[2] == ["0.05", accuracy_of("l2rw", 0.05, 5), accuracy_of("l2rw", 0.05, 10)]


def test_several_names_make_a_row_and_the_first_stands_once() -> None:
    found = lines(GRID, ["split.clean_per_class", "noise.rate"], ["method"])
    assert found[0][:2] == ["split.clean_per_class", "noise.rate"]
    assert [line[0] for line in found[1:]] == ["5", "0.2", "0.4", "10", "0.2", "0.4"]


def test_what_follows_from_a_named_option_splits_nothing() -> None:
    records = [record("reed", 0.5), record("reed", 0.6, noise__name="uniflip", noise__targets="others", noise__rate=0.3)]
    assert lines(records, ["method"], ["noise.name"]) == [["method", "bgflip", "uniflip"], ["reed", "50.00", "60.00"]]


def test_settings_that_differ_are_never_in_one_table_though_each_method_has_its_own() -> None:
    records = [record("reed", 0.5, noise__rate=0.2), record("l2rw", 0.6, noise__rate=0.4)]
    assert [line for line in lines(records, ["method"], ["noise.name"]) if len(line) == 1] == [["rate=0.2"], ["rate=0.4"]]


def test_an_option_that_an_identity_omits_has_its_value() -> None:
    records = [record("reed", 0.5), record("reed", 0.4, split__clean_noise_rate=0.2)]
    assert lines(records, ["method"], ["split.clean_noise_rate"]) == [
        ["method", "clean_noise_rate=0.0", "clean_noise_rate=0.2"],
        ["reed", "50.00", "40.00"],
    ]


def test_an_option_that_a_method_lacks_is_a_dash() -> None:
    made = [record("l2rw", 0.9)]
    del made[0]["config"]["method"]["beta"]
    assert lines([record("reed", 0.5, method__beta=0.9), *made], ["method", "method.beta"], ["noise.rate"])[1:] == [
        ["reed", "0.9", "50.00"],
        ["l2rw", "-", "90.00"],
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "chosen"),
    [
        (["method"], [], (("method",), ("setting",))),
        (["noise.rate"], [], (("noise.rate",), ("method",))),
        ([], ["noise.rate"], (("sees", "method"), ("noise.rate",))),
        ([], ["method"], (("setting",), ("method",))),
    ],
)
def test_what_is_not_asked_for_is_methods_against_settings_or_options(
    rows: list[str], columns: list[str], chosen: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    assert axes(rows, columns, 1) == chosen


def test_several_selections_are_columns_unless_they_are_named() -> None:
    assert axes(["method"], ["noise.rate"], 2).columns == ("noise.rate", "selection")
    assert axes(["method", "selection"], ["noise.rate"], 2).columns == ("noise.rate",)


def test_a_set_of_records_keeps_all_its_cells_in_every_arrangement() -> None:
    expected = sorted(f"{100 * each['metrics']['test_accuracy']:.2f}" for each in GRID)
    names = ("method", "setting", "sees", "noise.rate", "noise.name", "split.clean_per_class")
    for row, column in itertools.permutations(names, 2):
        cells = [cell for line in lines(GRID, [row], [column]) for cell in line[1:] if cell.endswith(".00")]
        assert sorted(cells) == expected, (row, column)


def test_the_marks_are_those_of_each_setting() -> None:
    good, poor = [0.91, 0.92, 0.93], [0.5, 0.51, 0.5]
    records = [each for rate in RATES for each in [*trials("l2rw", good, noise__rate=rate), *trials("reed", poor, noise__rate=rate)]]
    text = render(records, axes=axes(["noise.rate"], ["method"], 1))
    assert text.count(" *") == 4
    assert "may be the best of its setting" in text


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_each_format_has_the_arrangement(form: str) -> None:
    text = render(GRID, form, axes=axes(["noise.rate"], ["method"], 1))
    assert "clean_per_class=10".replace("_", r"\_" if form == "latex" else "_") in text
    assert "noise.rate" in text


MISTAKES = {
    ("noise.rat", "method"): "no row or column 'noise.rat'; nearest: noise.rate ",
    ("method", "method"): "--rows and --columns name method more than once",
}


@pytest.mark.parametrize(("row", "column"), MISTAKES)
def test_a_mistake_is_one_sentence_and_status_2(row: str, column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, GRID)
    assert report.main([str(tmp_path), "--rows", row, "--columns", column]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {MISTAKES[row, column]}")
    assert captured.err.count("\n") == 1


def test_several_cells_in_one_place_name_the_option_that_tells_them_apart() -> None:
    records = [record("reed", 0.5, method__beta=0.1), record("reed", 0.6, method__beta=0.9)]
    with pytest.raises(UserError) as error:
        render(records, axes=axes(["method"], ["noise.rate"], 1))
    assert str(error.value) == (
        "--rows method --columns noise.rate gives several cells the same place (method reed, noise.rate 0.4);"
        " also name method.beta, which distinguishes them (0.1 and 0.9)"
    )
    assert lines(records, ["method", "method.beta"], ["noise.rate"])[1:] == [["reed", "0.1", "50.00"], ["0.9", "60.00"]]


@pytest.mark.parametrize("option", [["--overall"], ["--format", "csv"]])
def test_tables_with_an_arrangement_of_their_own_take_no_other(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, GRID)
    assert report.main([str(tmp_path), "--rows", "method", *option]) == 2
    assert f"do not apply to {' '.join(option)}, which has fixed rows and columns" in capsys.readouterr().err
