"""Forward, backward, Dual-T and GLC: losses and estimates of T against plain loops and closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from benchmark import run
from datasets.augment import Preprocessing
from methods.base import Batch, Knowledge, Method
from methods.glc import gold_matrix
from methods.transition import Corrected, anchor_matrix, confusion_shares
from tests.by_hand import CLASSES, Bare, Bench, bench, some_images, some_labels
from tests.references import cross_entropies, numerical_gradient, softmax
from tests.references import transition as reference

N = 24
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()
IMAGES = some_images(N, shape=(1, 1, CLASSES), scale=2.0)
Z = IMAGES.numpy().reshape(N, CLASSES)
T = np.array([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])  # not symmetric, so that a transposed one shows


def a_bench(name: str, matrix: np.ndarray = T, **options: object) -> Bench:
    """The method with this T, on pixels that are logits."""
    b = bench({"name": name, **options}, LABELS, IMAGES, lambda _: Bare())
    if isinstance(b.method, Corrected):
        b.method.use(torch.from_numpy(matrix))
    else:
        b.method.get_buffer("transition").copy_(torch.from_numpy(matrix))
    return b


def loss_and_gradient(b: Bench, logits: np.ndarray, labels: np.ndarray, index: torch.Tensor | None = None) -> tuple[float, np.ndarray]:
    images = torch.from_numpy(logits).view(len(logits), 1, 1, -1).requires_grad_()
    positions = torch.arange(len(labels)) if index is None else index
    loss = b.method.loss(Batch(images, torch.from_numpy(labels), positions))
    (gradient,) = torch.autograd.grad(loss, images)
    return loss.item(), gradient.numpy().reshape(logits.shape)


SLOW = {"forward": reference.forward_loss, "dual_t": reference.forward_loss, "backward": reference.backward_loss}


@pytest.mark.parametrize("name", SLOW)
def test_loss_and_gradient_are_those_of_the_reference(name: str) -> None:
    loss, gradient = loss_and_gradient(a_bench(name), Z, Y)
    assert loss == pytest.approx(SLOW[name](Z, Y, T), rel=1e-9)
    expected = numerical_gradient(lambda z: SLOW[name](z, Y, T), Z)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)


@pytest.mark.parametrize("name", [*SLOW, "glc"])
def test_without_noise_the_loss_is_cross_entropy(name: str) -> None:
    loss, gradient = loss_and_gradient(a_bench(name, np.eye(CLASSES)), Z, Y)
    assert loss == pytest.approx(cross_entropies(Z, Y).mean())
    np.testing.assert_allclose(gradient, (softmax(Z) - np.eye(CLASSES)[Y]) / N, atol=1e-12)


def losses_of_each_label(name: str, logits: np.ndarray) -> list[float]:
    b = a_bench(name)
    return [loss_and_gradient(b, logits[None], np.array([label]))[0] for label in range(CLASSES)]


def test_forward_probabilities_of_given_labels_sum_to_one() -> None:
    assert sum(np.exp(-loss) for loss in losses_of_each_label("forward", Z[0])) == pytest.approx(1)


def test_backward_is_unbiased_for_every_true_label() -> None:
    np.testing.assert_allclose(T @ losses_of_each_label("backward", Z[0]), -np.log(softmax(Z[:1])[0]), rtol=1e-9)


def test_backward_of_symmetric_noise_is_negative_label_smoothing() -> None:
    rate = 0.3
    symmetric = (1 - rate) * np.eye(CLASSES) + rate / CLASSES
    loss, _ = loss_and_gradient(a_bench("backward", symmetric), Z, Y)
    expected = (cross_entropies(Z, Y) - rate * (-np.log(softmax(Z)).mean(axis=1))) / (1 - rate)
    assert loss == pytest.approx(expected.mean())


def test_certain_predictions_keep_losses_and_gradients_finite() -> None:
    certain = 1000 * np.eye(CLASSES)
    for name in SLOW:
        loss, gradient = loss_and_gradient(a_bench(name, np.eye(CLASSES)), certain, np.array([1, 1, 0]))
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()


def test_a_matrix_without_information_does_not_blow_up_the_backward_loss() -> None:
    loss, _ = loss_and_gradient(a_bench("backward", np.full((CLASSES, CLASSES), 1 / CLASSES)), Z, Y)
    assert abs(loss) < 10


def some_predictions(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return softmax(2 * rng.standard_normal((n, 4))), rng.integers(0, 4, n)


@pytest.mark.parametrize("percentile", [50.0, 90.0, 97.0, 100.0])
@pytest.mark.parametrize("n", [3, 40, 101, 200])
def test_anchor_points_are_those_of_the_reference(percentile: float, n: int) -> None:
    p, _ = some_predictions(n)
    found = anchor_matrix(torch.from_numpy(p), percentile)
    np.testing.assert_allclose(found.numpy(), reference.anchor_matrix(p, percentile), rtol=1e-12)


def test_anchor_points_of_equal_predictions_are_any_of_them() -> None:
    p = torch.full((10, 4), 0.25)
    torch.testing.assert_close(anchor_matrix(p), torch.full((4, 4), 0.25))


@pytest.mark.parametrize("seed", range(3))
def test_dual_t_is_the_reference_s_product(seed: int) -> None:
    p, labels = some_predictions(seed=seed)
    p[:, 3] = 1e-3  # is never predicted
    p /= p.sum(axis=1, keepdims=True)
    method = bench({"name": "dual_t"}, LABELS, IMAGES, lambda _: Bare()).method
    found = method.estimate(torch.from_numpy(p), torch.from_numpy(labels))
    np.testing.assert_allclose(found.numpy(), reference.dual_matrix(p, labels), rtol=1e-10)
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 1)


def test_dual_t_s_count_is_the_identity_for_predicted_labels_and_t_for_predicted_truth() -> None:
    rng = np.random.default_rng(0)
    true = torch.from_numpy(rng.integers(0, 3, 6000))
    given = torch.tensor([rng.choice(3, p=T[k]) for k in true])
    torch.testing.assert_close(confusion_shares(F.one_hot(given, 3).float(), given), torch.eye(3))
    np.testing.assert_allclose(confusion_shares(F.one_hot(true, 3).double(), given).numpy(), T, atol=0.03)


# The estimating phase


def pixels(images: torch.Tensor) -> np.ndarray:
    return softmax(images.numpy().reshape(len(images), -1))


@pytest.mark.parametrize("name", ["forward", "backward", "dual_t"])
def test_the_best_epoch_s_classifier_estimates_t_and_training_starts_again(name: str) -> None:
    b = bench({"name": name}, LABELS, IMAGES, lambda _: Bare())
    estimation, main = b.phases()
    weight = b.method.model.output.weight
    held = b.method.held_out.numpy()
    losses = []
    for scale in (0.5, -1.0, 3.0, 0.1):  # as after so many epochs
        weight.data = scale * torch.eye(CLASSES, dtype=torch.float64)
        losses.append(cross_entropies(scale * Z[held], Y[held]).sum())
        if scale != 0.1:
            estimation.every_epoch(b.view, b.batch(torch.arange(1)).clock)
    assert main.before(b.view) is None  # it looks at the last epoch
    best = (0.5, -1.0, 3.0, 0.1)[int(np.argmin(losses))]
    p = softmax(best * Z)
    expected = reference.dual_matrix(p, Y) if name == "dual_t" else reference.anchor_matrix(p)
    np.testing.assert_allclose(b.method.transition.numpy(), expected, rtol=1e-9)
    torch.testing.assert_close(weight.detach(), torch.eye(CLASSES, dtype=torch.float64))


def test_a_tenth_is_held_out_of_the_estimating_phase() -> None:
    b = bench({"name": "forward"}, LABELS, IMAGES, lambda _: Bare())
    rows = b.phases()[0].sample(LABELS, 7, torch.Generator().manual_seed(0))
    assert rows.shape == (3, 7)  # of 22
    assert int(b.method.held_out.sum()) == 2
    assert not b.method.held_out[rows].any()


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_a_given_matrix_is_declared_and_used_from_the_start(name: str) -> None:
    b = bench({"name": name, "matrix": "given"}, LABELS, IMAGES, lambda _: Bare())
    assert b.method.needs == Knowledge.TRANSITION_MATRIX
    torch.testing.assert_close(b.method.transition, b.view.transition_matrix)
    assert len(b.phases()) == 1


# GLC


@pytest.fixture
def double_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of the clean set in float64, as the classifiers of these tests are."""
    normalise = Preprocessing.normalise
    monkeypatch.setattr(Preprocessing, "normalise", lambda self, stored: normalise(self, stored).double())


@pytest.mark.usefixtures("double_images")
def test_glc_counts_on_the_clean_set_and_trains_on_both() -> None:
    b = bench({"name": "glc"}, LABELS, some_images(N, shape=(1, 4, 4)))
    before = {name: value.clone() for name, value in b.method.model.state_dict().items()}
    p = clean_predictions(b)
    with torch.no_grad():
        b.method.model.output.weight.mul_(3)  # as if it had trained
    trained = clean_predictions(b)
    joined = b.phases()[1].before(b.view)
    assert not np.allclose(p, trained)
    np.testing.assert_allclose(b.method.transition.numpy(), reference.gold_matrix(trained, joined.labels.numpy()), rtol=1e-6)
    torch.testing.assert_close(b.method.model.state_dict(), before, rtol=0, atol=0)
    assert len(joined) == CLASSES
    assert b.method.model.training


def clean_predictions(b: Bench) -> np.ndarray:
    images = b.view._task.preprocessing.normalise(b.view.clean_set.images).double()
    b.method.model.eval()
    p = b.method.model(images).softmax(dim=1).detach().numpy()
    b.method.model.train()
    return p


def test_glc_s_loss_corrects_noisy_labels_alone() -> None:
    b = a_bench("glc")
    index = torch.arange(N) + N // 2  # the second half has joined
    loss, gradient = loss_and_gradient(b, Z, Y, index)
    gold = (index >= N).numpy()
    assert loss == pytest.approx(reference.gold_loss(Z, Y, gold, T), rel=1e-9)
    np.testing.assert_allclose(gradient, numerical_gradient(lambda z: reference.gold_loss(z, Y, gold, T), Z), atol=1e-8)


def test_gold_rows_of_classes_without_clean_images_are_the_identity_s() -> None:
    p, labels = some_predictions()
    labels[labels == 2] = 1
    found = gold_matrix(torch.from_numpy(p), torch.from_numpy(labels)).numpy()
    np.testing.assert_allclose(found, reference.gold_matrix(p, labels), rtol=1e-12)
    assert found[2].tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("name", ["forward", "glc"])
def test_the_estimated_matrix_is_in_the_weights_that_are_kept(name: str, tmp_path: Path) -> None:
    more = ["dataset=digits", "trials=1", "trainer.steps=2", f"results_dir={tmp_path}/r", f"checkpoint_dir={tmp_path}/c", "keep=[weights]"]
    assert run.main([f"method={name}", *more]) == 0
    (file,) = (tmp_path / "c").rglob("*.weights.safetensors")
    found = load_file(file)["transition"]
    assert found.shape == (10, 10)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(10))
    assert not torch.equal(found, torch.eye(10))


def test_methods_without_true_knowledge_declare_none() -> None:
    methods: list[Method] = [bench({"name": name}, LABELS, IMAGES, lambda _: Bare()).method for name in SLOW]
    assert {method.needs for method in methods} == {Knowledge.NONE}
