"""Verdicts on an experiment's claims: which method is better than another, and by how much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from benchmark.analysis.cells import Cell, Number, Table
from benchmark.analysis.experiment import Found, accuracies_of
from benchmark.analysis.layout import page
from benchmark.analysis.selection import LAST
from benchmark.analysis.settings import flatten, text_of, words_of
from benchmark.analysis.statistics import FEWEST, Difference, difference
from robust_benchmark.errors import UserError, unknown

FINDINGS = {"holds": "hold", "does not hold": "do not hold", "undecided": "undecided", "not run": "not run"}
NOTE = (
    "Differences are paired, in points of test accuracy, with 95 % confidence intervals (Student t) and the number of trials won. A claim"
    " holds if the interval is above its gap, and does not hold if the interval is below. Otherwise it is undecided, also with fewer than 3"
    " common trials or with diverged trials. The verdicts are not adjusted for their number, so some of many are wrong by chance."
)


class Claim(msgspec.Struct, forbid_unknown_fields=True):
    """The claim that each method in `better` is better than each in `than`, by more than `by` points of test accuracy, in each setting.

    better, than: choices of `method=`, as in the experiment's rows
    setting: values of options by dotted name; a claim without them is about all settings
    """

    better: str | list[str]
    than: str | list[str]
    by: float = 0.0
    setting: dict[str, Any] = {}

    @property
    def pairs(self) -> Iterator[tuple[str, str]]:
        """The pairs (better method, other method)."""
        better, than = ([each] if isinstance(each, str) else each for each in (self.better, self.than))
        return ((one, other) for one in better for other in than)


class Judged(NamedTuple):
    """A claim on two methods in one setting. finding: holds, does not hold, undecided or not run, with remarks"""

    setting: str
    claim: str
    difference: Difference
    finding: str


def claims_of(given: Sequence[Any], methods: Sequence[str]) -> list[Claim]:
    """The claims of an experiment's file. methods: of the experiment. Raises UserError for a malformed claim."""
    claims = []
    for each in given:
        try:
            claims.append(msgspec.convert(each, Claim))
        except msgspec.ValidationError as error:
            raise UserError(f"a claim must be {{better: METHOD, than: METHOD, by: POINTS}}, not {each}: {error}") from error
    for name in (name for claim in claims for pair in claim.pairs for name in pair):
        if name not in methods:
            raise unknown("method of this experiment for its claims", name, methods)
    return claims


def judge(claims: Sequence[Claim], found: Sequence[Found], rows: Mapping[str, Any], selection: str = LAST) -> list[Judged]:
    """The verdict on each claim, pair of methods and setting in the cells. Raises UserError for an unknown option in a claim's setting."""
    settings = [text_of(words) for words in words_of([each.wanted.config for each in found])]
    by_setting: dict[str, dict[str, Found]] = {}
    for setting, each in zip(settings, found, strict=True):
        by_setting.setdefault(setting, {})[each.wanted.row] = each
    known = {name for each in found for name in flatten(each.wanted.config)}
    for name in (name for claim in claims for name in claim.setting):
        if name not in known:
            raise unknown("option for a claim's setting", name, known)
    return [
        _judged(setting, claim, cells[one], cells[other], rows, selection)
        for setting, cells in by_setting.items()
        for claim in claims
        if _is_of(claim, next(iter(cells.values())))
        for one, other in claim.pairs
        if one in cells and other in cells
    ]


def _is_of(claim: Claim, found: Found) -> bool:
    options = flatten(found.wanted.config)
    return all(options.get(name) == value for name, value in claim.setting.items())


def _judged(setting: str, claim: Claim, better: Found, than: Found, rows: Mapping[str, Any], selection: str) -> Judged:
    ours, theirs = (accuracies_of(each, selection) for each in (better, than))
    seeds = sorted(ours.keys() & theirs.keys())
    paired = difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
    diverged = sum(record["status"] == "diverged" for each in (better, than) for record in each.records)
    remarks = [f"{diverged} diverged" if diverged else "", "reduced scale" if min(better.scale, than.scale) < 1 else ""]
    finding = _finding(paired, claim.by, bool(diverged)) if better.records and than.records else "not run"
    one, other = (rows.get(each.wanted.row, {}).get("name", each.wanted.row) for each in (better, than))
    gap = f" by more than {claim.by:g}" if claim.by else ""
    return Judged(setting, f"{one} above {other}{gap}", paired, ", ".join(filter(None, [finding, *remarks])))


def _finding(paired: Difference, gap: float, diverged: bool) -> str:
    if diverged or paired.trials < FEWEST or math.isnan(paired.half_width):
        return "undecided"
    if paired.mean - paired.half_width > gap:
        return "holds"
    return "does not hold" if paired.mean + paired.half_width < gap else "undecided"


def render(judged: Sequence[Judged], form: str) -> str:
    """The table of these claims in one of the formats of `benchmark.analysis.layout`, except CSV."""
    lines = [[each.setting, each.claim, _shown(each.difference), each.finding] for each in judged]
    return page([Table("", ["setting", "claim", "difference", "verdict"], lines)], [_counted(judged), NOTE], "", form, "claims")


def _counted(judged: Sequence[Judged]) -> str:
    """A sentence with the number of claims for each verdict."""
    counts = Counter(each.finding.partition(",")[0] for each in judged)
    return f"Of {len(judged)} claims on order and gaps: {', '.join(f'{counts[name]} {words}' for name, words in FINDINGS.items())}."


def _shown(paired: Difference) -> Cell:
    return Number(paired.mean, paired.half_width, sign="+", after=f" ({paired.wins} of {paired.trials})") if paired.trials else ""
