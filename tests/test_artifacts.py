"""The files of `keep`: weights that predict like the trial, evidence on every training example, test logits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from benchmark import run, trial
from benchmark.artifacts import load_model
from benchmark.config import cells
from benchmark.records.store import read_all
from benchmark.training.evaluation import logits_on
from benchmark.training.evidence import Evidence
from methods.base import Method
from robust_benchmark.errors import UserError
from tests.conftest import kept_in

KEEP = "keep=[weights,evidence,predictions]"


def command(root: Path, *more: str) -> list[str]:
    return ["trials=1", "trainer.steps=30", "trainer.evaluate_every=10", *kept_in(root), *more]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kept")
    assert run.main(command(root, "method=baseline,l2rw,s_model_conf,baseline_ft,mentornet_dd", KEEP)) == 0
    return root


def artifacts(root: Path, record: dict, ending: str) -> Path:
    return root / "checkpoints" / record["key"] / f"seed-0.{ending}"


def test_kept_weights_give_the_predictions_of_the_record(kept: Path) -> None:
    (cell,) = cells(["method=baseline", "trials=1"])
    test = trial.prepare(cell, 0).task.test
    records, _ = read_all(kept / "results")
    assert len(records) == 5
    for record in records:
        model = load_model(record["path"], kept / "checkpoints")
        probabilities = model.predict_proba(test.images.numpy())
        assert probabilities.shape == (500, 10)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        accuracy = (probabilities.argmax(axis=1) == test.true_labels.numpy()).mean()
        assert accuracy == record["metrics"]["test_accuracy"]
        saved = load_file(artifacts(kept, record, "predictions.safetensors"))
        softmax = np.exp(saved["logits"]) / np.exp(saved["logits"]).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, softmax, atol=1e-6)
        assert (saved["labels"] == test.true_labels.numpy()).all()


def test_evidence_has_a_row_for_each_training_example(kept: Path) -> None:
    records, _ = read_all(kept / "results")
    for record in records:
        table = pd.read_parquet(artifacts(kept, record, "evidence.parquet"))
        assert len(table) == record["data"]["sizes"]["train"]
        assert table["position"].is_unique
        assert (table["given_label"] != table["true_label"]).sum() == record["data"]["wrong_labels"]["train"]
        assert table["weight"].notna().any() == (record["method"] in ("l2rw", "mentornet_dd"))
        assert (table["loss"] > 0).all()


def test_loss_and_margin_agree_where_there_is_one_evaluation(tmp_path: Path) -> None:
    assert run.main([*command(tmp_path, "method=baseline", KEEP), "trainer.evaluate_every=30"]) == 0
    (record,), _ = read_all(tmp_path / "results")
    table = pd.read_parquet(artifacts(tmp_path, record, "evidence.parquet"))
    (cell,) = cells(["method=baseline", "trials=1"])
    train = trial.prepare(cell, 0).task.train
    p = load_model(record, tmp_path / "checkpoints").predict_proba(train.images)
    given = p[np.arange(len(p)), table["given_label"]]
    others = p.copy()
    others[np.arange(len(p)), table["given_label"]] = 0
    np.testing.assert_allclose(table["loss"], -np.log(given), rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(table["margin"], np.log(given / others.max(axis=1)), rtol=2e-3, atol=2e-4)
    assert (table["prediction"] == p.argmax(axis=1)).all()


def test_wrong_events_count_the_evaluations_with_another_prediction_and_the_margin_is_their_mean(tmp_path: Path) -> None:
    (cell,) = cells(command(tmp_path, "method=baseline", "keep=[evidence]"))
    trainer = trial.prepare(cell, 0)
    margins, events = [], []

    class Spying(Evidence):
        def note(self, method: Method) -> None:
            super().note(method)
            p = torch.from_numpy(logits_on(trainer.task.train, method, trainer.task.preprocessing, 10))
            given = trainer.task.train.labels
            events.append(p.argmax(dim=1) != given)
            own, others = p[range(len(p)), given], p.clone()
            others[range(len(p)), given] = -torch.inf
            margins.append(own - others.amax(dim=1))

    trainer.evidence = Spying(trainer.task)
    trainer.run()
    assert torch.equal(trainer.evidence.wrong_events, torch.stack(events).sum(dim=0))
    assert {*trainer.evidence.wrong_events.tolist()} >= {0, 3}  # of three evaluations
    torch.testing.assert_close(trainer.evidence.means()[1], torch.stack(margins).mean(dim=0))


def test_wrong_events_of_every_method_agree_with_its_last_prediction(kept: Path) -> None:
    records, _ = read_all(kept / "results")
    for record in records:
        table = pd.read_parquet(artifacts(kept, record, "evidence.parquet"))
        evaluations, last_is_wrong = len(record["history"]["step"]), table["prediction"] != table["given_label"]
        assert table["wrong_events"][last_is_wrong].between(1, evaluations).all()
        assert table["wrong_events"][~last_is_wrong].between(0, evaluations - 1).all()


def test_evidence_continues_from_its_state_and_leaves_out_a_state_without_wrong_events(kept: Path) -> None:
    (cell,) = cells(["method=baseline", "trials=1"])
    trainer = trial.prepare(cell, 0)
    evidence, again, older = (Evidence(trainer.task) for _ in range(3))
    evidence.note(trainer.method)
    again.restore(evidence.state())
    assert all(torch.equal(getattr(again, name), getattr(evidence, name)) for name in ("loss", "margin", "prediction", "wrong_events"))
    older.restore({name: value for name, value in evidence.state().items() if name != "wrong_events"})
    assert (older.evaluations, older.loss.sum().item()) == (0, 0)


def test_a_record_does_not_depend_on_what_is_kept(kept: Path, tmp_path: Path) -> None:
    assert run.main(command(tmp_path, "method=l2rw")) == 0
    (without,), _ = read_all(tmp_path / "results")
    (with_all,) = [record for record in read_all(kept / "results")[0] if record["method"] == "l2rw"]
    assert (without["key"], without["history"]) == (with_all["key"], with_all["history"])
    assert not list((tmp_path / "checkpoints").rglob("seed-*"))


def test_what_is_missing_or_wrong_is_one_sentence(kept: Path, tmp_path: Path) -> None:
    records = {record["method"]: record for record in read_all(kept / "results")[0]}
    with pytest.raises(UserError, match=r"no weights of baseline, seed 0, at .*keep=\[weights\]"):
        load_model(records["baseline"], tmp_path)
    for method in ("baseline", "l2rw"):
        file = artifacts(kept, records[method], "weights.safetensors")
        (tmp_path / records[method]["key"]).mkdir()
        shutil.copy(file, tmp_path / records[method]["key"] / "seed-0.weights.safetensors")
    mine = tmp_path / records["baseline"]["key"] / "seed-0.weights.safetensors"
    mine.write_bytes((tmp_path / records["l2rw"]["key"] / "seed-0.weights.safetensors").read_bytes())
    with pytest.raises(UserError, match=f"contains the weights of key {records['l2rw']['key']} and seed 0, not of"):
        load_model(records["baseline"], tmp_path)
    mine.write_bytes(mine.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        load_model(records["baseline"], tmp_path)
    model = load_model(records["baseline"], kept / "checkpoints")
    wrong = [np.zeros((2, 8, 8), dtype=np.float32), pd.DataFrame([[1]]), np.array(["a"]), np.array([None]), [[1, 2], [3]]]
    for examples, found in zip(wrong, [r"float32 \(2, 8, 8\)", "DataFrame", "<U1", "object", "list"], strict=True):
        with pytest.raises(UserError, match=rf"images must be uint8 \(n, 1, 8, 8\), not {found}"):
            model.predict_proba(examples)


def test_an_unknown_kind_is_refused_before_anything_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(command(tmp_path, "keep=[wieghts]")) == 2
    assert "nearest: weights" in capsys.readouterr().err
    assert run.main(command(tmp_path, "keep=weights,evidence")) == 2
    assert "keep is one value for the whole grid, not weights,evidence" in capsys.readouterr().err
    for given in ("keep=weights", "keep=null"):
        assert run.main(command(tmp_path, given)) == 2
        assert "keep must be a list, each one of weights, evidence, predictions, not" in capsys.readouterr().err
