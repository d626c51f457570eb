"""Checkpoints: atomic, with the previous one as a backup, and nothing in them is ever executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from benchmark.training.checkpoint import FORMAT, Checkpoints
from robust_benchmark.errors import UserError


def state(number: int) -> dict:
    weights = torch.arange(200.0) + number
    return {"step": number, "weights": weights, "nested": {"history": [{"loss": 0.5, "none": None}], 10: weights.to(torch.uint8)}}


def checkpoints(directory: Path, configuration: str = "{}") -> Checkpoints:
    return Checkpoints(directory / "cell" / "seed-0.pt", configuration)


def loaded_step(directory: Path) -> int | None:
    found = checkpoints(directory).load()
    return None if found is None else found["step"]


def latest(directory: Path) -> Path:
    return directory / "cell" / "seed-0.pt"


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(state(7))
    found = checkpoints(tmp_path).load()
    assert found is not None
    assert found["step"] == 7
    assert torch.equal(found["weights"], torch.arange(200.0) + 7)
    assert found["nested"]["history"] == [{"loss": 0.5, "none": None}]
    assert found["nested"][10].dtype == torch.uint8


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path: Path) -> None:
    assert loaded_step(tmp_path) is None


def test_the_latest_of_many_is_loaded_and_two_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        checkpoints(tmp_path).save(state(number))
    assert loaded_step(tmp_path) == 4
    assert len(list((tmp_path / "cell").iterdir())) == 2


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99, 0.9999])
def test_a_truncated_checkpoint_falls_back_to_the_previous_one_and_says_so(
    share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints(tmp_path).save(state(1))
    checkpoints(tmp_path).save(state(2))
    os.truncate(latest(tmp_path), int(share * latest(tmp_path).stat().st_size))
    assert loaded_step(tmp_path) == 1
    message = capsys.readouterr().err
    assert str(latest(tmp_path)) in message
    assert "damaged" in message


def test_a_checkpoint_truncated_at_any_byte_falls_back_to_the_previous_one(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(state(1))
    checkpoints(tmp_path).save(state(2))
    for size in reversed(range(latest(tmp_path).stat().st_size)):
        os.truncate(latest(tmp_path), size)
        assert loaded_step(tmp_path) == 1, size


STRANGERS = {"empty": b"", "zip": b"PK\x03\x04", "text": b"not a checkpoint", "list": pickle.dumps([1], 2), "dict": pickle.dumps({}, 2)}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_file_that_is_no_checkpoint_falls_back_to_the_previous_one(stranger: str, tmp_path: Path) -> None:
    checkpoints(tmp_path).save(state(1))
    checkpoints(tmp_path).save(state(2))
    latest(tmp_path).write_bytes(STRANGERS[stranger])
    assert loaded_step(tmp_path) == 1


def test_two_damaged_checkpoints_mean_a_start_from_scratch(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(state(1))
    checkpoints(tmp_path).save(state(2))
    for file in (tmp_path / "cell").iterdir():
        os.truncate(file, 50)
    assert loaded_step(tmp_path) is None


def test_a_kill_between_the_two_renames_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(state(1))
    checkpoints(tmp_path).save(state(2))
    latest(tmp_path).unlink()
    assert loaded_step(tmp_path) == 1


def test_a_damaged_checkpoint_is_replaced_by_the_next_save(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(state(1))
    os.truncate(latest(tmp_path), 10)
    checkpoints(tmp_path).save(state(2))
    assert loaded_step(tmp_path) == 2


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    checkpoints(tmp_path, '{"lr":0.1}').save(state(1))
    with pytest.raises(UserError, match=r"another configuration; remove it or give another checkpoint_dir"):
        checkpoints(tmp_path, '{"lr":0.2}').load()


class Malicious:
    """Pickled, it asks to make a directory when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def test_a_checkpoint_of_another_format_is_passed_over_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trial.pt"
    torch.save({"configuration": "toy", "origin": {}, "state": {"step": 3}}, path)  # as before formats had numbers
    assert Checkpoints(path, "toy").load() is None
    assert capsys.readouterr().err == f"checkpoint {path} has format 1 and not {FORMAT}: the trial starts again\n"


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_nothing_in_a_checkpoint_is_executed(form: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    content = {"configuration": "{}", "state": {"step": 3, "weights": Malicious(marker)}}
    latest(tmp_path).parent.mkdir()
    if form == "torch":
        torch.save(content, latest(tmp_path))
    else:
        latest(tmp_path).write_bytes(pickle.dumps(content, 2))
    assert loaded_step(tmp_path) is None
    assert not marker.exists()
    with latest(tmp_path).open("rb") as file:  # the file is really malicious: a careless reader executes it
        torch.load(file, weights_only=False) if form == "torch" else pickle.load(file)
    assert marker.exists()


def test_a_save_that_fails_leaves_the_earlier_checkpoint_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints(tmp_path).save(state(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoints(tmp_path).save(state(2))
    assert [file.name for file in (tmp_path / "cell").iterdir()] == ["seed-0.pt"]
    assert loaded_step(tmp_path) == 1


def test_a_save_leaves_no_part(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(state(1))
    checkpoints(tmp_path).save(state(2))
    assert not list(tmp_path.rglob("*.part"))


def test_removal_deletes_both_and_may_be_repeated(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(state(1))
    checkpoints(tmp_path).save(state(2))
    checkpoints(tmp_path).remove()
    checkpoints(tmp_path).remove()
    assert loaded_step(tmp_path) is None
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_trials_of_one_cell_keep_their_checkpoints_apart(tmp_path: Path) -> None:
    for seed in (1, 10):
        Checkpoints(tmp_path / f"seed-{seed}.pt", "{}").save(state(seed))
        Checkpoints(tmp_path / f"seed-{seed}.pt", "{}").save(state(seed + 1))
    Checkpoints(tmp_path / "seed-1.pt", "{}").remove()
    found = Checkpoints(tmp_path / "seed-10.pt", "{}").load()
    assert found is not None
    assert found["step"] == 11
