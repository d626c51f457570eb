"""The README agrees with the records and with CI. tests/documents.py runs its other commands."""

from __future__ import annotations

import re

from benchmark import ROOT
from docs.method_table import SHIPPED, shipped

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_s_tables_are_what_the_shipped_records_give() -> None:
    for name in SHIPPED.values():
        assert shipped(name) in README  # test_shipped_tables.py makes the files again


def test_the_readme_has_the_two_set_up_commands_that_ci_runs() -> None:
    lines = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [line.rpartition("&& ")[2] for line in lines] == ["python -m benchmark.run method=l2rw,reed noise=bgflip", "python -m pytest"]


def test_the_readme_takes_a_minute_to_read() -> None:
    assert len(README.splitlines()) <= 120
    text = re.sub(r"```.*?```|^\|.*$", "", README, flags=re.DOTALL | re.MULTILINE)
    assert len(text.split()) < 500
