r"""LaTeX tables for a paper, with the rules of booktabs, numbers aligned by siunitx, a caption and a label.

A number takes two columns, one for its mean and one for its interval, because an S column does not show uncertainties in bold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from benchmark.analysis.cells import Cell, Number, Table, printable

PREAMBLE = r"% needs \usepackage{booktabs,siunitx}"
SPECIAL = {each: rf"\{each}" for each in "{}$&#_%"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "[": "{[}",  # at the start of a line, TeX reads it as an argument of the line above
}


def page(tables: Sequence[Table], sentences: Sequence[str], origin: str, label: str) -> str:
    """A `table` environment for each table, with the sentences as caption, below `origin` as a comment."""
    numbers = [f"-{place}" if len(tables) > 1 else "" for place in range(1, len(tables) + 1)]
    blocks = [_table(table, sentences, f"tab:{label}{number}") for table, number in zip(tables, numbers, strict=True)]
    return "\n\n".join(["\n".join(filter(None, [PREAMBLE, f"% {printable(origin)}" if origin else ""])), *blocks]) + "\n"


def escaped(text: str) -> str:
    r"""The text with the special characters of TeX escaped.

    >>> print(escaped("s_model 5 %"))
    s\_model 5 \%
    """
    return "".join(SPECIAL.get(each, each) for each in printable(text))


def _table(table: Table, sentences: Sequence[str], label: str) -> str:
    first = int(table.grouped)  # the column of groups becomes separate lines
    columns = [_Column(cells) for cells in list(zip(*table.lines, strict=True))[first:]]
    headers = [column.header(escaped(header)) for header, column in zip(table.headers[first:], columns, strict=True)]
    heading = [f"{table.heading}:"] if table.heading else []
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escaped(' '.join([*heading, *filter(None, sentences)]))}}}",
            rf"  \label{{{label}}}",
            r"  \sisetup{detect-weight=true, retain-explicit-plus=true}",
            rf"  \begin{{tabular}}{{{''.join(column.specification for column in columns)}}}",
            r"    \toprule",
            f"    {' & '.join(headers)} \\\\",
            *_body(table, columns),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _body(table: Table, columns: Sequence[_Column]) -> Iterator[str]:
    """The lines; each group follows a rule and a line with its name."""
    first = int(table.grouped)
    for group, lines in groupby(table.lines, key=lambda line: line[0] if table.grouped else ""):
        yield r"    \midrule"
        if table.grouped:
            yield rf"    \multicolumn{{{sum(column.width for column in columns)}}}{{l}}{{\textit{{{escaped(_text(group))}}}}} \\"
        for line in lines:
            yield f"    {' & '.join(column.cell(cell) for column, cell in zip(columns, line[first:], strict=True))} \\\\"


class _Column:
    r"""A column of the table. It has two LaTeX columns if one of its numbers has an interval or a remark.

    specification: in the argument of `tabular`
    width: number of LaTeX columns
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        numbers = [cell for cell in cells if isinstance(cell, Number)]
        self.width = 2 if any(number.half or number.after for number in numbers) else 1
        self._halves = max((len(number.half) for number in numbers), default=0)
        digits = max((number.digits for number in numbers), default=0)
        wholes = max((len(number.middle.lstrip("+-").partition(".")[0]) for number in numbers), default=0)
        sign = "+" if any(number.middle[0] in "+-" for number in numbers) else ""
        form = f"{sign}{wholes}.{digits}" if digits else f"{sign}{wholes}"
        more = r"@{\,}l" if self.width == 2 else ""
        self.specification = f"S[table-format={form}]{more}" if numbers else "l"

    def header(self, text: str) -> str:
        """The header of the column."""
        return self._text(text)

    def cell(self, cell: Cell) -> str:
        """A cell of the column."""
        if not isinstance(cell, Number):
            return self._text(escaped(cell))
        bold = r"\bfseries " if cell.best else ""
        if self.width == 1:
            return bold + cell.middle
        padding = rf"\phantom{{{'0' * (self._halves - len(cell.half))}}}" if len(cell.half) < self._halves else ""
        interval = rf"$\pm$\,{padding}{cell.half}" if cell.half else ""
        return f"{bold}{cell.middle} & {bold}{interval}{escaped(cell.after)}"

    def _text(self, text: str) -> str:
        if self.width == 2:
            return rf"\multicolumn{{2}}{{c}}{{{text}}}"
        return text if self.specification == "l" or not text else f"{{{text}}}"


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Number) else cell
