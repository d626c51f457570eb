"""Converts docstrings of this project to reStructuredText.

These docstrings are plain text: paragraphs, indented formulas, lines such as `beta: share of the label`, and code in single backquotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ITEM = re.compile(r"(?P<names>\*{0,2}[A-Za-z_]\w*(?:, \*{0,2}[A-Za-z_]\w*)*): (?P<meaning>.+)")
CODE = re.compile(r"`([^`]+)`")


def setup(app: Sphinx) -> dict[str, bool]:
    """Set up the Sphinx extension."""
    app.connect("autodoc-process-docstring", _processed)
    return {"parallel_read_safe": True}


def _processed(app: Sphinx, what: str, name: str, object_: object, options: object, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText, where `\\\\ ` is an empty separator.

    >>> restructured(["The mean of `x`.", "", "    m = sum_i x_i / n", "", "x: numbers"])
    ['The mean of \\\\ ``x``\\\\ .', '', '::', '', '    m = sum_i x_i / n', '', '``x``', '    numbers', '']
    """
    return [line for paragraph in _paragraphs(lines) for line in (*paragraph, "")]


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    for empty, group in groupby(lines, key=lambda line: not line.strip()):
        paragraph = list(group)
        if empty:
            continue
        if paragraph[0].startswith(">>>"):
            yield paragraph
        elif paragraph[0].startswith(" "):
            yield ["::", "", *(line if line.startswith("    ") else f"    {line.strip()}" for line in paragraph)]
        else:
            yield from _text(paragraph)


def _text(paragraph: list[str]) -> Iterator[list[str]]:
    """Ordinary lines and items. The meaning of an item may continue in indented lines."""
    text: list[str] = []
    items: list[str] = []
    for line in paragraph:
        item = ITEM.fullmatch(line)
        if item and not item["names"][0].isupper():
            items += [", ".join(f"``{name}``" for name in item["names"].split(", ")), f"    {escaped(item['meaning'])}"]
        elif items and line.startswith(" "):
            items[-1] += f" {escaped(line.strip())}"
        elif items:
            yield items
            text, items = [escaped(line.strip())], []
        else:
            text.append(escaped(line.strip()))
        if items and text:
            yield text
            text = []
    yield from filter(None, (text, items))


def escaped(line: str) -> str:
    """The line with code as literals and all other markup escaped."""
    parts = CODE.split(line)  # alternating text and code
    return "".join(f"\\ ``{part}``\\ " if place % 2 else re.sub(r"([\\*_|])", r"\\\1", part) for place, part in enumerate(parts))
