"""The command that kills trainings: it kills during training, and reports a difference."""

from __future__ import annotations

import re

import pytest

from tests import kill

FEW = ["--minutes", "0", "--methods", "elr", "l2rw", "coteaching"]


def test_a_training_that_is_killed_leaves_no_difference(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    longer = tuple("trainer.steps=120" if override.startswith("trainer.steps=") else override for override in kill.GRID)
    monkeypatch.setattr(kill, "GRID", longer)  # the kill comes long before the end, also on a fast machine
    monkeypatch.setattr(kill, "SOON", 0.1)
    assert kill.main(FEW) == 0
    printed = capsys.readouterr().out.splitlines()
    assert re.match(r"1: SIG\w+ to [\w ]+ \(.*\): \d of 3 records, \d checkpoints, no difference", printed[1])
    assert re.match(r"1 kills \(1 SIG\w+\), \d grids came to their ends, 0 differences", printed[2])


def test_a_record_that_differs_is_reported_with_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def altered(*_: object) -> kill.Records:
        found = trained(*_)
        for record in found.values():
            record["metrics"]["test_accuracy"] += 1e-9
        return found

    trained = kill.trained
    monkeypatch.setattr(kill, "trained", altered)
    monkeypatch.setattr(kill, "_kill", lambda *_: "")
    assert kill.main(FEW) == 1
    assert re.search(r"(elr|l2rw|coteaching) differs in metrics", capsys.readouterr().out)
