"""The cost of methods, joined to records by method and model: in tables and figures, and errors of a cost file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmark import report
from benchmark.analysis.cost import join, read_costs
from benchmark.analysis.figures.lines import against, training
from benchmark.analysis.rows import summary
from benchmark.analysis.tables import render
from benchmark.metrics import METRICS
from benchmark.records.store import Record, Store
from robust_benchmark.errors import UserError
from tests.records import config_of, entry, record_of


def cost_of(method: str, relative_seconds: float | None, peak_memory: float | None, **names: str) -> dict[str, Any]:
    costs = {"relative_seconds": relative_seconds, "low": relative_seconds, "high": relative_seconds, "peak_memory": peak_memory}
    return {"method": method, "model": "convnet", "dataset": "digits"} | names | {name: cost for name, cost in costs.items() if cost}


ENTRIES = [
    cost_of("reed", 1.03, 312.5),
    cost_of("l2rw", 1.87, 401.25),
    cost_of("l2rw", 2.5, 800.0, model="lenet"),
    cost_of("l2rw", 9.0, 900.0, dataset="mnist"),
    cost_of("random", None, 290.0),
]


def written(path: Path, entries: list[dict[str, Any]] = ENTRIES, **fields: Any) -> Path:
    path.write_text(json.dumps({"schema": 1, "environment": {"device": "a GPU", "rounds": 5}, "entries": entries} | fields))
    return path


def trials(method: str, **options: Any) -> list[Record]:
    history = [entry(10, 0.3), entry(20, 0.5)]
    return [record_of(config_of(method__name=method, **options), seed, history, method=method) for seed in (0, 1)]


def joined(directory: Path, *records: Record) -> list[Record]:
    return join(records, read_costs(written(directory / "cost.json")))


def test_costs_are_joined_by_method_and_model(tmp_path: Path) -> None:
    records = joined(tmp_path, *trials("reed"), *trials("l2rw"), *trials("l2rw", model__name="lenet"))
    table = summary(records, "relative_seconds")
    assert sorted(zip(table["method"], table["mean"], strict=True)) == [("l2rw", 1.87), ("l2rw", 2.5), ("reed", 1.03)]
    assert summary(records, "peak_memory")["mean"].tolist() == [401.25, 800.0, 312.5]


def test_the_cost_on_the_records_own_data_set_counts_and_no_other(tmp_path: Path) -> None:
    records = joined(tmp_path, *trials("l2rw", dataset__name="mnist"), *trials("l2rw", dataset__name="cifar10"))
    assert [record["metrics"].get("relative_seconds") for record in records] == [9.0, 9.0, None, None]


def test_what_was_not_measured_is_absent(tmp_path: Path) -> None:
    records = joined(tmp_path, *trials("reed"), *trials("random"), *trials("mentornet"))
    assert summary(records, "relative_seconds")["method"].tolist() == ["reed"]
    assert summary(records, "peak_memory")["method"].tolist() == ["reed", "random"]
    with pytest.raises(UserError, match=r"^none of these records has relative_seconds: it is absent if the cost .* was not measured"):
        render(trials("reed"), metrics="relative_seconds")


def test_a_cost_is_one_measurement_and_has_no_interval_over_trials(tmp_path: Path) -> None:
    records = joined(tmp_path, *trials("reed"))
    (row,) = summary(records, "relative_seconds").itertuples()
    assert (row.mean, row.trials) == (1.03, 1)
    assert math.isnan(row.half_width)
    assert "±" not in render(records, metrics="peak_memory")


def test_the_caption_says_where_the_cost_was_measured(tmp_path: Path) -> None:
    text = render(joined(tmp_path, *trials("reed")), metrics=["relative_seconds", "peak_memory"])
    assert "Seconds per step, relative to plain training. Cost was measured on a GPU." in text
    assert "Peak memory in MiB. Cost was measured on a GPU." in text


def test_a_cost_is_the_same_for_any_selection(tmp_path: Path) -> None:
    records = joined(tmp_path, *trials("reed"))
    assert render(records, metrics="relative_seconds", selections=["last5", "oracle"]) == render(records, metrics="relative_seconds")


def test_the_cheapest_stands_last(tmp_path: Path) -> None:
    assert summary(joined(tmp_path, *trials("reed"), *trials("l2rw")), "relative_seconds")["method"].tolist() == ["l2rw", "reed"]


def test_costs_are_drawn_against_an_option_and_not_along_training(tmp_path: Path) -> None:
    records = joined(tmp_path, *trials("reed"))
    assert against(records, "noise.rate", [METRICS["relative_seconds"]])["value"].tolist() == [1.03, 1.03]
    with pytest.raises(UserError, match=r"^relative_seconds is constant along training"):
        training(records, [METRICS["relative_seconds"]])


def test_a_difference_of_costs_has_neither_trials_won_nor_a_test(tmp_path: Path) -> None:
    text = render(joined(tmp_path, *trials("reed"), *trials("l2rw")), metrics="relative_seconds", reference="reed")
    assert "+0.840\n" in text.replace(" ", "")
    assert " of 1)" not in text
    assert "Other rows show differences to reed." in text
    assert "t test" not in text


MALFORMED = [
    ("{", "is not a file of costs"),
    ("[]", "is not a file of costs"),
    ('{"schema": 1, "environment": {}}', "is not a file of costs .*entries"),
    ('{"schema": 1, "environment": {}, "entries": [{"method": "reed"}]}', "is not a file of costs .*model"),
    (json.dumps({"schema": 1, "environment": {}, "entries": [ENTRIES[0] | {"peak_memory": "much"}]}), "is not a file .*peak_memory"),
    ('{"schema": 2, "environment": {}, "entries": []}', "has schema 2, but this version reads costs of schema 1"),
]


@pytest.mark.parametrize(("content", "message"), MALFORMED)
def test_a_malformed_file_is_one_sentence(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "cost.json").write_text(content)
    with pytest.raises(UserError, match=rf"cost\.json {message}") as error:
        read_costs(tmp_path / "cost.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_one_sentence_and_status_2(given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store(tmp_path / "results").write(trials("reed")[0])
    assert report.main([str(tmp_path / "results"), "--y", "peak_memory", "--cost", str(tmp_path / given)]) == 2
    message = capsys.readouterr()
    assert message.err.startswith("error: cannot read ")
    assert message.err.count("\n") == 1


def test_the_command_takes_the_file_given_or_else_that_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in trials("reed"):
        Store(tmp_path / "results").write(each)
    command = [str(tmp_path / "results"), "--y", "test_accuracy", "relative_seconds"]
    monkeypatch.setattr(report, "COSTS", (tmp_path / "none.json", tmp_path / "default.json"))
    assert report.main(command) == 2
    assert "not measured (results/cost.json)" in capsys.readouterr().err
    written(tmp_path / "default.json", [cost_of("reed", 1.5, None)])
    assert report.main(command) == 0
    assert "1.500" in capsys.readouterr().out
    assert report.main([*command, "--cost", str(written(tmp_path / "mine.json"))]) == 0
    assert "1.030" in capsys.readouterr().out
