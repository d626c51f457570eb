"""`python -m docs.regenerate`: makes all shipped tables and figures and the report page again, by the commands that their pages show."""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from benchmark import ROOT, config, report
from benchmark.config import cells
from docs import findings, method_table

PAGES = ("results/README.md", "docs/figures.md", "docs/wrong-labels.md", "docs/rare-classes.md", "docs/small.md")


def main() -> None:
    """Run the commands in one process."""
    os.chdir(ROOT)
    with composing_once():
        for command in [command for page in PAGES for command in commands_of(page)]:
            print("python -m benchmark.report", shlex.join(command), flush=True)
            if report.main(command) != 0:
                raise SystemExit(1)
    method_table.main()
    findings.main()


@contextmanager
def composing_once() -> Iterator[None]:
    """Compose each grid once in a process, because many commands are about the same one."""
    with mock.patch.object(config, "cells", lambda overrides: _composed(tuple(overrides))):
        yield


@functools.cache
def _composed(overrides: tuple[str, ...]) -> list[config.Cell]:
    return cells(overrides)


def commands_of(page: str) -> list[list[str]]:
    """The arguments of each `python -m benchmark.report` of a page's code blocks, which start in the first column."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [shlex.split(line)[3:] for line in re.findall(r"^python -m benchmark\.report .*$", text, re.MULTILINE)]


if __name__ == "__main__":
    main()
