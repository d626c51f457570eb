"""`python -m benchmark.merge`: records of others are checked and copied whole, and nothing here is overwritten or dropped silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.merge import Merge, main
from benchmark.records.store import Record, Store, read_all, read_record
from tests.records import config_of, entry, record_of


def record(seed: int = 0, accuracy: float = 0.5, **fields: Any) -> Record:
    return record_of(config_of(), seed, [entry(5, 0.25), entry(10, accuracy)], **fields)


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    return Store(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Store:
    return Store(tmp_path / "theirs")


def content(store: Store) -> dict[str, bytes]:
    return {str(path.relative_to(store.root)): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def merge(ours: Store, theirs: Store, *more: str) -> int:
    return main([str(theirs.root), "--into", str(ours.root), *more])


def test_records_of_another_directory_are_copied_byte_by_byte_to_their_places(
    ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    ours.write(record(0))
    written = [theirs.write(record(seed)) for seed in (1, 2)]
    assert merge(ours, Store(theirs.root.parent / "theirs")) == 0
    assert capsys.readouterr().out == f"2 records merged into {ours.root}, 0 already there\n"
    for path in written:
        assert (ours.root / path.relative_to(theirs.root)).read_bytes() == path.read_bytes()
    assert [each["seed"] for each in read_all(ours.root)[0]] == [0, 1, 2]


def test_a_nested_directory_of_records_is_flattened_to_the_places_where_trials_are_found(ours: Store, theirs: Store) -> None:
    path = Store(theirs.root / "a" / "b").write(record())
    assert merge(ours, theirs) == 0
    assert ours.path(record()["config"], record()["key"], 0).read_bytes() == path.read_bytes()


def test_a_copy_is_skipped_wherever_it_lies(ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Store(ours.root / "deeper").write(record())
    theirs.write(record())
    Store(theirs.root / "again").write(record(1))
    theirs.write(record(1))
    before = content(ours)
    assert merge(ours, theirs) == 0
    assert "1 record merged" in (out := capsys.readouterr().out)
    assert "2 already there" in out
    assert before.items() < content(ours).items()


def test_the_same_numbers_from_another_machine_are_no_conflict_and_ours_stays(ours: Store, theirs: Store) -> None:
    environment = {"device": "another CPU", "versions": {"torch": "2.12.0"}, "revision": "abc"}
    path = ours.write(record())
    theirs.write(record(environment=environment))
    assert merge(ours, theirs) == 0
    assert read_record(path)["environment"]["device"] == "a CPU"


def test_other_numbers_of_one_trial_are_both_shown_and_neither_is_changed(
    ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there, free = ours.write(record(0)), theirs.write(record(0, accuracy=0.75)), theirs.write(record(1))
    before = here.read_bytes()
    assert merge(ours, theirs) == 1
    said = capsys.readouterr()
    first, mine, other = said.err.splitlines()
    assert first == "conflict: two records of reed, digits bgflip, seed 0 have different numbers:"
    assert mine.startswith(f"  {here}: test accuracy 50.00 %; a CPU, torch 2.11.0, revision 0123456789ab")
    assert other.startswith(f"  {there}: test accuracy 75.00 %")
    assert said.out == f"1 record merged into {ours.root}, 0 already there, 1 in conflict\n"
    assert here.read_bytes() == before
    assert (ours.root / free.relative_to(theirs.root)).exists()  # the others are merged


def test_two_records_of_one_trial_in_the_other_directory_are_a_conflict_too(
    ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(theirs.root / "a").write(record(0, accuracy=0.5))
    Store(theirs.root / "b").write(record(0, accuracy=0.75))
    assert merge(ours, theirs) == 1
    err = capsys.readouterr().err
    assert "50.00 %" in err
    assert "75.00 %" in err
    assert len(content(ours)) == 1


def test_a_diverged_trial_conflicts_with_a_finished_one(ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]) -> None:
    ours.write(record())
    theirs.write(record_of(config_of(), 0, [entry(5, 0.25), entry(10)], done=False))
    assert merge(ours, theirs) == 1
    assert ": diverged; " in capsys.readouterr().err


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace("0.25", "0.26", 1))


def of_schema_1(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 1'))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def moved(path: Path) -> None:
    path.rename(path.with_name("seed-7.json"))


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (edited, "its checksum differs"),
        (of_schema_1, "has schema 1"),
        (truncated, "cannot be read"),
        (moved, "belongs to key"),
        (linked, "is a symbolic link"),
    ],
)
def test_a_record_that_fails_a_check_is_refused_in_one_line_and_the_others_are_merged(
    spoil: Any, reason: str, ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs.write(record(1))
    spoil(theirs.write(record(0)))
    assert merge(ours, theirs) == 1
    said = capsys.readouterr()
    assert said.err.startswith("refused: record ")
    assert reason in said.err
    assert said.out == f"1 record merged into {ours.root}, 0 already there, 1 refused\n"
    assert [Path(name).name for name in content(ours)] == ["seed-1.json"]


def test_a_damaged_record_here_is_never_replaced(ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]) -> None:
    theirs.write(record())
    edited(ours.write(record()))
    before = content(ours)
    assert merge(ours, theirs) == 1
    assert str(ours.root) in capsys.readouterr().err
    assert content(ours) == before


def test_records_of_other_code_need_consent(ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]) -> None:
    theirs.write(record(fingerprint=record()["fingerprint"] | {"method": "0" * 12}))
    assert merge(ours, theirs) == 1
    assert "comes from other code (method): --other-code accepts it" in capsys.readouterr().err
    assert content(ours) == {}
    assert merge(ours, theirs, "--other-code") == 0
    assert len(content(ours)) == 1


def test_a_dry_run_reports_the_same_and_writes_nothing(ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]) -> None:
    ours.write(record(0))
    theirs.write(record(0, accuracy=0.75))
    theirs.write(record(1))
    before = content(ours)
    assert merge(ours, theirs, "--dry-run") == 1
    assert capsys.readouterr().out == f"1 record would be merged into {ours.root}, 0 already there, 1 in conflict\n"
    assert content(ours) == before


def test_a_full_disk_leaves_no_part_of_a_record(ours: Store, theirs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs.write(record())

    def fail(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    assert merge(ours, theirs) == 2
    assert content(ours) == {}


def test_a_record_that_another_process_writes_meanwhile_stays(ours: Store, theirs: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(theirs.write(record(0, accuracy=0.75)))
    merging = Merge(ours.root)
    here = ours.write(record(0))  # after the directory was read
    before = here.read_bytes()
    merging.add(path)
    assert merging.counts == {"conflict": 1}
    assert here.read_bytes() == before
    assert "75.00 %" in capsys.readouterr().err


def test_a_missing_directory_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: no results directory {tmp_path / 'none'}\n"
