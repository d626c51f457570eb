"""Records are read unchanged after writing, also with concurrent writers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark import ROOT
from benchmark.records.store import Record, Store, canonical, digest, read_all, read_record, record_paths, text_of
from robust_benchmark.errors import UserError
from tests.records import CONFIG, config_of, entry, record_of


def record(seed: int = 0, **options: Any) -> Record:
    """A record of few lines, whose configuration differs from CONFIG in `options` (see config_of)."""
    history = [{"phase": "main", "step": 5, "train_loss": 0.1 + 0.2}, {"phase": "main", "step": 6, "test_accuracy": 0.25}]
    made = record_of(config_of(**options), seed, history, overrides=["method=reed"])
    return made | {"data": made["data"] | {"classes": ["ä", "\u2028"]}}


def place(root: Path, seed: int = 0) -> Path:
    """Return the path of `record(seed)`."""
    return Store(root).path(CONFIG, record()["key"], seed)


def read_back(path: Path, whole: bool = True) -> Record:
    """The record there, without its path."""
    found = read_record(path, whole)
    assert found.pop("path") == str(path)
    return found


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    assert read_back(path) == record()
    again = read_record(path)
    Store(tmp_path / "copy").write(again)
    assert read_back(place(tmp_path / "copy")) == record()


def test_a_record_lies_under_dataset_noise_method_key_and_seed(tmp_path: Path) -> None:
    assert Store(tmp_path).write(record(seed=3)) == tmp_path / "digits" / "bgflip" / f"reed-{digest(CONFIG, 12)}" / "seed-3.json"
    assert place(tmp_path, 3).is_file()


def test_a_name_with_slashes_stays_one_folder_under_the_root(tmp_path: Path) -> None:
    config = CONFIG | {"dataset": {"name": "../../my data/set"}}
    path = Store(tmp_path).path(config, "abc123", 0)
    assert len(path.relative_to(tmp_path).parts) == 4
    assert path.resolve().is_relative_to(tmp_path.resolve())


def test_a_record_is_readable_json_with_a_line_for_each_field(tmp_path: Path) -> None:
    text = Store(tmp_path).write(record()).read_text()
    assert {name: value for name, value in json.loads(text).items() if name != "checksum"} == record()
    assert len(text.splitlines()) == len(record()) + 3  # with the checksum, between braces


def test_equal_configurations_have_equal_digests_for_any_order_of_their_keys() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest({"a": 1}, 12)) == 12
    assert json.loads(canonical({"a": [1, None]})) == {"a": [1, None]}


EDITS = {
    "schema": ('"seed": 0', '"seed": 1'),
    "status": ('"done"', '"diverged"'),
    "accuracy": ("0.25", "0.26"),
    "last digit": ("0.30000000000000004", "0.3"),
    "needs": ('"needs": []', '"needs": ["clean_set"]'),
    "rate": ('"rate": 0.4', '"rate": 0.2'),
    "seconds": ("1.5", "1.25"),
    "device": ("a CPU", "a GPU"),
    "more": ('"test_accuracy"', '"best": 1, "test_accuracy"'),
    "nan": ("0.25", "NaN"),
    "infinity": ("0.25", "Infinity"),
    "null": ("0.25", "null"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("whole", [False, True], ids=["short", "whole"])
def test_any_hand_edit_is_caught_also_where_it_is_not_read(edit: str, whole: bool, tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    assert read_record(path, whole)["seed"] == 0
    before, after = EDITS[edit]
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(UserError, match=r"seed-0\.json"):
        read_record(path, whole)


def test_a_line_break_more_or_less_is_an_edit(tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    text = path.read_text()
    for before, after in ((', "train_loss"', ',\n"train_loss"'), (',\n"data"', ', "data"'), ("\n}\n", "\n}\n\n")):
        assert before in text
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(UserError, match="checksum"):
            read_record(path, whole=False)


def test_a_short_record_is_the_whole_one_without_what_no_table_needs(tmp_path: Path) -> None:
    long = ("overrides", "per_class", "history", "weight_histograms", "data", "timing")
    expected = {field: value for field, value in record().items() if field not in long}
    assert read_back(Store(tmp_path).write(record()), whole=False) == expected


def test_only_the_metrics_asked_for_are_kept(tmp_path: Path) -> None:
    path = Store(tmp_path).write(record_of(CONFIG, history=[entry(5, 0.25, ece=0.5, nll=2.0)]))
    assert read_record(path)["metrics"] == {"train_loss": 1.0, "test_accuracy": 0.25, "ece": 0.5, "nll": 2.0}
    assert read_record(path, whole=False)["metrics"] == read_record(path)["metrics"]
    assert read_record(path, False, ("ece", "brier"))["metrics"] == {"ece": 0.5}
    assert read_record(path, False, ())["metrics"] == {}


def test_equal_parts_of_records_are_one_object(tmp_path: Path) -> None:
    first, second = (read_record(Store(tmp_path).write(record(seed))) for seed in (0, 1))
    assert first["config"] is second["config"]
    other = record(noise__rate=0.2)
    third = read_record(Store(tmp_path).write(other))
    assert third["config"] == other["config"] != first["config"]
    assert third["config"]["method"] is first["config"]["method"]


def test_a_record_longer_than_what_is_read_at_once_is_read_whole(tmp_path: Path) -> None:
    long = record() | {"overrides": ["x" * 200_000]}
    path = Store(tmp_path).write(long)
    assert read_back(path) == long
    assert read_back(path, whole=False)["metrics"] == long["metrics"]


def test_the_record_of_one_trial_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    for other in (path.with_name("seed-1.json"), tmp_path / "reed-def456" / "seed-0.json"):
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(path.read_bytes())
        with pytest.raises(UserError, match=f"belongs to key {digest(CONFIG, 12)} and seed 0, not to this path"):
            read_record(other)


WRONG = [("seed", "0"), ("needs", "clean_set"), ("metrics", {"test_accuracy": "high"}), ("history", [1]), ("config", 3), ("status", "half")]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_field_of_another_type_is_refused_though_the_checksum_is_right(field: str, value: object, tmp_path: Path) -> None:
    path = place(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(text_of(record() | {field: value}))
    with pytest.raises(UserError, match=r"seed-0\.json cannot be read .*(Expected|Invalid)"):
        read_record(path)


def test_a_record_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    path.write_text(path.read_text().replace('"needs": []', '"needs": ' + "[" * 100_000 + "]" * 100_000))
    with pytest.raises(UserError, match="cannot be read"):
        read_record(path)


@pytest.mark.parametrize("field", [*record(), "checksum"])
def test_a_missing_field_is_caught(field: str, tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    whole = json.loads(path.read_text())
    del whole[field]
    path.write_text(json.dumps(whole))
    with pytest.raises(UserError, match=r"seed-0\.json"):
        read_record(path)


def test_a_truncated_record_is_reported_with_what_to_do(tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    content = path.read_bytes()
    for length in (0, 1, 2, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="move it away, or give `rerun=stale`, to run that trial again") as message:
            read_record(path)
        assert str(path) in str(message.value)


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null", "{}", '{"schema": 2}'])
def test_what_is_no_record_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "seed-0.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"seed-0\.json cannot be read"):
        read_record(path)


@pytest.mark.parametrize("schema", [1, 99])
def test_a_record_of_another_schema_is_named_as_such(schema: int, tmp_path: Path) -> None:
    path = tmp_path / "seed-0.json"
    path.write_text(json.dumps({"schema": schema, "key": "x", "config": {}}))
    with pytest.raises(UserError, match=f"has schema {schema}, but this version reads schema 2"):
        read_record(path)


def test_numbers_that_are_no_json_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).write(record() | {"metrics": {"test_accuracy": float("nan")}})
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_the_first_record_of_a_trial_stays(tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    Store(tmp_path).write(record() | {"status": "diverged"})
    assert read_record(path)["status"] == "done"
    assert [file.name for file in path.parent.iterdir()] == ["seed-0.json"]


WRITER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmark.records.store import Store
root, number = Path(sys.argv[2]), int(sys.argv[3])
record = json.loads((root / "record").read_text())
(root / f"ready-{number}").touch()
while not (root / "go").exists():
    pass
for seed in range(40):
    Store(root / "results").write(record | {"seed": seed, "method": str(number), "overrides": [str(number)] * 3000})
"""


def test_of_many_processes_writing_the_same_records_each_time_one_wins_whole(tmp_path: Path) -> None:
    (tmp_path / "record").write_text(json.dumps(record()))
    arguments = [sys.executable, "-c", WRITER, str(ROOT), str(tmp_path)]
    writers = [subprocess.Popen([*arguments, str(number)]) for number in range(6)]
    while len(list(tmp_path.glob("ready-*"))) < len(writers):
        assert all(writer.poll() is None for writer in writers)
    (tmp_path / "go").touch()
    seen: dict[Path, Record] = {}
    while any(writer.poll() is None for writer in writers):
        for path in tmp_path.rglob("seed-*.json"):
            assert read_record(path) == seen.setdefault(path, read_record(path))  # whole as soon as it is there, and unchanged afterwards
    assert [writer.returncode for writer in writers] == [0] * len(writers)
    records, errors = read_all(tmp_path / "results")
    assert not errors
    assert sorted(each["seed"] for each in records) == list(range(40))
    assert all(each["overrides"] == [each["method"]] * 3000 for each in records)
    assert not list(tmp_path.rglob("*.part"))


def test_unreadable_records_do_not_hide_the_others(tmp_path: Path) -> None:
    for seed in range(4):
        Store(tmp_path).write(record(seed))
    for seed, content in ((1, "{"), (2, '{"schema": 2}')):
        place(tmp_path, seed).write_text(content)
    records, errors = read_all(tmp_path)
    assert [each["seed"] for each in records] == [0, 3]
    assert [re.findall(r"seed-\d", str(error)) for error in errors] == [["seed-1"], ["seed-2"]]


def test_a_trial_that_lies_there_twice_counts_once(tmp_path: Path) -> None:
    for part in ("mine", "copied"):
        Store(tmp_path / part).write(record())
    Store(tmp_path / "copied").write(record(noise__rate=0.2))
    records, _ = read_all(tmp_path)
    assert sorted(each["config"]["noise"]["rate"] for each in records) == [0.2, 0.4]


def test_files_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    path = Store(tmp_path).write(record())
    (tmp_path / "README.md").write_text("notes")
    (path.parent / "seed-0.host-12.part").write_text("{")
    assert read_all(tmp_path) == ([record() | {"path": str(path)}], [])


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("")], ids=["missing", "a file"])
def test_a_results_directory_that_is_none_is_reported(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "results")
    with pytest.raises(UserError, match="no results directory"):
        read_all(tmp_path / "results")


def test_records_are_found_in_order_despite_other_files(tmp_path: Path) -> None:
    names = ["b/seed-10.json", "b/seed-2.json", "a/c/seed-0.json", "seed-7.json", "a/seed-1.json"]
    for name in [*names, "a/seed-1.json.part", "a/seed-x.json", "b/xseed-1.json", "seed-3.jsonl"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")  # a directory that is not searched a second time
    expected = ["seed-7.json", "a/seed-1.json", "a/c/seed-0.json", "b/seed-10.json", "b/seed-2.json"]
    assert list(record_paths(tmp_path)) == [os.path.join(tmp_path, name) for name in expected]
