"""Renders the page from its template, with data, script and style."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from benchmark.analysis.captions import provenance
from benchmark.analysis.layout import plain
from benchmark.analysis.rows import ordered, rows_of
from benchmark.analysis.selection import LAST
from benchmark.analysis.settings import Words, in_order, text_of
from benchmark.analysis.tables import cell, decimals
from benchmark.grid import Grid
from benchmark.metrics import METRICS, Metric
from benchmark.page.data import collect, knowledge
from benchmark.page.missing import compared, lacking, missing
from benchmark.page.policy import policy
from benchmark.records.store import Record
from robust_benchmark.errors import unknown
from robust_benchmark.imports import command
from robust_benchmark.words import number_of

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("document.js", "statistics.js", "curves.js", "page.js")  # joined in this order
COLUMNS = 6  # the largest number of settings of a table
ROWS = 100  # the largest number of rows of a table
MOST_LACKING = 100  # the largest number of listed cells with missing trials


class Static(NamedTuple):
    """The table without a script: the first settings and methods, by the first metric at the last step."""

    metric: str
    settings: list[str]
    lines: list[tuple[str, str, list[str]]]
    left_out: str


def render(
    records: Sequence[Record],
    title: str,
    metrics: Sequence[str] = (),
    selections: Sequence[str] = (),
    reference: str = "",
    grids: Sequence[Grid] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The page as HTML. The same records and the same code give the same page.

    records: complete ones; metrics, selections: names; if empty, defaults (benchmark.page.data)
    reference: the method that the page compares with at first; remarks: sentences on records that the page omits
    Raises UserError for a metric that no record has, and for an unknown reference.
    """
    methods = sorted({record["method"] for record in records})
    if reference and reference not in methods:
        raise unknown("method to compare with", reference, methods)
    collected = collect(records, metrics, selections)
    columns = {**collected.columns, "reference": reference, "run": command("run"), "columns": COLUMNS, "rows": ROWS}
    few = lacking(collected.cells, set().union(*(grid.keys for grid in grids)))
    script, style = "\n".join(map(_asset, SCRIPTS)), _asset("page.css")
    return _template().render(
        title=title,
        script=Markup(script),
        style=Markup(style),
        policy=policy(script, style),
        data=pack(columns),
        trials=len(records),
        methods=methods,
        settings=[setting["words"] for setting in columns["settings"]],
        columns=columns,
        knowledge=knowledge(collected.cells),
        static=_static(records, METRICS[columns["metrics"][0]["name"]]),
        grids=[(grid, missing(grid), compared(grid)) for grid in grids],
        lacking=few[:MOST_LACKING],
        lacking_more=max(0, len(few) - MOST_LACKING),
        provenance=provenance(records),
        remarks=[*remarks, *collected.left_out],
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["number_of"] = number_of
    return environment.from_string(_asset("page.html.j2"))


def pack(columns: Mapping[str, Any]) -> str:
    """The columns as compressed JSON in base64."""
    text = json.dumps(columns, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _static(records: Sequence[Record], metric: Metric) -> Static:
    rows = ordered(rows_of(records, metric, [LAST]), metric)
    settings = in_order(row.setting for row in rows)
    digits = decimals(metric, [row.mean for row in rows])
    shown = settings[:COLUMNS]
    lines: dict[tuple[str, str], dict[Words, str]] = {}
    for row in rows:
        texts = lines.setdefault((row.sees, row.method), dict.fromkeys(shown, ""))
        if row.setting in texts:
            texts[row.setting] = " / ".join(filter(None, [texts[row.setting], plain(cell(row, digits))]))
    named = [(sees, method, list(texts.values())) for (sees, method), texts in lines.items() if any(texts.values())]
    left_out = [
        f"{len(settings) - len(shown)} more settings" if len(settings) > len(shown) else "",
        f"{len(named) - ROWS} more methods" if len(named) > ROWS else "",
    ]
    return Static(metric.label, [text_of(setting) for setting in shown], named[:ROWS], " and ".join(filter(None, left_out)))
