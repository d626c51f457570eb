"""What tables make of odd records: names that are markup, trials recorded twice, thousands of methods; and whether LaTeX compiles."""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmark import report
from benchmark.analysis.axes import axes
from benchmark.analysis.latex import escaped
from benchmark.analysis.layout import FORMATS, markdown
from benchmark.analysis.overall import render as render_overall
from benchmark.analysis.tables import render
from benchmark.records.store import Record, Store
from tests.records import config_of, entry, record_of
from tests.test_tables import trials, write

ODD = [
    "<script>alert(1)</script>",
    "a|b & c",
    "*bold* _it_ `code`",
    r"50% of $x^2$ #1 {y} ~z \end{table}",
    "[1](http://example.org)",
    "two\nlines\x1b[31m",
    "-",
]


def odd_records() -> list[Record]:
    """Three trials of each method with an odd name, in two odd settings."""
    return [
        record_of(config_of(noise__name=noise), seed, [entry(100, 0.5 + place / 100 + seed / 50)], method=name)
        for noise in ("a_b%|<i>", "#2")
        for place, name in enumerate(ODD)
        for seed in range(3)
    ]


def test_markdown_keeps_odd_names_in_their_cells_and_shows_them_as_they_are() -> None:
    table = render(odd_records(), "markdown").partition("\n\n")[0].splitlines()
    cells = [re.split(r"(?<!\\)\|", line) for line in table]
    assert {len(line) for line in cells} == {6}
    assert len(table) == 2 + len(ODD)
    shown = {re.sub(r"\\([\\`*|<&~_(])", r"\1", line[2].strip()) for line in cells[2:]}
    assert shown == {name.replace("\n", r"\n").replace("\x1b", r"\x1b") for name in ODD}
    assert not re.search(r"(?<!\\)[<`&]", "".join(line[2] for line in cells))


@pytest.mark.parametrize("name", ["s_model_conf", "baseline", "reed:beta=0.5", "MentorNet [1]", "S-Model +Conf +ES"])
def test_ordinary_names_are_not_changed_in_markdown(name: str) -> None:
    assert markdown(name) == name


def test_text_has_no_line_break_and_no_command_for_the_terminal() -> None:
    text = render(odd_records())
    assert r"two\nlines\x1b[31m" in text
    assert "\x1b" not in text


def test_csv_gives_odd_names_back_as_they_are() -> None:
    rows = list(csv.DictReader(io.StringIO(render(odd_records(), "csv"), newline="")))
    assert {row["method"] for row in rows} == {*ODD}


def test_every_special_character_of_tex_is_escaped() -> None:
    assert escaped(r"\{}$&#^_%~") == (r"\textbackslash{}\{\}\$\&\#\textasciicircum{}\_\%\textasciitilde{}")


# --- LaTeX compiles


def documents() -> dict[str, str]:
    """Tables of every kind."""
    grid = [each for rate in (0.2, 0.4) for each in (trials("reed", [0.6, 0.61, 0.7], noise__rate=rate))]
    grid += [each for rate in (0.2, 0.4) for each in (trials("l2rw", [0.9, 0.91, 0.92], needs=("clean_set",), noise__rate=rate))]
    few = [*trials("reed", [0.5]), *trials("l2rw", [0.5, 0.6]), *trials("elr", [None, 0.7, 0.8, 0.9]), *trials("gone", [None])]
    return {
        "odd": render(odd_records(), "latex"),
        "ordinary": render(grid, "latex", ["test_accuracy", "test_error"]),
        "reference": render(grid, "latex", reference="reed"),
        "arranged": render(grid, "latex", axes=axes(["noise.rate"], ["method"], 1)),
        "overall": render_overall(grid, "latex"),
        "few": render(few, "latex", selections=["last", "last5"]),
    }


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs and siunitx")
def test_pdflatex_compiles_tables_of_every_kind(tmp_path: Path) -> None:
    preamble = "\\documentclass{article}\n\\usepackage{booktabs,siunitx}\n\\begin{document}\n"
    body = "\n\\clearpage\n".join(documents().values())
    (tmp_path / "tables.tex").write_text(f"{preamble}{body}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").read_bytes().startswith(b"%PDF")
    assert "multiply defined" not in done.stdout.replace("tab:test-accuracy", "")


# --- records


def test_a_copy_of_a_trial_counts_once_and_other_numbers_for_it_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = trials("reed", [0.5, 0.6, 0.7])
    write(tmp_path / "a", records)
    write(tmp_path / "b", records)
    assert report.main([str(tmp_path)]) == 0
    once = capsys.readouterr()
    assert (once.out, once.err) == (render(records), "")
    other = Store(tmp_path / "c").write(trials("reed", [0.9])[0])
    assert report.main([str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out == once.out
    assert told.err.startswith(f"error: record {other} has other numbers than {tmp_path / 'a'}")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("form", FORMATS)
def test_thousands_of_methods_are_a_table_of_thousands_of_lines(form: str) -> None:
    count = 2000
    records = [
        record_of(config_of(method__beta=place / count), seed, [entry(100, round(place / 2500 + seed / 5000, 4))], method=f"m{place}")
        for place in range(count)
        for seed in range(3)
    ]
    lines = render(records, form).splitlines()
    assert sum(bool(re.search(r"\bm\d+\b", line)) for line in lines) == count


def test_a_directory_without_records_and_one_with_other_files_say_that_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text(html.escape("<b>"))
    assert report.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: no records under {tmp_path}\n"


def test_records_of_other_schemas_are_each_named_and_the_others_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write(tmp_path, trials("reed", [0.5, 0.6, 0.7]))
    for path, schema in zip(paths, (1, 3), strict=False):
        path.write_text(path.read_text(encoding="utf-8").replace('"schema": 2', f'"schema": {schema}'), encoding="utf-8")
    assert report.main([str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert [re.search(r"has schema \d", line)[0] for line in told.err.splitlines()] == ["has schema 1", "has schema 3"]  # type: ignore[index]
    assert "70.00" in told.out


def test_not_a_number_in_a_record_is_refused_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = write(tmp_path, trials("reed", [0.5, 0.6]))
    first.write_text(first.read_text(encoding="utf-8").replace('"test_accuracy": 0.5', '"test_accuracy": NaN'), encoding="utf-8")
    assert report.main([str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"error: record {first} cannot be read")
    assert "nan" not in told.out.lower()
