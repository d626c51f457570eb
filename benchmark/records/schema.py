"""The schema of a record: its fields, their types and ranges, and the rules that relate them. Nothing here imports torch."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict, cast

import msgspec
from msgspec import Meta

from benchmark.metrics import MATRIX_CLASSES, METRICS, Metric

SCHEMA = 2
SLACK = 1e-4  # tolerance of a share, which may be a sum of 32-bit numbers

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1 + SLACK)]
Counts = list[Count]


class Named(TypedDict):
    """The options of a choice."""

    name: str


class Steps(Named):
    """The options of the trainer."""

    steps: Positive


class Config(TypedDict):
    """All options that determine the numbers."""

    method: Named
    dataset: Named
    noise: Named
    model: Named
    trainer: Steps
    split: dict[str, Any]


class Environment(TypedDict):
    """The origin of the numbers, as far as captions show it."""

    device: str
    versions: dict[str, str]
    revision: str


class PerClass(TypedDict, total=False):
    """Entries for each class, None if the class has none; the matrix covers the test set, rows are the true class.

    With more than MATRIX_CLASSES classes, there is no matrix.
    """

    accuracy: list[Share | None]
    confusion_matrix: list[Counts]
    weights_precision: list[Share | None]


class Kinds(TypedDict):
    """Counts of examples with right and wrong labels, by the bins of a histogram."""

    right: Counts
    wrong: Counts


class Histograms(TypedDict, total=False):
    """Histograms of the example weights (benchmark.training.detection); empty for methods without weights."""

    edges: list[float]
    mixed: Kinds
    one_class: Kinds


class Sizes(TypedDict):
    """Numbers of images."""

    train: Count
    clean: Count
    hyper_validation: Count
    test: Positive


class Data(TypedDict):
    """The data of the trial; counts of wrong labels are None if unknown. Rows of matrices are true classes, columns given labels.

    Counts by true label exclude images of another data set, which `replaced_images_per_given_label` counts if there are any.
    """

    classes: Annotated[list[str | int], Meta(min_length=1)]
    image_shape: NotRequired[list[Positive]]
    sizes: Sizes
    wrong_labels: dict[str, Count | None]
    noise_rate: Share | None
    train_labels_per_class: Counts
    train_true_labels_per_class: NotRequired[Counts]
    wrong_labels_per_true_class: NotRequired[Counts]
    given_labels_per_true_class: NotRequired[list[Counts]]
    replaced_images_per_given_label: NotRequired[Counts]
    transition_matrix: NotRequired[list[list[Share]]]


class Timing(TypedDict):
    """Steps of all phases, and seconds."""

    steps: Positive
    train_seconds: Amount
    evaluation_seconds: Amount
    finished: str


def _range(metric: Metric) -> Any:
    most = sys.float_info.max  # bounds must be finite
    return Annotated[float, Meta(ge=max(metric.low, -most), le=min(metric.high + SLACK, most))]


RANGES = {name: _range(metric) for name, metric in METRICS.items()}
COLUMNS = {name: list[each | None] for name, each in RANGES.items()}  # type: ignore[valid-type]

Metrics = TypedDict("Metrics", RANGES, total=False)  # type: ignore[misc]
History = TypedDict("History", {"phase": Required[list[str]], "step": Required[list[Positive]], **COLUMNS}, total=False)  # type: ignore[misc]


class Head(msgspec.Struct):
    """The fields of a record that every reader needs.

    key: digest of `config`, which contains the names and values of all options that determine the numbers
    method: the name of the method's configuration
    needs: information that the method may use in addition to noisy labels
    fingerprint: digests of the code that produced the numbers (benchmark.fingerprint)
    digests: digests of the data: its `source`, and the images and given labels `drawn` from it for this trial
    metrics: metrics of the last evaluation, by the names of benchmark.metrics; a diverged trial has none
    """

    schema: int
    key: str
    seed: Count
    status: Literal["done", "diverged"]
    method: Annotated[str, Meta(min_length=1)]
    needs: list[Literal["clean_set", "noise_rate", "transition_matrix", "true_labels"]]
    config: msgspec.Raw
    fingerprint: msgspec.Raw
    digests: msgspec.Raw
    metrics: Metrics
    environment: msgspec.Raw


class Whole(Head):
    """A record.

    overrides: overrides of the command line that compose this configuration; empty if unknown
    history: columns of all evaluations (benchmark.records.history), None if an evaluation lacks a metric
    """

    overrides: list[str]
    per_class: PerClass
    history: History
    weight_histograms: Histograms
    data: Data
    timing: Timing


FIELDS = Whole.__struct_fields__
SHORT = Head.__struct_fields__
check_configuration = msgspec.json.Decoder(Config).decode
RAW = {  # equal in many trials, so parsed once; and the checks of each
    "fingerprint": msgspec.json.Decoder(dict[str, str]).decode,
    "digests": msgspec.json.Decoder(dict[str, str]).decode,
    "environment": msgspec.json.Decoder(Environment).decode,
}


def with_metrics(names: Iterable[str]) -> type[Head]:
    """Return the type of a record's head with only these metrics, and their history, if present."""
    metrics = TypedDict("metrics", {name: RANGES[name] for name in names}, total=False)  # type: ignore[misc]
    history = TypedDict("history", {name: COLUMNS[name] for name in names}, total=False)  # type: ignore[misc]
    return cast(type[Head], msgspec.defstruct("Short", [("metrics", metrics), ("history", history)], bases=(Head,)))


def disagreement(record: Any) -> str:
    """Return the first inconsistency in the fields that were read, '' if there is none. It follows the path in a sentence."""
    if not isinstance(record, Whole):
        return _ends(record)
    parts = _history(record), _data(record.data), _per_class(record), _histograms(record.weight_histograms)
    return _ends(record) or next(itertools.chain(*parts), "")


def _ends(record: Any) -> str:
    """Return whether its metrics are those of its last evaluation."""
    if record.status == "diverged":
        return "has the status diverged but also has metrics" if record.metrics else ""
    metrics, history = record.metrics, record.history
    for name, column in history.items():
        if name in RANGES and metrics.get(name) != (column[-1] if column else None):
            return f"has {name} {metrics.get(name)}, but its last evaluation has {column[-1] if column else None}"
    return "" if metrics.keys() <= history.keys() else f"has a history without {min(metrics.keys() - history.keys())}"


def _history(record: Any) -> Iterator[str]:
    lengths = {len(column) for column in record.history.values()}
    if len(lengths) != 1 or 0 in lengths:
        yield f"has a history whose columns have {' and '.join(map(str, sorted(lengths)))} entries"
        return
    rows = [*zip(record.history["phase"], record.history["step"], strict=True), ("", 0)]
    steps = sum(step for (phase, step), after in itertools.pairwise(rows) if after[0] != phase or after[1] <= step)
    if steps > record.timing["steps"]:  # fewer may be correct: two consecutive phases may have one name
        yield f"has a history of {steps} steps, but a timing of {record.timing['steps']}"
    if record.status == "done" and "test_accuracy" not in record.metrics:
        yield "is done but has no test_accuracy"


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    wrong, replaced = data["wrong_labels"], data.get("replaced_images_per_given_label", [])
    totals = {
        "train_labels_per_class": data["sizes"]["train"],
        "train_true_labels_per_class": data["sizes"]["train"] - sum(replaced),
        "wrong_labels_per_true_class": None if wrong.get("train") is None else wrong["train"] - sum(replaced),
        "replaced_images_per_given_label": sum(replaced),
    }
    for name, total in totals.items():
        if name in data and (len(data[name]), sum(data[name])) != (len(data["classes"]), total):
            yield f"has {name} that are not {total} in {len(data['classes'])} classes"
    yield from _matrices(data)
    for name, count in wrong.items():
        if (count or 0) > data["sizes"].get(name, 0):
            yield f"has {count} wrong labels in a {name} set of {data['sizes'].get(name, 0)}"


def _matrices(data: Mapping[str, Any]) -> Iterator[str]:
    counts, T, classes = data.get("given_labels_per_true_class"), data.get("transition_matrix"), len(data["classes"])
    for name, matrix in (("given_labels_per_true_class", counts), ("transition_matrix", T)):
        if matrix is not None and {len(each) for each in (matrix, *matrix)} != {classes}:
            yield f"has a {name} that is not of {classes} x {classes} classes"
            return
    replaced = data.get("replaced_images_per_given_label") or [0] * classes
    if counts and [sum(column) for column in zip(*counts, replaced, strict=True)] != data["train_labels_per_class"]:
        yield "has given_labels_per_true_class that differ from train_labels_per_class"
    if counts and [*map(sum, counts)] != data.get("train_true_labels_per_class"):
        yield "has given_labels_per_true_class that differ from train_true_labels_per_class"
    if T and any(not math.isclose(sum(row), 1, abs_tol=SLACK) for row in T):
        yield "has a transition_matrix whose rows do not sum to 1"


def _per_class(record: Any) -> Iterator[str]:
    classes, found = len(record.data["classes"]), record.per_class
    matrix = found.get("confusion_matrix", [])
    if any(len(each) != classes for each in (*found.values(), *matrix)):
        yield f"has a per-class field whose length is not {classes}"
    elif matrix:
        images, right = sum(map(sum, matrix)), [row[label] for label, row in enumerate(matrix)]
        shares = [_share(count, sum(row)) for count, row in zip(right, matrix, strict=True)]
        if images != record.data["sizes"]["test"]:
            yield f"has a confusion matrix of {images} images, but a test set of {record.data['sizes']['test']}"
        if not _equal([_share(sum(right), images)], [record.metrics.get("test_accuracy")]) or not _equal(shares, found.get("accuracy", [])):
            yield "has accuracies that differ from those of its confusion matrix"
    elif record.status == "done" and classes <= MATRIX_CLASSES:
        yield "is done but has no confusion matrix"
    elif record.status == "done" and "accuracy" not in found:
        yield "is done but has no accuracy of each class"


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _equal(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Return whether they are equal except for rounding."""
    pairs = itertools.zip_longest(one, other)
    return all(a == b or (a is not None and b is not None and math.isclose(a, b, abs_tol=1e-9)) for a, b in pairs)


def _histograms(found: Mapping[str, Any]) -> Iterator[str]:
    edges = found.get("edges", [])
    counts = [each for name in ("mixed", "one_class") for each in found.get(name, {}).values()]
    if len(found) not in (0, 3) or any(len(each) != len(edges) for each in counts):
        yield "has weight_histograms without some of their counts or bins"
    if any(low >= high for low, high in itertools.pairwise(edges)):
        yield "has weight_histograms whose edges do not increase"
