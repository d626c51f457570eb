"""The audit of labels: its statistics against independent references, and a whole audit of digits with known errors."""

from __future__ import annotations

import csv
import gc
import os
import signal
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path

import cleanlab.count
import cleanlab.filter
import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from benchmark.audit import confident, folds, judging, marks, planted, running, scores, trust
from benchmark.audit.__main__ import main
from benchmark.audit.calibration import Curve, Marked, clopper_pearson, marked_count, mixture_count, probabilities, recall
from benchmark.audit.data import Audited
from benchmark.audit.folds import Found
from benchmark.training.detection import auroc
from tests.conftest import FORK, wait

SMALL = ["trainer.steps=120", "device=cpu", "model.hidden=[64]", "--methods", "elr", "gce", "--folds", "3"]
TINY = ["trainer.steps=6", "trainer.batch_size=16", "device=cpu", "model.hidden=[8]", "--methods", "baseline", "gce", "--folds", "2"]


# --- confident learning


def random_case(seed: int, n: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, 0.4), n), rng.integers(0, classes, n)


def joint_by_hand(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The definitions of the paper, example by example."""
    classes = p.shape[1]
    t = [np.mean([p[i, j] for i in range(len(p)) if labels[i] == j]) for j in range(classes)]
    counts = np.zeros((classes, classes))
    for i in range(len(p)):
        above = [j for j in range(classes) if p[i, j] >= t[j]]
        if above:
            counts[labels[i], max(above, key=lambda j: p[i, j])] += 1
    for given in range(classes):
        if counts[given].sum() == 0:
            counts[given, given] = 1
        counts[given] *= sum(label == given for label in labels) / counts[given].sum()
    return counts / counts.sum()


@pytest.mark.parametrize("seed", range(5))
def test_confident_learning_equals_its_definition_example_by_example(seed: int) -> None:
    p, labels = random_case(seed)
    wanted = joint_by_hand(p, labels)
    np.testing.assert_allclose(confident.joint(p, labels), wanted, rtol=1e-12)
    assert confident.wrong_labels(p, labels) == pytest.approx(len(p) * (1 - wanted.diagonal().sum()))
    removed = set()
    for given in range(p.shape[1]):
        for other in set(range(p.shape[1])) - {given}:
            members = sorted((i for i in range(len(p)) if labels[i] == given), key=lambda i: p[i, given] - p[i, other])
            removed |= set(members[: round(len(p) * wanted[given, other])])
    assert set(np.flatnonzero(confident.pruned(p, labels))) == removed


def probable_case(seed: int, n: int = 600, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a good classifier, and labels of which 30 % are drawn from all classes."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, n)
    logits = 1.5 * rng.normal(size=(n, classes)) + 2.5 * np.eye(classes)[true]
    labels = np.where(rng.random(n) < 0.3, rng.integers(0, classes, n), true)
    return special.softmax(logits, axis=1), labels


@pytest.mark.parametrize("seed", range(3))
def test_confident_learning_equals_cleanlab(seed: int) -> None:
    p, labels = probable_case(seed)
    np.testing.assert_allclose(confident.thresholds(p, labels), cleanlab.count.get_confident_thresholds(labels, p))
    counts = cleanlab.count.compute_confident_joint(labels, p, calibrate=False)
    np.testing.assert_array_equal(confident.confident_counts(p, labels), counts)
    np.testing.assert_allclose(confident.joint(p, labels), cleanlab.count.estimate_joint(labels, p), atol=1 / len(p))  # it rounds counts
    removed = cleanlab.filter.find_label_issues(labels, p, filter_by="prune_by_noise_rate", n_jobs=1)
    assert removed.sum() > 50
    np.testing.assert_array_equal(confident.pruned(p, labels), removed)


def test_a_class_without_examples_gets_no_confident_example_and_leaves_the_joint_whole() -> None:
    p, labels = random_case(0)
    labels[labels == 3] = 0
    assert (confident.confident_counts(p, labels)[:, 3] <= (p[:, 3] >= 1).sum()).all()
    assert confident.joint(p, labels).sum() == pytest.approx(1)


# --- statistics


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 40), (1, 1), (20, 1000)])
def test_the_interval_is_the_one_of_scipy(hits: int, n: int) -> None:
    wanted = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert clopper_pearson(hits, n) == pytest.approx((wanted.low, wanted.high))


def test_the_interval_of_no_draw_is_everything() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_unsure_marks_widen_the_interval_to_both_of_their_truths() -> None:
    found = Marked(wrong=6, right=3, unsure=4).precision
    assert found == pytest.approx((6 / 9, clopper_pearson(6, 13)[0], clopper_pearson(10, 13)[1]))


@pytest.mark.parametrize("seed", range(4))
def test_the_density_is_the_slope_of_the_least_concave_majorant(seed: int) -> None:
    n = 40
    ranks = np.random.default_rng(seed).geometric(0.1, 12).clip(max=n)
    every = np.append(ranks, n)  # one more error counts as found last
    cdf = np.array([(every <= rank).mean() for rank in range(n + 1)])
    majorant = [
        max(cdf[a] + (cdf[b] - cdf[a]) * ((x - a) / (b - a) if b > a else 0) for a in range(x + 1) for b in range(x, n + 1))
        for x in range(n + 1)
    ]
    np.testing.assert_allclose(Curve(ranks, n).density.cumsum(), majorant[1:], atol=1e-12)


def test_the_rank_of_equal_values_is_the_mean_of_their_places() -> None:
    values = np.random.default_rng(0).integers(0, 9, 50).astype(float)
    below, equal = (compare(values[None], values[:, None]).sum(axis=1) for compare in (np.less, np.equal))
    np.testing.assert_allclose(scores.ranked(values), (below + (equal + 1) / 2) / 50)


def test_the_rank_of_a_planted_error_counts_only_examples_that_are_not_planted_and_ties_count_against_it() -> None:
    suspicion = np.array([9.0, 8.0, 7.0, 7.0, 1.0, 8.5])
    assert planted.ranks_among(suspicion, np.array([1, 2, 5])).tolist() == [2, 3, 2]


def test_well_separated_errors_are_counted_right_without_a_mark_and_with_marks() -> None:
    n, wrong, rng = 2000, 200, np.random.default_rng(0)
    curve = Curve(rng.integers(1, wrong + 1, 60), n)  # planted errors are among the user's own errors
    assert mixture_count(curve, n) == pytest.approx(wrong, rel=0.3)
    assert marked_count(curve, 400, precision=0.5, n=n) == pytest.approx(wrong, rel=0.05)
    by_rank = probabilities(curve, wrong)
    assert (np.diff(by_rank) <= 1e-12).all()
    assert by_rank.max() <= 61 / 62
    assert by_rank[:150].mean() > 0.8 > 0.05 > by_rank[400:].mean()


def test_without_any_error_of_the_user_the_mixture_counts_nearly_none() -> None:
    assert mixture_count(Curve(np.ones(30, dtype=int), 1000), 1000) == 0


def test_recall_is_the_share_of_planted_errors_within_the_list() -> None:
    assert recall(np.array([1, 5, 5, 30]), 5) == pytest.approx((0.75, *clopper_pearson(3, 4)))


# --- planted errors and folds


def test_a_planted_label_is_neither_the_given_nor_the_predicted_one_and_labels_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    labels, p = rng.integers(0, 5, 3000), rng.dirichlet(np.ones(5), 3000)
    before = labels.copy()
    found = planted.plant(labels, p, 0.02, seed=1)
    changed = found.into(labels)
    assert (labels == before).all()
    assert len(found.positions) == 60
    assert np.bincount(found.kinds).tolist() == [30, 30]
    assert (np.flatnonzero(changed != labels) == found.positions).all()
    assert (found.labels != p.argmax(axis=1)[found.positions]).all()


def test_confused_errors_follow_the_confusion_and_uniform_ones_do_not() -> None:
    n = 3000
    labels = np.random.default_rng(0).integers(0, 3, n)
    p = np.full((n, 3), 0.01)
    p[np.arange(n), labels] = 0.9
    p[labels == 1, 0] += 0.09  # what looks like class 0 often has the label 1
    found = planted.plant(labels, p, 0.1, seed=0)
    of_zero = labels[found.positions] == 0
    ones = [found.labels[of_zero & (found.kinds == kind)] == 1 for kind in (0, 1)]
    assert abs(ones[0].mean() - 0.5) < 0.2
    assert ones[1].mean() > 0.75


def test_folds_spread_every_class_evenly() -> None:
    labels = np.repeat(np.arange(4), [50, 23, 7, 1])
    fold = folds.folds_of(labels, 5, seed=0)
    for label in range(4):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(fold)) <= 1


def test_combining_keeps_one_method_in_memory() -> None:
    rng = np.random.default_rng(0)
    labels, alive = rng.integers(0, 3, 50), []

    def methods() -> Iterator[tuple[str, Found]]:
        for number in range(6):
            gc.collect()
            assert sum(each() is not None for each in alive) <= 1
            found = Found(rng.dirichlet(np.ones(3), 50), *rng.random((3, 50)))
            alive.append(weakref.ref(found))
            yield f"m{number}", found
            del found

    assert scores.combine(methods(), labels).disagreement.max() <= 1


# --- marks


def toy(names: tuple[str, ...] = ("a", "b", "c", "d")) -> Audited:
    import torch

    return Audited("suite", torch.zeros(len(names), 2), np.arange(len(names)) % 2, ("cat", "dog"), names)


def test_the_random_sample_ends_at_the_first_example_without_a_mark() -> None:
    given = {3: marks.Mark("wrong", None), 1: marks.Mark("right", None), 0: marks.Mark("unsure", None)}
    assert marks.sampled(given, [3, 1, 2, 0]) == [3, 1]
    assert marks.counted(given, [3, 1]) == (1, 1, 0)
    assert marks.sampled(given, [1, 0, 3]) == [1, 0, 3]


def test_a_length_that_is_marked_whole_counts_whatever_follows_it() -> None:
    n = 300
    suspicion = np.linspace(1, 0, n)
    judged = judging.Judged(
        scores.Scores(suspicion, np.full((n, 2), 0.5), np.zeros(n), np.zeros(n)),
        {},
        planted.Planted(np.arange(20), np.zeros(20, dtype=int), np.arange(20) % 2),
        np.arange(1, 21),
    )
    given = {position: marks.Mark("wrong" if position < 10 else "right", None) for position in range(50)}
    found = trust.measured(judged, np.zeros(n, dtype=int), given, None, 0)
    rows = {row.length: row.precision for row in found.lengths}
    assert list(rows) == [10, 20, 50, 100]
    assert (rows[10].endswith("of 10 marks"), rows[50].endswith("of 50 marks")) == (True, True)
    assert rows[50].startswith("20 (")
    assert found.marked == (10, 40, 0)
    assert found.probability[:50].tolist() == [1.0] * 10 + [0.0] * 40


def test_cleaning_relabels_and_drops_as_marked_and_keeps_the_columns_of_a_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"height": [1.5, 2.5, 3.5, 4.5], "label": [7, 9, 7, 9]})
    import torch

    data = Audited("table", torch.zeros(4, 1), np.array([0, 1, 0, 1]), ("7", "9"), ("1", "2", "3", "4"), table=table)
    (tmp_path / "m.csv").write_text("name,given,mark,label\n1,7,wrong,9\n2,9,wrong,\n3,7,right,\n4,9,unsure,\n")
    found, relabelled, dropped = marks.cleaned(data, marks.read(tmp_path / "m.csv", data))
    assert (relabelled, dropped) == (1, 1)
    assert found.to_dict("list") == {"height": [1.5, 3.5, 4.5], "label": [9, 7, 9]}
    assert table["label"].tolist() == [7, 9, 7, 9]


# --- a whole audit


@dataclass
class Whole:
    """A finished audit of digits as a table. wrong: rows with a wrong label"""

    directory: Path
    file: Path
    true: np.ndarray
    wrong: np.ndarray
    suspects: pd.DataFrame


def digits(file: Path, n: int = 900, share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Write digits with wrong labels as .npz; return true labels and the mask of the wrong ones."""
    from sklearn.datasets import load_digits

    bunch, rng = load_digits(), np.random.default_rng(0)
    true = bunch.target[:n].astype(np.int64)
    wrong = np.zeros(n, dtype=bool)
    wrong[rng.permutation(n)[: round(share * n)]] = True
    given = np.where(wrong, (true + rng.integers(1, 10, n)) % 10, true)
    np.savez(file, X=bunch.data[:n], y=given)
    return true, wrong


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    directory = tmp_path_factory.mktemp("audit")
    true, wrong = digits(directory / "digits.npz")
    assert main([str(directory / "digits.npz"), "--out", str(directory / "out"), "--plant", "0.1", *SMALL]) == 0
    suspects = pd.read_csv(directory / "out" / "suspects.csv")
    return Whole(directory, directory / "digits.npz", true, wrong, suspects)


def positions(whole: Whole) -> np.ndarray:
    return whole.suspects["name"].to_numpy() - 1


def test_known_errors_lead_the_list(audited: Whole) -> None:
    wrong = audited.wrong[positions(audited)]
    assert len(wrong) == len(audited.wrong)
    assert auroc(-audited.suspects["suspicion"].to_numpy(), wrong) > 0.97
    assert wrong[: audited.wrong.sum()].mean() > 0.8


def test_the_suggested_label_of_most_errors_is_the_true_one(audited: Whole) -> None:
    found = positions(audited)
    wrong = audited.wrong[found]
    assert (audited.suspects["suggested"].to_numpy() == audited.true[found])[wrong].mean() > 0.9


def test_the_recall_that_planted_errors_estimate_is_close_to_the_true_one(audited: Whole) -> None:
    wrong = audited.wrong[positions(audited)]
    true_recall = wrong.cumsum() / wrong.sum()
    for length in (45, 90, 135, 270):
        row = audited.suspects.iloc[length - 1]
        assert row["recall_low"] <= row["recall_to_here"] <= row["recall_high"]
        assert abs(row["recall_to_here"] - true_recall[length - 1]) < 0.15


def test_the_probability_of_being_wrong_is_calibrated_before_any_mark(audited: Whole) -> None:
    wrong = audited.wrong[positions(audited)]
    probability = audited.suspects["probability_wrong"].to_numpy()
    assert abs(probability.sum() - wrong.sum()) < 0.35 * wrong.sum()
    for part in np.array_split(np.arange(300), 3):
        assert abs(probability[part].mean() - wrong[part].mean()) < 0.2


def test_every_method_shows_its_evidence_for_every_example(audited: Whole) -> None:
    for method in ("elr", "gce"):
        for kind in ("margin", "loss", "aum", "weight", "prediction"):
            assert audited.suspects[f"{method}.{kind}"].notna().all()


def test_no_example_is_predicted_by_a_model_that_trained_on_it(audited: Whole) -> None:
    files = sorted((audited.directory / "out" / "work" / "original").glob("elr-*.npz"))
    assert len(files) == 3
    parts = [np.load(file) for file in files]
    assert sorted(np.concatenate([part["held_out"] for part in parts])) == list(range(900))
    assert all(np.intersect1d(part["held_out"], part["kept"]).size == 0 for part in parts)


def test_a_second_audit_trains_nothing_and_a_lost_result_costs_its_own_training(
    audited: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, trained = audited.directory / "out", []
    train = folds.train
    monkeypatch.setattr(running.folds, "train", lambda job, *rest: (trained.append(job.path), train(job, *rest)))
    before = (out / "suspects.csv").read_bytes()
    command = [str(audited.file), "--out", str(out), "--plant", "0.1", "--processes", "1", *SMALL]
    assert main(command) == 0
    assert trained == []
    lost = next((out / "work" / "planted").glob("gce-*.npz"))
    lost.unlink()
    assert main(command) == 0
    assert trained == [lost]
    assert (out / "suspects.csv").read_bytes() == before


def test_marks_of_the_random_sample_measure_precision_and_all_marks_change_probabilities(
    audited: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    out = audited.directory / "marked"
    (out).mkdir()
    (out / "work").symlink_to(audited.directory / "out" / "work")
    command = [str(audited.file), "--out", str(out), "--plant", "0.1", "--top", "180", *SMALL]
    keys = trust.numpy_stream(0, "audit sample").random(900)
    listed = positions(audited)[:180]
    sample = listed[np.argsort(keys[listed])][:40]
    given = dict(zip(audited.suspects["name"], audited.suspects["given"], strict=True))
    kinds = ["wrong" if audited.wrong[position] else "right" for position in sample]
    lines = [f"{position + 1},{given[position + 1]},{kind}," for position, kind in zip(sample, kinds, strict=True)]
    (out / "marks.csv").write_text("\n".join(["name,given,mark,label", *lines]))
    assert main([*command, "--marks", str(out / "marks.csv")]) == 0
    hits = kinds.count("wrong")
    low, high = stats.binomtest(hits, 40).proportion_ci(method="exact")
    printed = capsys.readouterr().out
    assert f"{100 * hits / 40:.0f} ({100 * low:.0f} to {100 * high:.0f}) of 40 marks" in printed
    assert low <= audited.wrong[listed].mean() <= high
    found = pd.read_csv(out / "suspects.csv").set_index("name")["probability_wrong"]
    assert [found[position + 1] for position in sample] == [float(kind == "wrong") for kind in kinds]


def test_data_of_the_suite_is_compared_with_its_true_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["device=cpu", "trainer.steps=4", "model.width=2", "--folds", "2", "--methods", "gce", "l2rw", "--out", str(tmp_path)]
    assert main(["dataset=digits", "noise=uniflip", *tiny]) == 0
    printed = capsys.readouterr().out
    for words in (
        "AUROC",
        "confident learning on the mean probabilities",
        "cleanlab: self_confidence",
        "l2rw weight",
        "true recall",
        "prune by noise rate",
    ):
        assert words in printed


# --- killing


def run_alone(arguments: list[str]) -> None:
    os.setpgrp()
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
        raise SystemExit(main(arguments))


def started(arguments: list[str]) -> ForkProcess:
    process = FORK.Process(target=run_alone, args=(arguments,))
    process.start()
    return process


def test_a_killed_audit_continues_and_gives_the_same_list(tmp_path: Path) -> None:
    digits(tmp_path / "digits.npz", n=120)
    command = [str(tmp_path / "digits.npz"), "--processes", "1", *TINY]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "killed"
    process = started([*command, "--out", str(out)])
    wait(lambda: len(list(out.rglob("*-*.npz"))) >= 2 or not process.is_alive())
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert not (out / "suspects.csv").exists() or process.exitcode == 0
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*-*.npz")}
    assert main([*command, "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (out / "suspects.csv").read_bytes() == (tmp_path / "whole" / "suspects.csv").read_bytes()
    assert list(out.rglob("*.pt")) == []


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    digits(tmp_path / "digits.npz", n=300)
    arguments = [str(tmp_path / "digits.npz"), "--processes", "2", "--out", str(tmp_path / "out"), *TINY, "trainer.steps=100000"]
    process = started([each for each in arguments if each != "trainer.steps=6"])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait(lambda: len(children.read_text().split()) == 2)
    pids = children.read_text().split()
    process.kill()
    process.join()
    wait(lambda: not any(_runs(pid) for pid in pids))


def test_ctrl_c_leaves_checkpoints_that_the_same_command_continues(tmp_path: Path) -> None:
    digits(tmp_path / "digits.npz", n=300)
    endless = [*TINY[1:], "trainer.steps=100000", "checkpoint_seconds=1"]
    process = started([str(tmp_path / "digits.npz"), "--processes", "2", "--out", str(tmp_path / "out"), *endless])
    checkpoints = tmp_path / "out" / "work" / "original"
    wait(lambda: len(list(checkpoints.glob("*.pt"))) >= 2)
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert len([path for path in checkpoints.glob("*.pt") if ".previous" not in path.name]) == 2


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_numbers_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    digits(tmp_path / "digits.npz", n=120)
    for count in ("1", "2"):
        assert main([str(tmp_path / "digits.npz"), "--processes", count, "--out", str(tmp_path / count), *TINY]) == 0
    one, two = ((tmp_path / count / "suspects.csv").read_bytes() for count in ("1", "2"))
    assert one == two
    with (tmp_path / "1" / "suspects.csv").open() as file:
        assert [int(row["rank"]) for row in csv.DictReader(file)] == list(range(1, 121))
