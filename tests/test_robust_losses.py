"""Robust losses against references in plain Python, and against the closed forms of their papers. Pixels are logits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, Phase, Weighted, scalar
from methods.gjs import divergence
from methods.peer_loss import PeerLoss
from methods.probabilities import log_probabilities
from methods.registry import build
from tests.by_hand import CLASSES, Bare, Bench, at, bench, logits_of, schedules, seen, some_images, some_labels
from tests.references import Array, cross_entropies, numerical_gradient, one_hot, softmax
from tests.references import robust_losses as reference

N = 20
PIXELS = (1, 1, CLASSES)
LABELS = some_labels(N, seed=3)
Example = Callable[[Array, int], float]


def ready(scale: float = 1.5, **config: Any) -> Bench:
    """A method set up on random logits."""
    return bench(config, LABELS, some_images(N, 7, PIXELS, scale), lambda _: Bare())


INDEX = torch.tensor([4, 0, 11, 7, 19, 2])
OF_ONE: dict[str, tuple[dict[str, Any], Example]] = {
    "gce": ({}, reference.gce),
    "gce q=0.2": ({"q": 0.2}, lambda p, y: reference.gce(p, y, 0.2)),
    "mae": ({}, reference.mae),
    "sce": ({}, reference.sce),
    "sce for CIFAR-100": ({"alpha": 6.0, "beta": 0.1}, lambda p, y: reference.sce(p, y, 6, 0.1)),
    "nce_rce": ({}, reference.nce_rce),
    "nce_rce for CIFAR-100": ({"alpha": 10.0, "beta": 0.1}, lambda p, y: reference.nce_rce(p, y, 10, 0.1)),
    "nce_mae": ({}, reference.nce_mae),
    "nce_mae for MNIST": ({"alpha": 1.0, "beta": 10.0}, lambda p, y: reference.nce_mae(p, y, 1, 10)),
    "label_smoothing": ({}, reference.label_smoothing),
    "label_smoothing 0.6": ({"smoothing": 0.6}, lambda p, y: reference.label_smoothing(p, y, 0.6)),
    "js": ({}, lambda p, y: reference.gjs([p], y, 0.7)),
    "js pi=0.1": ({"pi": 0.1}, lambda p, y: reference.gjs([p], y, 0.1)),
}


@pytest.mark.parametrize("scale", [0.3, 1.5, 6.0])
@pytest.mark.parametrize("case", OF_ONE)
def test_a_loss_and_its_gradient_are_those_of_the_formula(case: str, scale: float) -> None:
    options, of_one = OF_ONE[case]
    b = ready(scale, name=case.partition(" ")[0], **options)
    found, gradient = seen(b, INDEX)
    logits, labels = logits_of(b, INDEX), LABELS[INDEX].numpy()

    def of_batch(z: Array) -> float:
        return reference.mean(reference.each(z, labels, of_one))

    assert scalar(found).item() == pytest.approx(of_batch(logits), rel=1e-9)
    np.testing.assert_allclose(gradient, numerical_gradient(of_batch, logits), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["gce", "mae", "sce"])
def test_where_a_loss_depends_on_p_y_alone_its_weights_are_what_its_gradient_multiplies_that_of_cross_entropy_by(name: str) -> None:
    b = ready(name=name)
    found, gradient = seen(b, INDEX)
    assert isinstance(found, Weighted)
    of_cross_entropy = softmax(logits_of(b, INDEX)) - one_hot(LABELS[INDEX].numpy(), CLASSES)
    np.testing.assert_allclose(gradient, found.example_weights.numpy()[:, None] * of_cross_entropy, rtol=1e-9)
    assert not found.example_weights.requires_grad


EXTREME = torch.tensor([[200.0, -200.0, 0.0], [0.0, 0.0, 0.0], [-1e4, 1e4, 0.0]])
PLAIN = ["gce", "mae", "sce", "nce_rce", "nce_mae", "label_smoothing", "js", "gjs", "logit_clip", "cores2", "peer_loss", "nlnl"]


@pytest.mark.parametrize("name", PLAIN)
def test_a_loss_and_its_gradient_are_finite_where_probabilities_underflow(name: str) -> None:
    labels = torch.tensor([1, 1, 1, 0, 0, 0])
    b = bench({"name": name}, labels, EXTREME.repeat(2, 1).view(6, *PIXELS), lambda _: Bare())
    b.method.float()
    for phase, share in itertools.product(b.phases(), (0, 9)):
        images = b.images.clone().requires_grad_()
        batch = b.batch(torch.arange(6), images=images, other_views=(images.flip(0),) * (len(phase.views) - 1), clock=at(share))
        (update,) = phase.updates
        loss = scalar(update.objective(batch))
        (gradient,) = torch.autograd.grad(loss, images)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_log_probabilities_of_half_precision_are_in_single_precision() -> None:
    logits = torch.tensor([[9.0, -9.0, 0.0]], dtype=torch.bfloat16)
    for added in (0.0, 1e-8):
        found = log_probabilities(logits, added)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, np.log(softmax(logits.double().numpy()) + added), rtol=1e-5, atol=1e-6)


# closed forms


@pytest.mark.parametrize(
    ("config", "same"),
    [
        ({"name": "gce", "q": 1e-6}, lambda z, y: F.cross_entropy(z, y)),
        ({"name": "gce", "q": 1.0}, lambda z, y: (1 - F.softmax(z, 1).gather(1, y[:, None])).mean()),
        ({"name": "sce", "alpha": 1.0, "beta": 0.0}, lambda z, y: F.cross_entropy(z, y)),
        ({"name": "nce_mae", "alpha": 0.0}, lambda z, y: (1 - F.softmax(z, 1).gather(1, y[:, None])).mean()),
        ({"name": "label_smoothing", "smoothing": 0.0}, lambda z, y: F.cross_entropy(z, y)),
        ({"name": "js", "pi": 1e-6}, lambda z, y: F.cross_entropy(z, y)),
        ({"name": "logit_clip", "norm": 100.0}, lambda z, y: F.cross_entropy(z, y)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_at_the_ends_of_its_options_a_loss_is_one_that_is_known(config: dict[str, Any], same: Callable[..., torch.Tensor]) -> None:
    b = ready(**config)
    found, _ = seen(b, INDEX)
    assert scalar(found).item() == pytest.approx(same(b.images[INDEX].flatten(1), LABELS[INDEX]).item(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "total"), [("mae", 2.0 * (CLASSES - 1)), ("nce_rce", 1 + 9.2103404 * (CLASSES - 1)), ("nce_mae", CLASSES)]
)
def test_a_symmetric_loss_under_all_labels_has_a_constant_sum(name: str, total: float) -> None:
    b = ready(name=name)
    for image in b.images:
        images = image.expand(CLASSES, *PIXELS)
        found = b.method.loss(Batch(images, torch.arange(CLASSES), torch.arange(CLASSES)))
        assert CLASSES * scalar(found).item() == pytest.approx(total)


def test_reverse_cross_entropy_is_9_21_times_one_minus_p() -> None:
    b = ready(name="sce", alpha=0.0)
    found, _ = seen(b, INDEX)
    p = softmax(logits_of(b, INDEX))[np.arange(6), LABELS[INDEX].numpy()]
    assert scalar(found).item() == pytest.approx(9.210340371976182 * (1 - p).mean())


# truncated GCE


def test_truncated_gce_leaves_out_what_its_last_judgement_did_not_believe() -> None:
    b = ready(name="gce", threshold=0.5)
    p = softmax(b.images.numpy().reshape(N, CLASSES))[np.arange(N), LABELS.numpy()]
    everything, _ = seen(b, INDEX)
    phase = b.phases()[1]
    assert phase.before is not None
    phase.before(b.view)
    assert 0 < (p > 0.5).sum() < N
    found, gradient = seen(b, INDEX, phase=1)
    kept, logits, labels = (p > 0.5)[INDEX.numpy()], logits_of(b, INDEX), LABELS[INDEX].numpy()
    assert scalar(everything).item() == pytest.approx(reference.truncated_gce(logits, labels, np.ones(6)))
    assert scalar(found).item() == pytest.approx(reference.truncated_gce(logits, labels, kept))
    expected = numerical_gradient(lambda z: reference.truncated_gce(z, labels, kept), logits)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


def test_truncated_gce_judges_from_a_third_of_training_on_eight_times() -> None:
    parts = [phase.schedule.steps for phase in build({"name": "gce", "threshold": 0.5}).phases(schedules(120))]
    assert parts == [40] + [10] * 8
    assert [phase.schedule.steps for phase in build({"name": "gce"}).phases(schedules(120))] == [120]


# two views


def test_gjs_is_the_divergence_of_the_label_and_both_views_and_symmetric_in_them() -> None:
    b = ready(name="gjs", pi=0.4)
    one, other = some_images(6, 1, PIXELS).requires_grad_(), some_images(6, 2, PIXELS)
    y = LABELS[INDEX].numpy()
    found = scalar(b.method.loss(b.batch(INDEX, images=one, other_views=(other,))))
    swapped = scalar(b.method.loss(b.batch(INDEX, images=other, other_views=(one,))))
    second = softmax(other.numpy().reshape(6, CLASSES))

    def expected(z: Array) -> float:
        return reference.mean([reference.gjs([p, second[i]], int(y[i]), 0.4) for i, p in enumerate(softmax(z))])

    logits = one.detach().numpy().reshape(6, CLASSES)
    (gradient,) = torch.autograd.grad(found, one, retain_graph=True)
    assert found.item() == pytest.approx(expected(logits))
    assert found.item() == pytest.approx(swapped.item())
    np.testing.assert_allclose(gradient.numpy().reshape(6, CLASSES), numerical_gradient(expected, logits), rtol=1e-5, atol=1e-8)


def test_the_scaled_divergence_is_zero_for_equal_distributions_and_at_most_the_entropy_of_the_weights() -> None:
    sure = torch.tensor([[0.0, -400.0, -400.0]]).log_softmax(dim=1)
    assert divergence(torch.stack([sure, sure]), torch.tensor([0]), 0.3).item() == pytest.approx(0, abs=1e-6)
    apart = torch.stack([sure, sure.roll(1, dims=1)])
    largest = -(0.3 * np.log(0.3) + 0.7 * np.log(0.35)) / -(0.7 * np.log(0.7))
    assert divergence(apart, torch.tensor([2]), 0.3).item() == pytest.approx(largest, rel=1e-5)


@pytest.mark.parametrize(("strength", "views"), [("weak", ("weak", "weak")), ("strong", ("strong", "strong"))])
def test_gjs_asks_for_two_views_and_js_for_one(strength: str, views: tuple[str, str]) -> None:
    (phase,) = build({"name": "gjs", "strength": strength}).phases(schedules())
    assert phase.views == views
    assert build({"name": "js"}).phases(schedules())[0].views == ("weak",)


# mixup


def test_mixup_mixes_images_and_losses_by_one_share_with_a_permutation() -> None:
    b = ready(name="mixup")
    torch.manual_seed(5)
    found, _ = seen(b, INDEX)
    torch.manual_seed(5)
    w = torch.distributions.Dirichlet(torch.ones(2)).sample().max().item()
    partner = torch.rand(6).argsort().numpy()
    logits, labels = logits_of(b, INDEX), LABELS[INDEX].numpy()
    expected = reference.mixup(w * logits + (1 - w) * logits[partner], labels, partner, w)
    assert scalar(found).item() == pytest.approx(expected, rel=1e-6)


def test_the_larger_share_for_the_first_gives_the_batches_that_the_drawn_one_gives() -> None:
    logits, labels, partner = some_images(5, 1, (CLASSES,)).numpy(), some_labels(5).numpy(), np.array([3, 0, 4, 1, 2])
    inverse = np.argsort(partner)
    losses = [reference.mixup(w * logits + (1 - w) * logits[j], labels, j, w) for w, j in ((0.2, partner), (0.8, inverse))]
    assert losses[0] == pytest.approx(losses[1])


# clipped logits


@pytest.mark.parametrize("norm", [0.5, 1.0, 2.5])
def test_logit_clip_is_cross_entropy_of_clipped_logits_and_predicts_by_them(norm: float) -> None:
    b = ready(name="logit_clip", norm=norm)
    found, gradient = seen(b, INDEX)
    labels, logits = LABELS[INDEX].numpy(), logits_of(b, INDEX)

    def expected(z: Array) -> float:
        return reference.mean(reference.each(reference.clipped(z, norm), labels, reference.cross_entropy))

    assert scalar(found).item() == pytest.approx(expected(logits))
    np.testing.assert_allclose(gradient, numerical_gradient(expected, logits), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(b.method.predict(b.images[INDEX]).detach(), reference.clipped(logits, norm), rtol=1e-12)
    assert b.method.predict(50 * b.images).norm(dim=1).max() <= norm * (1 + 1e-12)


def test_logit_clip_clips_logits_of_half_precision_in_single_precision() -> None:
    b = ready(name="logit_clip")
    b.method.bfloat16()
    logits = b.method.predict(b.images.bfloat16())
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.norm(dim=1).detach().max(), 1, rtol=1e-6)


# peer loss and CORES2


@pytest.mark.parametrize("epoch", [0, 10, 25, 40, 60, 100, 150, 250, 299])
def test_peer_loss_follows_the_released_curve(epoch: int) -> None:
    assert PeerLoss().weight(torch.tensor(epoch / 300, dtype=torch.float64)).item() == pytest.approx(
        reference.released_peer_alpha(epoch), abs=1e-6
    )
    assert PeerLoss(alpha=2.0, ramp=False).weight(torch.tensor(epoch / 300)) == 2


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_peer_loss_is_cross_entropy_less_that_of_permuted_labels(alpha: float) -> None:
    b = ready(name="peer_loss", alpha=alpha, ramp=False)
    b.method.double()
    torch.manual_seed(2)
    found, gradient = seen(b, INDEX)
    torch.manual_seed(2)
    labels = LABELS[INDEX]
    peers, logits = labels[torch.rand(6).argsort()].numpy(), logits_of(b, INDEX)
    expected = reference.peer_loss(logits, labels.numpy(), peers, alpha)
    assert scalar(found).item() == pytest.approx(expected, rel=1e-5)
    slopes = numerical_gradient(lambda z: reference.peer_loss(z, labels.numpy(), peers, alpha), logits)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-6)


def test_the_mean_of_peer_loss_over_all_permutations_is_cores2_with_the_labels_of_the_batch_as_prior() -> None:
    logits, labels = some_images(4, 1, (CLASSES,)).numpy(), np.array([0, 1, 1, 2])
    means = np.mean([reference.peer_loss(logits, labels, labels[list(order)], 0.5) for order in itertools.permutations(range(4))])
    prior = np.bincount(labels, minlength=CLASSES) / 4
    assert means == pytest.approx(reference.cores(logits, labels, prior, 0.5), rel=1e-4)


def test_a_constant_prediction_has_no_peer_loss_at_weight_one() -> None:
    b = ready(name="peer_loss", ramp=False)
    found = b.method.loss(Batch(torch.tensor([1.0, 2.0, -1.0]).double().expand(6, *PIXELS), LABELS[INDEX]))
    assert scalar(found).item() == pytest.approx(0, abs=1e-6)


def cores_phase(b: Bench) -> Phase:
    (phase,) = b.phases()
    return phase


@pytest.mark.parametrize("step", [0, 10, 25, 30, 31, 35, 40, 90])
def test_cores2_regularises_along_its_ramp_and_sieves_from_its_share_on(step: int) -> None:
    b = ready(name="cores2")
    prior = np.array([0.2, 0.5, 0.3])
    b.method.prior.copy_(torch.from_numpy(prior))  # type: ignore[operator]
    logits, labels = logits_of(b, INDEX), LABELS[INDEX].numpy()
    kept = reference.cores_kept(logits, labels) if step >= 31 else [True] * 6
    found, gradient = seen(b, INDEX, clock=at(step, steps=100))
    beta = reference.cores_beta(step)
    assert isinstance(found, Weighted)
    assert found.loss.item() == pytest.approx(reference.cores(logits, labels, prior, beta, kept), rel=1e-5)
    slopes = numerical_gradient(lambda z: reference.cores(z, labels, prior, beta, kept), logits)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.example_weights, np.array(kept) / sum(kept), rtol=1e-6)


def test_cores2_s_gradient_is_p_minus_y_less_beta_times_p_minus_prior() -> None:
    b = ready(name="cores2")
    _, gradient = seen(b, INDEX, clock=at(20, steps=100))
    beta, p, y = 2 / 3, softmax(logits_of(b, INDEX)), one_hot(LABELS[INDEX].numpy(), CLASSES)
    np.testing.assert_allclose(gradient, (p - y - beta * (p - 1 / 3)) / (1 + beta) / 6, rtol=1e-4, atol=1e-6)


def test_cores2_before_its_ramp_is_cross_entropy_even_where_the_label_seems_impossible() -> None:
    b = ready(scale=30.0, name="cores2")
    found, gradient = seen(b, INDEX, clock=at(5, steps=100))
    logits, labels = logits_of(b, INDEX), LABELS[INDEX].numpy()
    assert softmax(logits)[np.arange(6), labels].min() < 1e-9
    assert scalar(found).item() == pytest.approx(cross_entropies(logits, labels).mean())
    np.testing.assert_allclose(gradient, (softmax(logits) - one_hot(labels, CLASSES)) / 6, atol=1e-12)


def test_cores2_counts_its_prior_without_the_examples_that_were_left_out() -> None:
    b = ready(name="cores2")
    seen(b, torch.arange(10), clock=at(90, steps=100))
    kept = np.array(reference.cores_kept(logits_of(b, torch.arange(10)), LABELS[:10].numpy()) + [True] * 10)
    assert 0 < kept[:10].sum() < 10
    begin = cores_phase(b).every_epoch
    assert begin is not None
    begin(b.view, at())
    counts = np.bincount(LABELS.numpy()[kept], minlength=CLASSES)
    np.testing.assert_allclose(b.method.prior, counts / counts.sum(), rtol=1e-6)


def test_cores2_keeps_all_where_predictions_are_uniform() -> None:
    b = ready(scale=0.0, name="cores2")
    found, _ = seen(b, INDEX, clock=at(90, steps=100))
    assert isinstance(found, Weighted)
    np.testing.assert_allclose(found.example_weights, 1 / 6, rtol=1e-6)


# negative learning


def of_complements(expected: bool, seed: int = 0) -> tuple[torch.Tensor, Array, Array]:
    b = ready(scale=2.0, name="nlnl", expected=expected)
    torch.manual_seed(seed)
    log_p = F.log_softmax(b.images.flatten(1), dim=1)
    found = b.method.of_complements(log_p, LABELS)  # type: ignore[operator]
    return found, log_p.exp().numpy(), LABELS.numpy()


def test_negative_learning_draws_each_label_but_the_given_one_equally_often() -> None:
    counts = np.zeros((N, CLASSES))
    for seed in range(300):
        found, p, labels = of_complements(expected=False, seed=seed)
        for i, value in enumerate(found.tolist()):
            (c,) = (c for c in range(CLASSES) if c != labels[i] and abs(reference.negative(p[i], c) - value) < 1e-12)
            counts[i, c] += 1
    assert (counts[np.arange(N), LABELS.numpy()] == 0).all()
    assert counts[counts > 0].min() > 100


def test_expected_negative_learning_is_the_mean_over_all_complementary_labels() -> None:
    found, p, labels = of_complements(expected=True)
    np.testing.assert_allclose(found, [reference.expected_negative(p[i], labels[i]) for i in range(N)], rtol=1e-9)


def test_nlnl_trains_on_the_believed_and_then_on_the_surest_by_their_running_means() -> None:
    b = ready(name="nlnl", expected=True)
    logits, labels = logits_of(b, torch.arange(N)), LABELS.numpy()
    p = softmax(logits)
    p_y = p[np.arange(N), labels]
    counts = np.bincount(labels, minlength=CLASSES)
    u = counts.max() / counts[labels]
    losses = np.array([reference.expected_negative(p[i], labels[i]) for i in range(N)])
    sure = p_y > 0.5
    assert len(set(u[sure])) > 1
    expected = [(u * losses).mean(), (u * losses)[p_y > 1 / 3].mean(), np.average(-np.log(p_y[sure]), weights=u[sure])]
    assert [scalar(seen(b, torch.arange(N), phase)[0]).item() for phase in range(3)] == pytest.approx(expected, rel=1e-6)


def test_it_is_the_running_mean_of_visits_that_decides() -> None:
    b = ready(name="nlnl")
    index = torch.tensor([3])
    p = []
    for visit in range(4):
        images = some_images(1, 50 + visit, PIXELS)
        log_p = F.log_softmax(images.flatten(1), dim=1)
        found = b.method._remembered(log_p, b.batch(index, images=images))  # type: ignore[operator]
        p.append(log_p.exp()[0, LABELS[3]].item())
        weights = [0.9 ** (visit - turn) for turn in range(visit + 1)]
        assert found.item() == pytest.approx(np.average(p, weights=weights), rel=1e-6)


# what all of them share


@pytest.mark.parametrize("name", [*PLAIN, "mixup", "self_paced", "pes"])
def test_they_see_nothing_but_noisy_labels(name: str) -> None:
    assert build({"name": name}).needs == Knowledge.NONE
