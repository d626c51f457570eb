"""Estimates of the transition matrix from kept weights, against formulas on the kept tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmark import report, run
from benchmark.estimates import estimate_of
from benchmark.records.store import Record, read_all
from benchmark.training.artifacts import place
from robust_benchmark.errors import UserError
from tests.references.transition import volminnet_matrix

METHODS = ("glc", "volminnet", "s_model_conf", "t_revision", "elr")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kept")
    places = [f"results_dir={root}/results", f"checkpoint_dir={root}/weights"]
    options = ["trials=1", "trainer.steps=20", "keep=[weights]", "dataset.preprocessing.pad=1", "noise=pairflip"]
    assert run.main([f"method={','.join(METHODS[:3])},{METHODS[4]}", *options, *places]) == 0
    assert run.main(["method=t_revision", "method.lr=0.05", *options, *places]) == 0  # the default would hardly change D
    return root


def trial(kept: Path, name: str) -> Record:
    (found,) = (record for record in read_all(kept / "results")[0] if record["config"]["method"]["name"] == name)
    return found


def softmax_of_rows(logits: np.ndarray) -> np.ndarray:
    return np.array([[np.exp(one) / np.exp(row).sum() for one in row] for row in logits.astype(float)])


@pytest.mark.parametrize(
    ("method", "formula"),
    [
        ("glc", lambda tensors: tensors["transition"]),
        ("volminnet", lambda tensors: volminnet_matrix(tensors["w"].astype(float))),
        ("s_model", lambda tensors: softmax_of_rows(tensors["transition_logits"])),
        ("t_revision", lambda tensors: tensors["transition"].astype(float) + tensors["delta"]),
    ],
)
def test_an_estimate_is_the_formula_of_its_method(method: str, formula: Callable[[dict[str, np.ndarray]], np.ndarray], kept: Path) -> None:
    record = trial(kept, method)
    found = estimate_of(record, kept / "weights")
    assert found is not None
    expected = formula(load_file(place(kept / "weights", record["key"], 0, "weights")))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not np.allclose(found, np.eye(10), atol=0.01)


def test_the_correction_of_t_revision_counts(kept: Path) -> None:
    record = trial(kept, "t_revision")
    found = estimate_of(record, kept / "weights")
    assert np.abs(found - load_file(place(kept / "weights", record["key"], 0, "weights"))["transition"]).max() > 0.01


def test_a_method_without_a_matrix_or_without_kept_weights_has_no_estimate(kept: Path, tmp_path: Path) -> None:
    assert estimate_of(trial(kept, "elr"), kept / "weights") is None
    assert estimate_of(trial(kept, "glc"), tmp_path) is None


def test_weights_that_cannot_be_read_or_belong_to_another_trial_are_refused(kept: Path, tmp_path: Path) -> None:
    record = trial(kept, "glc")
    path = place(tmp_path, record["key"], 0, "weights")
    path.parent.mkdir()
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        estimate_of(record, tmp_path)
    other = trial(kept, "volminnet")
    path.write_bytes(place(kept / "weights", other["key"], 0, "weights").read_bytes())
    with pytest.raises(UserError, match=f"contains the weights of key {other['key']}"):
        estimate_of(record, tmp_path)


def test_the_figure_shows_every_estimate(kept: Path, tmp_path: Path) -> None:
    figure = tmp_path / "figure.svg"
    command = [str(kept / "results"), "--kind", "transition", "--checkpoint-dir", str(kept / "weights"), "--figure", str(figure)]
    assert report.main(command) == 0
    assert figure.read_text(encoding="utf-8").count("<!-- Estimated, ") == 4
