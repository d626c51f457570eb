"""`python -m docs.regenerate`: makes all shipped tables and figures and the report page again, by the commands that their pages show."""

from __future__ import annotations

import os
import re
import shlex

from benchmark import ROOT, report
from docs import findings, method_table
from docs.trials import composed

PAGES = ("results/README.md", "docs/figures.md", "docs/wrong-labels.md", "docs/rare-classes.md", "docs/small.md")


def main() -> None:
    """Run the commands in one process."""
    os.chdir(ROOT)
    for command in [command for page in PAGES for command in commands_of(page)]:
        print("python -m benchmark.report", shlex.join(command), flush=True)
        if report.show(command, composed) != 0:
            raise SystemExit(1)
    method_table.main()
    findings.main()


def commands_of(page: str) -> list[list[str]]:
    """The arguments of each `python -m benchmark.report` of a page's code blocks, which start in the first column."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [shlex.split(line)[3:] for line in re.findall(r"^python -m benchmark\.report .*$", text, re.MULTILINE)]


if __name__ == "__main__":
    main()
