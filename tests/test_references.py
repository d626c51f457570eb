"""The references themselves, against closed forms, finite differences and published values."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.models.convnet import ConvNet
from tests.references import (
    coteaching,
    cross_entropies,
    dividemix,
    elr,
    ldam,
    meta_weight_net,
    numerical_gradient,
    one_hot,
    sam,
    softmax,
)

LONG_TAIL = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])  # CIFAR-10 at ratio 100


def some_logits(n: int = 6, classes: int = 4, seed: int = 0, scale: float = 1.5) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((n, classes))


def some_labels(n: int = 6, classes: int = 4, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, n)


# ELR


def test_elr_s_memory_after_s_equal_visits_is_one_minus_beta_to_the_s_of_p() -> None:
    logits, memory = some_logits(), np.zeros((10, 4))
    index = np.array([3, 1, 9, 0, 5, 2])
    for _ in range(5):
        memory = elr.after_visit(memory, index, logits, beta=0.7)
    np.testing.assert_allclose(memory[index], (1 - 0.7**5) * softmax(logits), rtol=1e-12)
    assert (memory[[4, 6, 7, 8]] == 0).all()
    assert memory.sum(axis=1).max() < 1


def test_elr_without_its_regulariser_is_the_mean_cross_entropy() -> None:
    logits, labels = some_logits(), some_labels()
    assert elr.loss(logits, labels, np.full((6, 4), 0.2), lam=0) == pytest.approx(cross_entropies(logits, labels).mean())


@pytest.mark.parametrize("scale", [1.0, 12.0])  # the latter has clamped probabilities
def test_elr_s_gradient_is_that_of_its_loss(scale: float) -> None:
    logits, labels = some_logits(scale=scale), some_labels()
    targets = elr.after_visit(np.zeros((6, 4)), np.arange(6), some_logits(seed=4), beta=0.3)
    expected = numerical_gradient(lambda z: elr.loss(z, labels, targets, lam=3.0), logits)
    np.testing.assert_allclose(elr.gradient(logits, labels, targets, lam=3.0), expected, rtol=1e-5, atol=1e-8)


def test_elr_s_regulariser_is_negative_and_its_descent_raises_the_target_s_best_class() -> None:
    logits, labels = some_logits(), some_labels()
    targets = elr.after_visit(np.zeros((6, 4)), np.arange(6), some_logits(seed=4), beta=0.3)
    assert elr.loss(logits, labels, targets, 1.0) < elr.loss(logits, labels, targets, 0.0)
    regulariser = elr.gradient(logits, labels, targets, 1.0) - elr.gradient(logits, labels, targets, 0.0)
    assert (regulariser[np.arange(6), targets.argmax(axis=1)] < 0).all()


# Co-teaching


def test_coteaching_forgets_linearly_up_to_the_noise_rate() -> None:
    shares = [coteaching.kept_share(epoch, noise_rate=0.4) for epoch in (0, 1, 5, 10, 50)]
    np.testing.assert_allclose(shares, [1, 0.96, 0.8, 0.6, 0.6])
    assert coteaching.kept_share(2.5, noise_rate=0.25, exponent=0.5) == 1 - 0.25 * 0.5


@pytest.mark.parametrize(("share", "n", "k"), [(1.0, 8, 8), (0.6, 10, 6), (1 - 0.4, 10, 6), (0.59, 10, 5), (0.8, 128, 102)])
def test_coteaching_keeps_the_floor(share: float, n: int, k: int) -> None:
    assert coteaching.kept(share, n) == k


def test_coteaching_that_keeps_all_is_two_plain_trainings() -> None:
    logits, labels = some_logits(), some_labels()
    everything, _ = coteaching.selections(logits, some_logits(seed=3), labels, k=6)
    loss, gradient = coteaching.loss_and_gradient(logits, labels, everything)
    assert loss == pytest.approx(cross_entropies(logits, labels).mean())
    np.testing.assert_allclose(gradient, (softmax(logits) - one_hot(labels, 4)) / 6)


def test_coteaching_swaps_selections_with_its_networks_and_breaks_ties_by_order() -> None:
    one, two, labels = some_logits(), some_logits(seed=3), some_labels()
    assert coteaching.selections(one, two, labels, 3) == coteaching.selections(two, one, labels, 3)[::-1]
    assert coteaching.smallest(np.array([2.0, 1.0, 1.0, 1.0]), 2) == [1, 2]


def test_coteaching_s_gradient_is_that_of_its_loss() -> None:
    logits, labels, kept = some_logits(), some_labels(), [0, 2, 5]
    expected = numerical_gradient(lambda z: coteaching.loss_and_gradient(z, labels, kept)[0], logits)
    np.testing.assert_allclose(coteaching.loss_and_gradient(logits, labels, kept)[1], expected, atol=1e-8)


# DivideMix


def test_dividemix_s_posterior_is_bayes_rule_for_two_known_normals() -> None:
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(1, 0.5, 30_000), rng.normal(6, 0.9, 10_000)])
    added = 5e-4 * (losses.max() - losses.min()) ** 2  # to each variance, on the scale of the losses
    normals = [(share, mean, np.sqrt(std**2 + added)) for share, mean, std in ((0.75, 1, 0.5), (0.25, 6, 0.9))]
    low, high = (share * scipy.stats.norm.pdf(losses, mean, std) for share, mean, std in normals)
    between = (losses > 0) & (losses < 6)
    np.testing.assert_allclose(dividemix.clean_probabilities(losses)[between], (low / (low + high))[between], atol=0.05)


def test_dividemix_scales_losses_to_zero_and_one() -> None:
    np.testing.assert_allclose(dividemix.scaled(np.array([2.0, 4.0, 3.0])), [0, 1, 0.5])


def test_dividemix_sharpens_by_powers() -> None:
    p = softmax(some_logits())
    np.testing.assert_allclose(dividemix.sharpened(p, 1.0), p)
    np.testing.assert_allclose(dividemix.sharpened(np.array([[0.75, 0.25]]), 0.5), [[0.9, 0.1]])


def test_dividemix_trusts_a_clean_label_and_else_its_own_mean_over_views() -> None:
    views, y = [softmax(some_logits(2, seed=s)) for s in (5, 6)], one_hot(np.array([1, 2]), 4)
    targets = dividemix.refined(np.array([1.0, 0.0]), y, views)
    np.testing.assert_allclose(targets[0], y[0])
    np.testing.assert_allclose(targets[1], dividemix.guessed(views)[1])


def test_dividemix_mixes_by_the_larger_share() -> None:
    values = np.array([[1.0], [2.0], [4.0]])
    for ratio in (0.25, 0.75):
        np.testing.assert_allclose(dividemix.mixed(values, ratio, np.array([1, 2, 0])), [[1.25], [2.5], [3.25]])


def test_dividemix_ramps_its_unlabelled_loss_after_the_warm_up() -> None:
    weights = [dividemix.unlabelled_weight(25, epoch, warm_up=10) for epoch in (0, 10, 14, 18, 26, 200)]
    assert weights == [0, 0, 6.25, 12.5, 25, 25]


def test_dividemix_without_an_unlabelled_weight_is_soft_cross_entropy_and_a_penalty() -> None:
    logits, targets = some_logits(8), one_hot(some_labels(8), 4)
    loss = dividemix.semi_loss(logits, targets, labelled=5, weight_u=0)
    assert loss - dividemix.prior_penalty(logits) == pytest.approx(cross_entropies(logits[:5], targets[:5].argmax(axis=1)).mean())
    squared = dividemix.semi_loss(logits, targets, labelled=5, weight_u=1) - loss
    by_loop = np.mean([np.mean((softmax(logits)[i] - targets[i]) ** 2) for i in range(5, 8)])
    assert squared == pytest.approx(by_loop)


def test_dividemix_s_penalty_is_the_divergence_of_the_mean_prediction_from_uniform() -> None:
    assert dividemix.prior_penalty(np.zeros((3, 5))) == pytest.approx(0)
    logits = some_logits()
    divergence = scipy.stats.entropy(np.full(4, 0.25), softmax(logits).mean(axis=0))
    assert dividemix.prior_penalty(logits) == pytest.approx(divergence)


def test_dividemix_warms_up_by_cross_entropy_minus_entropy() -> None:
    logits, labels = some_logits(), some_labels()
    plain, penalised = (dividemix.warm_up_loss(logits, labels, penalty) for penalty in (False, True))
    assert plain == pytest.approx(cross_entropies(logits, labels).mean())
    assert plain - penalised == pytest.approx(scipy.stats.entropy(softmax(logits), axis=1).mean())


def test_dividemix_s_warm_up_gradient_is_that_of_its_loss() -> None:
    logits, labels = some_logits(), some_labels()
    for penalty in (False, True):
        expected = numerical_gradient(lambda z, penalty=penalty: dividemix.warm_up_loss(z, labels, penalty), logits)
        np.testing.assert_allclose(dividemix.warm_up_gradient(logits, labels, penalty), expected, atol=1e-8)


# SAM


def quadratic() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    half = rng.standard_normal((5, 5))
    return half @ half.T, rng.standard_normal(5)


def test_sam_s_gradient_of_a_quadratic_is_its_closed_form() -> None:
    H, theta = quadratic()
    H_ = torch.from_numpy(H)
    parts = [torch.from_numpy(theta[:2]), torch.from_numpy(theta[2:])]  # one norm over both
    for adaptive, closed_form in ((False, sam.quadratic_gradient), (True, sam.adaptive_quadratic_gradient)):
        found = sam.gradient(lambda p: torch.cat(p) @ H_ @ torch.cat(p) / 2, parts, 0.3, adaptive)
        np.testing.assert_allclose(torch.cat(found), closed_form(H, theta, 0.3), rtol=1e-10)
    np.testing.assert_allclose(sam.quadratic_gradient(H, theta, 0.0), H @ theta)


def test_sam_moves_by_rho_and_the_adaptive_form_by_rho_relative_to_the_parameters() -> None:
    theta, g = [torch.tensor([1.0, -2.0]), torch.tensor([0.5])], [torch.tensor([3.0, 1.0]), torch.tensor([-2.0])]
    e = torch.cat(sam.perturbation(theta, g, rho=0.05))
    assert e.norm().item() == pytest.approx(0.05)
    relative = torch.cat(sam.perturbation(theta, g, 0.05, adaptive=True)) / torch.cat(theta).abs()
    assert relative.norm().item() == pytest.approx(0.05)


# Meta-Weight-Net


def mwn_scene(n: int = 7) -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = ConvNet(3, torch.Size((1, 8, 8)), width=2).double().train()
    net = {"hidden weight": torch.randn(100, 1), "hidden bias": torch.randn(100), "output weight": torch.randn(1, 100) / 10}
    net = {name: value.double() for name, value in (net | {"output bias": torch.randn(1)}).items()}
    train, clean = ({"images": torch.randn(k, 1, 8, 8).double(), "labels": torch.randint(0, 3, (k,))} for k in (n, 5))
    return model, net, train, clean


@pytest.mark.parametrize("normalise", [True, False])
def test_meta_weight_net_s_meta_gradient_is_finite_differences_of_the_clean_loss(normalise: bool) -> None:
    model, net, train, clean = mwn_scene()

    def clean_loss(changed: dict[str, torch.Tensor]) -> float:
        theta = meta_weight_net.parameters_of(model)
        f = meta_weight_net.per_example(model, theta, **train)
        gradients = torch.autograd.grad((meta_weight_net.weights(changed, f.detach(), normalise) * f).sum(), list(theta.values()))
        moved = {name: theta[name] - 0.1 * g for name, g in zip(theta, gradients, strict=True)}
        return meta_weight_net.per_example(model, moved, **clean).mean().item()

    found = meta_weight_net.meta_gradient(model, net, train, clean, 0.1, normalise)
    for name, h in (("hidden weight", 1e-6), ("output weight", 1e-5), ("output bias", 1e-5)):
        step = torch.zeros_like(net[name])
        step.view(-1)[0] = h
        slope = (clean_loss(net | {name: net[name] + step}) - clean_loss(net | {name: net[name] - step})) / (2 * h)
        assert found[name].view(-1)[0].item() == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_meta_weight_net_of_a_constant_net_normalised_is_plain_cross_entropy() -> None:
    model, net, train, clean = mwn_scene()
    net["output weight"].zero_()
    still = meta_weight_net.Adam(lr=0.0)
    step = meta_weight_net.step(model, net, still, train, clean, lr=0.1)
    expected = F.cross_entropy(model(train["images"]), train["labels"])
    torch.testing.assert_close(step.loss, expected.detach())
    torch.testing.assert_close(list(step.gradient.values()), list(torch.autograd.grad(expected, list(model.parameters()))))


def test_meta_weight_net_permutes_its_weights_with_the_batch() -> None:
    model, net, train, clean = mwn_scene()
    order = torch.randperm(7)
    permuted = {name: value[order] for name, value in train.items()}
    steps = [meta_weight_net.step(model, net, meta_weight_net.Adam(), part, clean, 0.1) for part in (train, permuted)]
    torch.testing.assert_close(steps[0].weights[order], steps[1].weights)


def test_meta_weight_net_s_adam_is_torch_s() -> None:
    _, net, _, _ = mwn_scene()
    theirs = {name: nn.Parameter(value.clone()) for name, value in net.items()}
    groups = [{"params": [theirs[name]], "weight_decay": 1e-4 if "weight" in name else 0.0} for name in theirs]
    torch_adam, adam = torch.optim.Adam(groups, lr=1e-3), meta_weight_net.Adam()
    for _ in range(3):
        gradient = {name: torch.randn_like(value) * 1e-4 for name, value in net.items()}
        for name, parameter in theirs.items():
            parameter.grad = gradient[name].clone()
        torch_adam.step()
        net = adam.step(net, gradient)
    torch.testing.assert_close(net, {name: value.detach() for name, value in theirs.items()}, rtol=1e-12, atol=1e-14)


# LDAM-DRW


def test_ldam_s_margins_are_the_published_ones() -> None:
    published = [0.1581, 0.1797, 0.2042, 0.2321, 0.2638, 0.2998, 0.3407, 0.3872, 0.4405, 0.5]
    np.testing.assert_allclose(ldam.margins(LONG_TAIL), published, atol=5e-5)
    np.testing.assert_allclose(ldam.margins(np.full(4, 70)), 0.5)


def test_class_balanced_weights_are_the_published_ones() -> None:
    w = ldam.class_balanced_weights(LONG_TAIL)
    np.testing.assert_allclose(w[[0, 1, 8, 9]], [0.05061, 0.07690, 2.40922, 3.99272], atol=5e-6)
    assert w.sum() == pytest.approx(10)
    np.testing.assert_allclose(ldam.class_balanced_weights(LONG_TAIL, beta=0.99)[[0, 9]], [0.78383, 1.98442], atol=5e-6)
    np.testing.assert_allclose(ldam.class_balanced_weights(LONG_TAIL, beta=0), 1)
    inverse = 1 / LONG_TAIL * 10 / (1 / LONG_TAIL).sum()
    np.testing.assert_allclose(ldam.class_balanced_weights(LONG_TAIL, beta=1 - 1e-9), inverse, rtol=1e-4)


def test_the_counts_of_the_check_values_fall_exponentially() -> None:
    assert LONG_TAIL.tolist() == [int(5000 * (1 / 100) ** (k / 9)) for k in range(10)]


def test_ldam_without_margins_is_the_scaled_cosine_softmax_and_with_them_no_smaller() -> None:
    rng, labels = np.random.default_rng(0), some_labels()
    cos = ldam.cosines(rng.standard_normal((6, 5)), rng.standard_normal((4, 5)))
    assert np.abs(cos).max() <= 1
    free = ldam.loss(cos, labels, np.zeros(4), np.ones(4))
    assert free == pytest.approx(cross_entropies(30 * cos, labels).mean())
    assert ldam.loss(cos, labels, ldam.margins(np.array([100, 50, 20, 5])), np.ones(4)) >= free


def test_deferred_weights_begin_at_their_share_of_training() -> None:
    for epoch, deferred in ((0, True), (159, True), (160, False), (199, False)):
        w = ldam.class_weights_at(epoch / 200, LONG_TAIL)
        assert (w == 1).all() == deferred
    assert (ldam.class_weights_at(0.999, LONG_TAIL, drw=1.0) == 1).all()
