"""Valid records: every shipped one passes, and a forged one is rejected in one sentence or changes no number of a table."""

from __future__ import annotations

import copy
import json
import os
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark import ROOT, report, run
from benchmark.analysis.tables import render
from benchmark.records.schema import Head
from benchmark.records.store import DamagedRecord, Record, read_all, read_record, record_paths, text_of
from methods.base import Knowledge
from robust_benchmark.errors import UserError
from robust_benchmark.files import NotAFile, read_regular
from tests.conftest import untimed

SHIPPED = ROOT / "results"
WEIGHED = next((SHIPPED / "reference").rglob("meta_weight_net-*/seed-0.json"))  # has every field
CAPTIONS = ("needs", "method", "overrides", "fingerprint", "digests", "environment")  # words beside numbers; nothing else says them


def test_every_shipped_record_passes_as_a_whole_and_in_short() -> None:
    paths = list(record_paths(SHIPPED))
    assert len(paths) > 600
    for path in paths:
        record, short = read_record(path), read_record(path, whole=False)
        assert short == {name: record[name] for name in short}


def test_the_needs_that_a_record_may_have_are_those_of_methods() -> None:
    (allowed,) = typing.get_args(typing.get_type_hints(Head)["needs"])
    assert set(typing.get_args(allowed)) == {name for each in Knowledge for name in each.names()}


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all that a record holds, of long lists the ends."""
    if path:
        yield path
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, (*path, name))
    elif isinstance(node, list):
        for place in sorted({0, len(node) - 1} & set(range(len(node)))):
            yield from leaves(node[place], (*path, place))


def mutations(value: Any) -> list[Any]:
    """Yield other values that replace this one."""
    numbers = [-1, -value, value + 1, value + 0.01, 1e300, 10**30] if isinstance(value, int | float) and not isinstance(value, bool) else []
    others = [None, "x", [], {}, [value], True, *([f"{value}x", ""] if isinstance(value, str) else []), *numbers]
    others += [value[:-1], [*value, *value[-1:]], value[::-1]] if isinstance(value, list) else []
    return [other for other in others if json.dumps(other) != json.dumps(value)]


def changed(record: Record, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Record:
    forged = copy.deepcopy(record)
    node: Any = forged
    for step in path[:-1]:
        node = node[step]
    change(node, path[-1])
    return forged


def forgeries(record: Record) -> Iterator[tuple[str, Record]]:
    """Each meaningful part of a record with another value, or without it."""
    for path in leaves({name: value for name, value in record.items() if name not in (*CAPTIONS, "path")}):
        node: Any = record
        for step in path:
            node = node[step]
        for other in mutations(node):
            yield f"{path} {other!r}", changed(record, path, lambda inner, last, other=other: inner.__setitem__(last, other))
        if len(path) > 1:
            yield f"{path} gone", changed(record, path, lambda inner, last: inner.__delitem__(last))


@pytest.mark.parametrize("whole", [False, True], ids=["short", "whole"])
def test_a_validly_signed_forgery_is_refused_in_a_sentence_or_changes_no_number(whole: bool, tmp_path: Path) -> None:
    original = read_record(WEIGHED)
    expected, place = render([original]), tmp_path / WEIGHED.relative_to(SHIPPED)
    place.parent.mkdir(parents=True)
    passed, sentences = 0, []
    for name, forged in forgeries(original):
        place.write_text(text_of(forged))
        try:
            read = read_record(place, whole)
        except UserError as error:
            sentences.append(str(error))
        else:
            passed += 1
            assert render([read]) == expected, name
    assert passed > 0
    assert len(sentences) > 500
    assert all(each.startswith(f"record {place} ") and len(each.splitlines()) == 1 for each in sentences)


INCONSISTENT: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "final accuracy": (("metrics", "test_accuracy"), 0.5, "has test_accuracy 0.5, but its last evaluation has"),
    "share above one": (("metrics", "ece"), 1.5, r"<= 1\.0"),
    "huge": (("metrics", "nll"), 10**400, "cannot be read"),
    "metrics of a diverged trial": (("status",), "diverged", "diverged but also has metrics"),
    "column": (("history", "ece"), [], "ece"),
    "steps": (("history", "step", -1), 1501, "a history of 1501 steps, but a timing of 1500"),
    "confusion": (("per_class", "confusion_matrix", 0, 0), 59, "a confusion matrix of 501 images, but a test set of 500"),
    "classes": (("data", "classes", -1), 1.5, "Expected `int | str`"),
    "labels": (("data", "train_labels_per_class", 0), 111, "train_labels_per_class that are not"),
    "wrong labels": (("data", "wrong_labels", "clean"), 51, "has 51 wrong labels in a clean set of 50"),
    "edges": (("weight_histograms", "edges", 1), 0.0, "edges do not increase"),
    "configuration": (("config", "split", "clean_per_class"), 6, "has key"),
    "negative seed": (("seed",), -1, ">= 0"),
}


@pytest.mark.parametrize("case", INCONSISTENT)
def test_what_does_not_agree_is_named(case: str, tmp_path: Path) -> None:
    path, value, sentence = INCONSISTENT[case]
    place = tmp_path / WEIGHED.relative_to(SHIPPED)
    place.parent.mkdir(parents=True)
    place.write_text(text_of(changed(read_record(WEIGHED), path, lambda inner, last: inner.__setitem__(last, value))))
    with pytest.raises(DamagedRecord, match=sentence):
        read_record(place)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe{}", "{}".encode("utf-16"), b"\0" * 100, b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}"]
)
def test_a_file_that_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "seed-0.json").write_bytes(content)
    with pytest.raises(DamagedRecord, match=r"seed-0\.json cannot be read"):
        read_record(tmp_path / "seed-0.json")


def link_to_itself(place: Path) -> None:
    place.symlink_to(place)


IRREGULAR: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "a named pipe"),
    "directory": (Path.mkdir, "a directory"),
    "link to a device": (lambda place: place.symlink_to("/dev/zero"), "a symbolic link"),
    "link to nothing": (lambda place: place.symlink_to("nowhere"), "a symbolic link"),
    "link to itself": (link_to_itself, "a symbolic link"),
}


@pytest.mark.parametrize("kind", IRREGULAR)
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    make, words = IRREGULAR[kind]
    make(tmp_path / "file")
    with pytest.raises(NotAFile, match=words):
        read_regular(tmp_path / "file")


def test_devices_and_missing_files_are_refused_and_long_files_are_read_whole(tmp_path: Path) -> None:
    with pytest.raises(NotAFile, match="/dev/zero is a device"):
        read_regular("/dev/zero")
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")
    for size in (0, 1, 2**16 - 1, 2**16, 2**16 + 1, 300_000):
        (tmp_path / "file").write_bytes(os.urandom(size))
        assert read_regular(tmp_path / "file") == (tmp_path / "file").read_bytes()


def grid(root: Path, *overrides: str) -> list[str]:
    return ["method=baseline", "trials=2", "trainer.steps=2", f"results_dir={root}/results", f"checkpoint_dir={root}/kept", *overrides]


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("what", ["record", "checkpoint", "claim"])
def test_a_run_rejects_a_path_that_is_not_a_file_in_one_sentence_and_trains_nothing_over_it(
    what: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(grid(tmp_path)) == 0
    record = next((tmp_path / "results").rglob("seed-0.json"))
    checkpoint = tmp_path / "kept" / record.parent.name.rpartition("-")[2] / "seed-0.pt"
    record.unlink()
    place = {"record": record, "checkpoint": checkpoint, "claim": record.with_suffix(".claim")}[what]
    place.parent.mkdir(parents=True, exist_ok=True)
    IRREGULAR[kind][0](place)
    capsys.readouterr()
    assert run.main(grid(tmp_path)) == 2
    printed = capsys.readouterr().err
    assert f"{place} is {IRREGULAR[kind][1]}" in printed
    assert "Traceback" not in printed
    assert os.path.lexists(place)


def test_a_damaged_record_stops_a_run_and_rerun_stale_sets_it_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(grid(tmp_path)) == 0
    before = untimed(tmp_path)
    record = next((tmp_path / "results").rglob("seed-0.json"))
    record.write_bytes(record.with_name("seed-1.json").read_bytes())  # another trial's
    capsys.readouterr()
    assert run.main(grid(tmp_path)) == 2
    assert "seed 1, not to this path; move it away, or give `rerun=stale`" in capsys.readouterr().err
    assert report.main([str(tmp_path / "results")]) == 1
    assert "over 1 trial, last step" in capsys.readouterr().out
    assert run.main(grid(tmp_path, "rerun=stale")) == 0
    assert untimed(tmp_path) == before
    assert record.with_name("seed-0.stale").read_bytes() == record.with_name("seed-1.json").read_bytes()
    assert read_all(tmp_path / "results")[1] == []
