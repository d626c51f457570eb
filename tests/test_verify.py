"""`python -m benchmark.verify`: sampled trials are trained again, and their numbers are compared by a stated rule."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from benchmark import run, workers
from benchmark.records.store import Record, read_record, record_paths, text_of
from benchmark.verify import DIFFERS, EXACT, SAME, UNKNOWN, accuracies_of_cell, compared, main, sampled, tolerance
from tests.conftest import kept_in
from tests.records import ENVIRONMENT, config_of, entry, record_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with three trials each of two methods, of five steps."""
    root = tmp_path_factory.mktemp("trained")
    methods = "method=gce:q=0.5,baseline_es_ft"
    assert run.main([methods, "noise=uniflip", "noise.rate=0.2", "trainer.steps=5", "trials=3", "processes=1", *kept_in(root)]) == 0
    return root / "results"


def rewritten(path: Path, target: Path, **fields: Any) -> Path:
    """Write the record to the same place under `target`, with other fields and a valid checksum."""
    moved = target / path.relative_to(path.parents[3])
    moved.parent.mkdir(parents=True, exist_ok=True)
    moved.write_text(text_of(read_record(path) | fields))
    return moved


def verify(*arguments: object) -> int:
    return main([*map(str, arguments), "--processes", "1"])


def test_trials_that_are_trained_again_on_this_machine_are_equal_bit_for_bit(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(trained, "--sample", 3) == 0
    out = capsys.readouterr().out
    assert out.count(EXACT) == 3 + 1
    assert out.splitlines()[-1] == "3 of 3 records verified, 3 of them bit for bit"


def test_one_changed_number_is_found_and_named(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = [Path(path) for path in record_paths(trained)][:2]
    record = read_record(first)
    loss = record["history"]["train_loss"]
    history = record["history"] | {"train_loss": [math.nextafter(loss[0], 9), *loss[1:]]}
    changed = rewritten(first, tmp_path, history=history)
    rewritten(second, tmp_path)
    assert verify(tmp_path, "--sample", 2) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "1 of 2 records verified, 1 of them bit for bit; 1 differs"
    assert f"differs: {changed}: history.train_loss is " in said.err
    assert "its code was another" not in said.err


def test_a_difference_names_the_code_that_changed_since(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Path(next(record_paths(trained)))
    record = read_record(first)
    rewritten(first, tmp_path, fingerprint=record["fingerprint"] | {"method": "0" * 12}, digests=record["digests"] | {"drawn": "0" * 16})
    assert verify(tmp_path) == 1
    assert "digests.drawn is 0000000000000000 and is " in (err := capsys.readouterr().err)
    assert err.rstrip().endswith("; its code was another: method")


def test_records_of_another_machine_are_compared_with_the_spread_of_their_seeds(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in map(Path, record_paths(trained)):
        environment = read_record(path)["environment"] | {"device": "another CPU (96 cores)"}
        rewritten(path, tmp_path, environment=environment)
    assert verify(tmp_path, "--sample", 2, "--seed", 1) == 0
    out = capsys.readouterr().out
    assert out.count("spread of 3 seeds") == 2
    assert out.splitlines()[-1] == "2 of 2 records verified, 0 of them bit for bit"


def test_a_trial_that_cannot_be_trained_here_is_not_verified(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Path(next(record_paths(trained)))
    config = read_record(first)["config"]
    for name, changed in {
        "method": config | {"method": {"name": "of_a_package"}},
        "data": config | {"dataset": config["dataset"] | {"name": "mnist", "source": {"test_size": 500}}},
    }.items():
        record = record_of(changed, 0, [entry(5, 0.5)])
        path = tmp_path / name / "d" / "n" / f"m-{record['key']}" / "seed-0.json"
        path.parent.mkdir(parents=True)
        path.write_text(text_of(record))
    assert verify(tmp_path) == 1
    said = capsys.readouterr()
    assert "this installation has no method 'of_a_package'" in said.err
    assert "no option 'dataset.source.test_size'" in said.err
    assert said.out.splitlines()[-1] == "0 of 2 records verified, 0 of them bit for bit; 2 not compared"


def test_trials_are_trained_with_the_number_of_threads_of_a_run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    monkeypatch.setattr(workers, "train", lambda trials: threads.append(torch.get_num_threads()) or ([], 0))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(3)
    try:
        assert main([str(trained), "--device", "cpu"]) == 1  # because nothing is trained
        assert (threads, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(1)


# --- the rule


def pair(accuracies: tuple[float, float], **fields: Any) -> tuple[Record, Record]:
    """A record with 1,000 test images, and the same trial on another machine."""
    record, again = (record_of(config_of(), 0, [entry(5, each)]) for each in accuracies)
    record["data"]["sizes"]["test"] = 1000
    return record, again | {"environment": ENVIRONMENT | {"device": "another CPU"}} | fields


def test_the_tolerance_holds_for_99_percent_of_pairs_of_independent_seeds() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(0.9, 0.02, (4000, 5))
    pairs = rng.normal(0.9, 0.02, (4000, 2))
    inside = [abs(a - b) <= tolerance(cell) for cell, (a, b) in zip(cells, pairs, strict=True)]
    assert np.mean(inside) == pytest.approx(0.99, abs=0.006)
    assert tolerance([0.8, 0.9]) == pytest.approx(stats.t.ppf(0.995, 1) * 0.1)  # s = 0.1 / sqrt(2)


@pytest.mark.parametrize(("again", "result"), [(0.90, SAME), (0.94, SAME), (0.86, SAME), (0.99, DIFFERS), (0.80, DIFFERS)])
def test_an_accuracy_within_the_spread_is_the_same_and_one_outside_differs(again: float, result: str) -> None:
    accuracies = [0.90, 0.91, 0.89, 0.90, 0.90]
    verdict = compared(*pair((0.90, again)), accuracies)
    assert (verdict.rule, verdict.result) == ("spread of 5 seeds", result)
    assert (verdict.reason != "") == (result == DIFFERS)


def test_one_test_image_is_allowed_if_all_seeds_agree() -> None:
    record, again = pair((0.75, 0.5))
    record["data"]["sizes"]["test"] = 4
    assert compared(record, again, [0.75] * 3).result == SAME
    record["data"]["sizes"]["test"] = 5
    assert compared(record, again, [0.75] * 3).result == DIFFERS


def test_fewer_than_three_seeds_have_no_spread() -> None:
    verdict = compared(*pair((0.75, 0.75)), [0.75, 0.5])
    assert (verdict.result, verdict.reason) == (UNKNOWN, "its cell has 2 seeds; a spread needs 3")


def test_other_data_and_another_end_differ_whatever_the_accuracy() -> None:
    assert compared(*pair((0.75, 0.75), digests={"drawn": "1"}), [0.75] * 5).result == DIFFERS
    assert compared(*pair((0.75, 0.75), status="diverged"), [0.75] * 5).result == DIFFERS


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"device": "AMD EPYC (8 cores)"}, EXACT),
        ({"device": "Intel Xeon (2 cores)"}, "spread of 3 seeds"),
        ({"threads": 4}, "spread of 3 seeds"),
        ({"versions": {"torch": "2.12.0"}}, "spread of 3 seeds"),
        ({"versions": {"torch": "2.11.0", "robust-training-benchmark": "9"}}, EXACT),
    ],
)
def test_bits_are_compared_where_processor_threads_and_versions_agree(changed: dict[str, Any], rule: str) -> None:
    environment = ENVIRONMENT | {"device": "AMD EPYC (2 cores)", "threads": 1}
    record, again = pair((0.75, 0.75))
    assert compared(record | {"environment": environment}, again | {"environment": environment | changed}, [0.75] * 3).rule == rule


def test_metrics_that_older_records_lack_are_not_compared() -> None:
    record = record_of(config_of(), 0, [entry(5, 0.5)])
    newer = record_of(config_of(), 0, [entry(5, 0.5, ece=0.1)])
    assert compared(record, newer, []).result == SAME
    assert compared(newer, record, []).result == DIFFERS


# --- the sample


def test_a_sample_depends_on_its_seed_alone_and_repeats_no_record(trained: Path) -> None:
    everything = sampled([str(trained)], 99, 0)
    assert everything == sorted(record_paths(trained))
    samples = {tuple(sampled([str(trained), everything[0]], 2, seed)) for seed in range(20)}
    assert len(samples) > 5
    assert sampled([str(trained)], 2, 3) == sampled([str(trained)], 2, 3)
    assert all(len(set(each)) == 2 and set(each) <= set(everything) for each in samples)


def test_the_accuracies_of_a_cell_are_those_of_all_seeds_in_its_folder(trained: Path) -> None:
    path = next(record_paths(trained))
    files = sorted(Path(path).parent.glob("*.json"))
    assert accuracies_of_cell(path) == [json.loads(file.read_text())["metrics"]["test_accuracy"] for file in files]
    assert len(files) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "no record and no results directory nowhere"),
        ([".", "--sample", "0"], "--sample must be at least 1, not 0"),
        ([".", "--processes", "0"], "--processes must be at least 1, not 0"),
        (["."], "no record in ."),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
