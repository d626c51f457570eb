"""The data of the page as columns: cells, the values of their trials, curves, and the origin of each number.

The script computes means, intervals and tests from the values of the trials. tests/test_page_browser.py compares its numbers with those of
benchmark.analysis.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from scipy.special import stdtrit  # importing scipy.stats takes half a second

from benchmark.analysis.captions import DIRTY
from benchmark.analysis.cost import COST
from benchmark.analysis.rows import absent, by_cell, least_first, sees
from benchmark.analysis.selection import LAST, SELECTIONS, value
from benchmark.analysis.settings import flatten, in_order, setting_options, words_of
from benchmark.analysis.statistics import FEWEST, estimate
from benchmark.analysis.style import label, method_looks
from benchmark.analysis.words import option_words, setting_words, value_words
from benchmark.fingerprint import UNKNOWN, earlier
from benchmark.fingerprint import of as fingerprint_of
from benchmark.metrics import METRICS, Metric
from benchmark.page.again import method_overrides, setting_overrides
from benchmark.records.history import over_phases
from benchmark.records.store import Record, canonical
from robust_benchmark.errors import UserError

METRICS_SHOWN = (  # the default metrics
    "test_accuracy",
    "balanced_accuracy",
    "worst_class_accuracy",
    "ece",
    "wrong_labels_memorised",
    "weights_auroc",
)
SELECTIONS_SHOWN = (LAST, "noisy_validation", "oracle")
MOST_TRIALS = 10_000  # pages with more trials have only the first default metric, to stay below 1.2 MB
MOST_CURVES = 2_000  # pages with more cells have no curves
DIGITS = 4  # decimals of a percentage, more than the resolution of 10,000 test images
SIGNIFICANT = 6  # digits of other values


class Collected(NamedTuple):
    """columns: for the script; cells, left_out: for the part of the page without a script, with sentences on omitted data"""

    columns: dict[str, Any]
    cells: list[list[Record]]
    left_out: list[str]


class _Distinct:
    """Distinct values with their indices, in the order of their first occurrence."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        return self.places.setdefault(value, len(self.places))


def collect(records: Sequence[Record], metrics: Sequence[str], selections: Sequence[str]) -> Collected:
    """The data of complete records. metrics, selections: names; if empty, METRICS_SHOWN and SELECTIONS_SHOWN that the records support

    Raises UserError for a metric that no record has.
    """
    cells = _cells(records)
    measured, left_out = _metrics(records, metrics)
    chosen = [name for name in selections or SELECTIONS_SHOWN if selections or _can_choose(name, records)]
    trials = [trial for cell in cells for trial in cell]
    firsts = [cell[0] for cell in cells]
    with_curves = len(cells) <= MOST_CURVES
    if not with_curves:
        left_out.append(f"The page has no curves, because it has more than {MOST_CURVES:,} cells; --figure draws them.")
    methods, settings = _methods(firsts, method_looks(records)), _settings(firsts)
    columns = {
        "metrics": [_about_metric(metric) for metric in measured],
        "selections": [{"name": name, "words": SELECTIONS[name].words, "sees": SELECTIONS[name].sees} for name in chosen],
        "fewest": FEWEST,
        "t": [0, 0, *(float(stdtrit(degrees, 0.975)) for degrees in range(1, max(map(len, cells))))],
        **methods,
        **settings,
        "overrides": _kept(firsts, methods, settings),
        "keys": [first["key"] for first in firsts],
        "counts": [len(cell) for cell in cells],
        "seeds": [trial["seed"] for trial in trials],
        "diverged": [place for place, trial in enumerate(trials) if trial["status"] == "diverged"],
        "values": {metric.name: {name: _values(cells, metric, name) for name in chosen} for metric in measured},
        "curves": {metric.name: _curves(cells, metric) for metric in measured if with_curves and metric.name not in COST},
        **_origins(cells),
    }
    return Collected(columns, cells, left_out)


def _cells(records: Sequence[Record]) -> list[list[Record]]:
    """The trials of each cell, sorted by seed. Cells are sorted by the words of their settings."""
    cells = [sorted(cell, key=lambda record: record["seed"]) for cell in by_cell(records)]
    words = words_of([cell[0]["config"] for cell in cells])
    places = {setting: place for place, setting in enumerate(in_order(words))}
    return [cell for _, cell in sorted(zip(words, cells, strict=True), key=lambda each: places[each[0]])]


def _metrics(records: Sequence[Record], names: Sequence[str]) -> tuple[list[Metric], list[str]]:
    """The metrics of the page, and sentences on omitted metrics."""
    has = {name for record in records for name in record["metrics"]}
    for name in names:
        if METRICS[name].kept not in has and any(record["status"] == "done" for record in records):
            raise absent(METRICS[name])
    found = [METRICS[name] for name in names or METRICS_SHOWN if names or METRICS[name].kept in has] or [METRICS[METRICS_SHOWN[0]]]
    if names or len(records) <= MOST_TRIALS or len(found) == 1:
        return found, []
    others = ", ".join(metric.name for metric in found[1:])
    return found[:1], [f"With more than {MOST_TRIALS:,} trials, the page shows only {found[0].name}; --y adds others ({others})."]


def _can_choose(selection: str, records: Iterable[Record]) -> bool:
    by = SELECTIONS[selection].by
    return not by or any(by in record["history"] for record in records if record["status"] == "done")


def _about_metric(metric: Metric) -> dict[str, Any]:
    about = {"name": metric.name, "label": metric.label, "unit": metric.unit, "larger": metric.larger_is_better, "absent": metric.absent}
    return about | {"cost": metric.name in COST}


def _methods(firsts: Sequence[Record], looks: Mapping[str, Any]) -> dict[str, Any]:
    """`methods`: the distinct methods; `method`: the index of the method of each cell."""
    found = _Distinct()
    method: list[int] = []
    examples: dict[int, Record] = {}
    for first in firsts:
        place = found.place((first["method"], canonical(first["config"]["method"]), *first["needs"]))
        examples.setdefault(place, first)
        method.append(place)
    return {"methods": [_about_method(first, looks) for first in examples.values()], "method": method}


def _about_method(first: Record, looks: Mapping[str, Any]) -> dict[str, Any]:
    look = looks[label(first)]
    about = {"name": first["method"], "sees": sees(first), "look": [look.colour, look.marker, list(look.dash)]}
    options = {f"method.{name}": _plain(each) for name, each in flatten(first["config"]["method"]).items()}
    return about | {"options": options} | _command(partial(method_overrides, first["config"]["method"]))


def _settings(firsts: Sequence[Record]) -> dict[str, Any]:
    """`settings`: the distinct settings; `setting`: the index for each cell; `options`: by setting; `facets`: the options that differ."""
    found = _Distinct()
    words = setting_words(firsts)
    setting = [found.place(each) for each in words_of([first["config"] for first in firsts])]
    examples = [setting.index(place) for place in range(len(found.places))]
    configs = [firsts[example]["config"] for example in examples]
    leaves = [flatten({part: each for part, each in config.items() if part != "method"}) for config in configs]
    options = list(dict.fromkeys(option for each in leaves for option in each))
    return {
        "settings": [
            {"words": words[example]} | _command(partial(setting_overrides, config))
            for example, config in zip(examples, configs, strict=True)
        ],
        "setting": setting,
        "options": {option: _column([_plain(each[option]) if option in each else None for each in leaves]) for option in options},
        "facets": _facets(configs),
    }


def _column(values: list[str | None]) -> list[str | None]:
    """The values of an option; a single value if all are equal."""
    return values[:1] if len(set(values)) == 1 else values


def _facets(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each option that differs, with its sorted values in words, and the index of its value for each setting (-1 for none)."""
    apart = setting_options(configs)
    facets = []
    for option in apart[0] if apart else ():
        column = [each[option] for each in apart]
        values = sorted({canonical(each): each for each in column if each is not None}.values(), key=_rank)
        if len(values) > 1 or (values and None in column):
            places = {canonical(each): place for place, each in enumerate(values)}
            of = [-1 if each is None else places[canonical(each)] for each in column]
            facets.append({"words": option_words(option), "values": [value_words(option, each) for each in values], "of": of})
    return facets


def _rank(value: Any) -> tuple[int, float, str]:
    """Sort key: numbers first, by size."""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _command(overrides: Callable[[], list[str]]) -> dict[str, Any]:
    """`command`: the overrides, or `refused`: the error of this installation."""
    try:
        return {"command": overrides()}
    except UserError as error:
        return {"refused": str(error)}


def _kept(firsts: Sequence[Record], methods: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """The stored overrides of cells that this installation cannot compose, by the index of the cell."""
    refused = [
        "refused" in methods["methods"][method] or "refused" in settings["settings"][setting]
        for method, setting in zip(methods["method"], settings["setting"], strict=True)
    ]
    return {str(place): shlex.join(first["overrides"]) for place, first in enumerate(firsts) if refused[place] and first["overrides"]}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)


def _values(cells: Sequence[Sequence[Record]], metric: Metric, selection: str) -> list[float | None]:
    """The value of each trial, cell by cell; None if there is none. The cost of a method has one measurement for each cell."""
    found = [[_rounded(value(trial, metric, selection), metric) for trial in cell] for cell in cells]
    if metric.name in COST:
        return [next((each for each in of_cell if each is not None), None) for of_cell in found]
    return [each for of_cell in found for each in of_cell]


def _rounded(number: float, metric: Metric) -> float | None:
    if math.isnan(number):
        return None
    rounded = round(number, DIGITS) if metric.unit == "%" else float(f"{number:.{SIGNIFICANT}g}")
    return int(rounded) if rounded.is_integer() else rounded


def _curves(cells: Sequence[Sequence[Record]], metric: Metric) -> list[Any]:
    """For each cell its steps, means and half-widths along training (None for no band); None if it has no curve."""
    return [_curve(cell, metric) for cell in cells]


def _curve(cell: Sequence[Record], metric: Metric) -> list[Any] | None:
    """Diverged trials do not count: a mean over trials that end early would jump at their ends."""
    points: dict[int, list[float]] = {}
    for trial in (trial for trial in cell if trial["status"] == "done"):
        for step, evaluation in over_phases(trial["history"]):
            if metric.kept in evaluation:
                points.setdefault(step, []).append(metric.of(evaluation))
    steps = sorted(points)
    found = [estimate(points[step]) for step in steps]
    means, halves = [each.mean for each in found], [each.half_width for each in found]
    return [steps, *([_drawn(number, metric) for number in column] for column in (means, halves))] if steps else None


def _drawn(number: float, metric: Metric) -> float | None:
    """The number with four digits, which is enough for a picture."""
    return _rounded(float(f"{number:.4g}"), metric)


def _origins(cells: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """`origins`, `codes`: sentences on the origin of numbers and on the state of their code; `origin`, `code`: indices for each cell."""
    origins, codes = _Distinct(), _Distinct()
    return {
        "origin": [origins.place(_origin(cell)) for cell in cells],
        "origins": list(origins.places),
        "code": [codes.place(_code(cell)) for cell in cells],
        "codes": list(codes.places),
    }


def _origin(cell: Sequence[Record]) -> str:
    """Revisions, devices and versions of the trials."""
    environments = [trial["environment"] for trial in cell]
    revisions = sorted({each["revision"].replace(DIRTY, " with uncommitted changes") for each in environments})
    devices = sorted({each["device"] for each in environments})
    versions = sorted({f"torch {each['versions'].get('torch', 'unknown')}" for each in environments})
    noun = "Revision" if len(revisions) == 1 else "Revisions"
    return f"{noun} {', '.join(revisions)}; {', '.join(devices)}; {', '.join(versions)}."


def _code(cell: Sequence[Record]) -> str:
    """Sentences on whether the trials come from today's code."""
    unknown = [part for part, digest in fingerprint_of(cell[0]["config"]).items() if digest == UNKNOWN]
    sentences = earlier(cell) or ([] if unknown else ["All trials come from today's code."])
    if unknown:
        sentences.append(f"This installation lacks the code of its {', '.join(unknown)}, so a comparison is not possible.")
    return " ".join(sentences)


def knowledge(cells: Sequence[Sequence[Record]]) -> dict[str, list[str]]:
    """The methods by what they see, least first."""
    groups: dict[str, dict[str, None]] = {}
    for cell in cells:
        groups.setdefault(sees(cell[0]), {})[cell[0]["method"]] = None
    return {seen: sorted(groups[seen]) for seen in sorted(groups, key=least_first)}
