"""The caption of a table: the meaning and the origin of its numbers, with one sentence for each fact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from benchmark.analysis.cost import COST
from benchmark.analysis.selection import EQUAL_COMPUTE, LAST, SELECTIONS
from benchmark.analysis.statistics import FEWEST
from benchmark.fingerprint import earlier
from benchmark.metrics import Metric
from benchmark.records.store import Record
from robust_benchmark.words import number_of

MANY = 4  # the largest number of revisions that a caption names
DIRTY = "-dirty"
ONE_COLLECTION = "Trials on {names} resample the same images, so intervals for other images are wider."
ASSUMPTIONS = "Assumptions: docs/reading.md."


def described(metric: Metric, trials: Collection[int], records: Sequence[Record], selections: Sequence[str] = (LAST,)) -> list[str]:
    """Sentences on the metric, the interval and the selection of the numbers. trials: the number of trials of each number"""
    measured = metric.caption + (f" in {metric.unit}" if metric.unit else "")
    if metric.name in COST:
        return [f"{measured}.", *where_measured(records)]
    numbers = f"{measured}, mean ± 95 % confidence interval (Student t) over {trials_of(trials)}"
    few = [f"With fewer than {FEWEST} trials, the table shows the values."] if min(trials) < FEWEST else []
    costs = where_measured(records) if EQUAL_COMPUTE in selections else []
    return [*selected(numbers, selections), *costs, *few]


def where_measured(records: Sequence[Record]) -> list[str]:
    """A sentence on the device of the cost measurements, if there are any."""
    where = sorted({record["cost"] for record in records if "cost" in record})
    return [f"Cost was measured on {', '.join(where)}."] if where else []


def limits(records: Sequence[Record]) -> list[str]:
    """Sentences on the assumptions of intervals and tests.

    Trials that split one collection of images without a published test set are not independent; a sentence names their data sets.
    """
    names = {record["config"]["dataset"]["name"] for record in records if "test_size" in record["config"]["dataset"].get("source", {})}
    return [*([ONE_COLLECTION.format(names=" and ".join(sorted(names)))] if names else []), ASSUMPTIONS]


def selected(numbers: str, selections: Sequence[str]) -> list[str]:
    """Sentences on the numbers and on the selected evaluations.

    >>> selected("Test accuracy", ["last"])
    ['Test accuracy, last step.']
    """
    if list(selections) == [LAST]:
        return [f"{numbers}, last step."]
    return [f"{numbers}.", *(f"{name}: {SELECTIONS[name].words}." for name in selections)]


def trials_of(counts: Collection[int]) -> str:
    """The smallest and the largest number of trials in words.

    >>> trials_of([5, 5]), trials_of([3, 1]), trials_of([1])
    ('5 trials', '1 to 3 trials', '1 trial')
    """
    low, high = min(counts), max(counts)
    return f"{low} to {high} trials" if low != high else number_of(high, "trial")


def provenance(records: Sequence[Record]) -> str:
    """Sentences on devices, versions, revisions, and schedules that `scale` shortened."""
    environments, configs = _counted(records, "environment"), _counted(records, "config")
    devices = sorted({environment["device"] for environment, _ in environments})
    torches = sorted({environment.get("versions", {}).get("torch", "?") for environment, _ in environments})
    scales = sorted({config.get("scale", 1) for config, _ in configs})
    sentences = [
        f"On: {', '.join(devices)}.",
        f"Versions differ: torch {', '.join(torches)}." if len(torches) > 1 else "",
        f"Schedules at {', '.join(map(str, scales))} of their steps." if scales != [1] else "",
        *_revisions([(environment.get("revision", "unknown"), count) for environment, count in environments]),
        *earlier(records),
    ]
    return " ".join(filter(None, sentences))


def _counted(records: Sequence[Record], part: str) -> list[tuple[Any, int]]:
    """The distinct objects in this part of the records, each with its number of records. Equal parts are usually one object."""
    parts = {id(record[part]): record[part] for record in records}
    return [(parts[number], count) for number, count in Counter(id(record[part]) for record in records).items()]


def _revisions(counts: Sequence[tuple[str, int]]) -> list[str]:
    trials = sum(count for _, count in counts)
    named = sorted({revision.removesuffix(DIRTY) for revision, _ in counts} - {"unknown"})
    more = f" and {len(named) - MANY} more" if len(named) > MANY else ""
    several = f"From {len(named)} revisions: {', '.join(named[:MANY])}{more}." if len(named) > 1 else ""
    dirty = sum(count for revision, count in counts if revision.endswith(DIRTY))
    unknown = sum(count for revision, count in counts if revision == "unknown")
    return [
        several or "".join(f"From revision {revision}." for revision in named),
        _share(dirty, trials, "a checkout with uncommitted changes"),
        _share(unknown, trials, "an unknown revision"),
    ]


def _share(count: int, trials: int, origin: str) -> str:
    """
    >>> _share(1, 70, "an unknown revision"), _share(0, 70, "an unknown revision")
    ('1 of 70 trials comes from an unknown revision.', '')
    """
    verb, noun = "comes" if count == 1 else "come", "trial" if trials == 1 else "trials"
    return f"{count} of {trials} {noun} {verb} from {origin}." if count else ""
