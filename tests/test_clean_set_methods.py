"""Methods that learn with a clean set: l2b, fsr, gdw, mslc and mlc, against backward on backward through a step and closed forms."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datasets.noise import NoNoise
from methods.base import Batch, Knowledge, Method, Weighted, normalised
from methods.fsr import FSR
from methods.gdw import GDW, class_weighted
from methods.l2b import L2B, bootstrapped
from methods.l2rw import L2RW
from methods.meta_gradient import clean_gradient, logits_along, slopes
from methods.meta_weight_net import MetaWeightNet
from methods.mlc import MLC
from methods.mslc import MSLC
from methods.reed import Reed
from methods.registry import build
from methods.sam import SAM
from methods.schedules import Schedule, Schedules
from robust_benchmark.errors import UserError
from tests.by_hand import CLASSES, LR, Bare, Bench, Seen, Stepping, at, bench, gradient_of, some_images, some_labels
from tests.conftest import toy_task
from tests.references import one_step as reference
from tests.references import softmax
from tests.resuming import trained

N, M = 9, 6
METHODS = (L2B, FSR, GDW, MSLC, MLC)
LABELS = some_labels(20, seed=3)
CLEAN = Batch(some_images(M, seed=9), some_labels(M, seed=9), torch.arange(M), source="clean")


def of(name: str, make: Callable[[], nn.Module] | None = None, **options: object) -> Bench:
    config = {"name": name, "clean_batch_size": M, **options}
    return bench(config, LABELS, some_images(20), *([lambda _: make()] if make else []))


def batch_of(b: Bench, index: torch.Tensor, clean: Batch = CLEAN) -> Batch:
    return b.batch(index, _draw_clean=lambda size: clean, clock=at())


def stepped(b: Bench, index: torch.Tensor, phase: int = -1) -> list[Seen]:
    return Stepping(b.method, b.phases()[phase]).step(batch_of(b, index))


def random_index(seed: int = 0) -> torch.Tensor:
    return torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:N]


def errors(z: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Gradient of cross-entropies by logits, (n, K)."""
    return z.softmax(dim=1) - targets


def onehot(labels: torch.Tensor) -> torch.Tensor:
    return F.one_hot(labels, CLASSES).double()


def close(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-12)


def steeper(network: nn.Module) -> None:
    """A network that is further from a constant than at the start."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)


# L2B


@pytest.mark.parametrize("seed", range(3))
def test_the_weights_of_l2b_are_those_of_the_unrolled_step(seed: int) -> None:
    b, index = of("l2b"), random_index(seed)
    model, y, epsilon = b.models[0], LABELS[index], torch.zeros(2, N, dtype=torch.float64, requires_grad=True)
    z = reference.called(model, dict(model.named_parameters()), b.images[index]).detach()

    def g(z: torch.Tensor) -> torch.Tensor:
        return epsilon[0, :, None] * errors(z, onehot(y)) + epsilon[1, :, None] * errors(z, onehot(z.argmax(dim=1)))

    (gradient,) = reference.meta_gradient(model, b.images[index], g, [epsilon], (CLEAN.images, CLEAN.labels), LR)
    w = (-gradient).clamp(min=0)
    w = w / w.sum()
    expected = reference.gradient_of(
        model,
        b.images[index],
        lambda z: w[0] @ F.cross_entropy(z, y, reduction="none") + w[1] @ F.cross_entropy(z, z.argmax(dim=1), reduction="none"),
    )
    seen = stepped(b, index)
    close(gradient_of(seen, b.method, model), expected)
    close(seen[-1].weights, w[0] + w[1] * (z.argmax(dim=1) == y))


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_l2b_with_fixed_weights_is_hard_bootstrapping(beta: float) -> None:
    class Fixed(L2B):
        def weights(self, z: torch.Tensor, dz: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.full((len(z),), beta / len(z)).double(), torch.full((len(z),), (1 - beta) / len(z)).double()

    b, reed, index = of("l2b"), Reed(beta=beta), random_index()
    fixed = Fixed()
    fixed.model, reed.model = b.models[0], copy.deepcopy(b.models[0])
    close(fixed.loss(batch_of(b, index)).loss, reed.loss(batch_of(b, index)))


def test_where_predictions_are_the_labels_l2b_is_l2rw() -> None:
    b, index = of("l2b"), random_index()
    model = b.models[0]
    guess = reference.called(model, dict(model.named_parameters()), b.images[index]).argmax(dim=1)
    batch = b.batch(index, labels=guess, _draw_clean=lambda _: CLEAN)
    l2rw = L2RW()
    l2rw.model = copy.deepcopy(model)
    found, expected = b.method.loss(batch), l2rw.loss(batch)
    close(found.example_weights, expected.example_weights)
    close(found.loss, expected.loss)


def test_the_weights_of_l2b_sum_to_one_or_are_zero() -> None:
    b = of("l2b")
    z, labels = torch.randn(N, CLASSES).double(), some_labels(N)
    given, predicted = b.method.weights(z, torch.randn(N, CLASSES).double(), labels)
    assert (given.sum() + predicted.sum()).item() == pytest.approx(1)
    assert min(given.min(), predicted.min()) >= 0
    zero = b.method.weights(z, torch.zeros_like(z), labels)
    assert all((part == 0).all() for part in zero)


def test_the_example_weight_of_l2b_is_all_that_the_given_label_gets() -> None:
    z = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    found = bootstrapped(z, torch.tensor([0, 1]), torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4]))
    torch.testing.assert_close(found.example_weights, torch.tensor([0.4, 0.2]))


# FSR


@pytest.mark.parametrize("step", [1e-3, 0.1, 2.0])
def test_the_slopes_of_fsr_are_those_of_the_unrolled_step_of_the_last_layer(step: float) -> None:
    b, index = of("fsr", step=step), random_index()
    y, epsilon = LABELS[index], torch.full((N,), 1 / N, dtype=torch.float64, requires_grad=True)
    (gradient,) = reference.meta_gradient(
        b.models[0],
        b.images[index],
        lambda z: epsilon[:, None] * errors(z, onehot(y)),
        [epsilon],
        (CLEAN.images, CLEAN.labels),
        step,
        moved=("output.weight", "output.bias"),
    )
    _, u = b.method.logits_and_slopes(batch_of(b, index), CLEAN)
    close(u, -gradient / step)
    w = normalised((-gradient).clamp(min=0))
    expected = reference.gradient_of(b.models[0], b.images[index], lambda z: w @ F.cross_entropy(z, y, reduction="none"))
    seen = stepped(b, index)
    close(gradient_of(seen, b.method, b.models[0]), expected)
    close(seen[-1].weights, w)


def test_without_a_step_fsr_is_the_recipe_of_l2rw_with_a_direction_of_the_last_layer() -> None:
    b, index = of("fsr", step=0.0), random_index()
    direction = clean_gradient(b.models[0], CLEAN.images, CLEAN.labels)
    last = {name: value for name, value in direction.items() if name.startswith("output.")}
    z, dz = logits_along(copy.deepcopy(b.models[0]), b.images[index], last)
    found_z, u = b.method.logits_and_slopes(batch_of(b, index), CLEAN)
    close(found_z, z)
    close(u, slopes(z, dz, LABELS[index]))


def test_on_a_linear_model_the_slopes_of_fsr_have_their_closed_form() -> None:
    images, clean_images = some_images(N, shape=(1, 1, CLASSES)), some_images(M, seed=5, shape=(1, 1, CLASSES))
    b = bench({"name": "fsr", "step": 0.7}, LABELS[:N], images, lambda _: Bare())
    h, h_clean, W = images.numpy().reshape(N, -1), clean_images.numpy().reshape(M, -1), np.eye(CLASSES)
    e = softmax(h @ W.T) - np.eye(CLASSES)[LABELS[:N]]
    ahead = W - 0.7 * e.T @ h / N
    V = (softmax(h_clean @ ahead.T) - np.eye(CLASSES)[CLEAN.labels]).T @ h_clean / M
    _, u = b.method.logits_and_slopes(b.batch(torch.arange(N)), Batch(clean_images, CLEAN.labels))
    np.testing.assert_allclose(u.detach().numpy(), (e * (h @ V.T)).sum(axis=1), rtol=1e-9)


def test_the_clean_pass_of_fsr_leaves_running_averages() -> None:
    method = trained(FSR).method
    assert {int(value) for name, value in method.named_buffers() if name.endswith("num_batches_tracked")} == {10}


# GDW


def gdw_by_the_card(b: Bench, index: torch.Tensor, outer_lr: float = 100.0, limit: float = 0.2) -> tuple[list[torch.Tensor], ...]:
    """The gradient of the model, of V, and the weights of the labels; with p_y of at most 0.999, as in the released code."""
    model, V, y, rows = b.models[0], b.method.weighting, LABELS[index], torch.arange(N)
    z = reference.called(model, dict(model.named_parameters()), b.images[index]).detach()
    p = z.softmax(dim=1).clamp(max=0.999)
    D = p - onehot(y)
    start = V(F.cross_entropy(z, y, reduction="none")[:, None]).expand(N, CLASSES)
    omega = start.detach().clone().requires_grad_()
    clean = (CLEAN.images, CLEAN.labels)
    (g,) = reference.meta_gradient(model, b.images[index], lambda z: omega * D / N, [omega], clean, LR)
    by_V = reference.meta_gradient(model, b.images[index], lambda z: start * D / N, list(V.parameters()), clean, LR)
    moved = (omega.detach() - (outer_lr * g / g.abs().sum()).clamp(-limit, limit)).clamp(1e-6, 1e6)
    moved[rows, y] = ((moved * p).sum(dim=1) - moved[rows, y] * p[rows, y]) / (1 - p[rows, y])
    by_model = reference.gradient_of(model, b.images[index], lambda z: (moved * D / N * z).sum())
    return by_model, list(by_V), [moved[rows, y] / N]


@pytest.mark.parametrize("options", [{}, {"outer_lr": 1.0, "limit": 0.5}, {"outer_lr": 1e4, "limit": 10.0}])
def test_a_step_of_gdw_is_that_of_the_card(options: dict[str, float]) -> None:
    b, index = of("gdw", **options), random_index()
    steeper(b.method.weighting)
    by_model, by_V, weights = gdw_by_the_card(b, index, **options)
    seen = stepped(b, index)
    close(gradient_of(seen[:1], b.method, b.models[0]), by_model)
    close(list(seen[1].gradients.values()), by_V)
    close(seen[1].weights, weights[0])
    assert all(g.abs().max() > 1e-6 for g in by_V)


def test_class_level_weights_of_one_are_plain_cross_entropy() -> None:
    z = some_images(N, shape=(CLASSES,)).requires_grad_()
    loss = class_weighted(z, LABELS[:N], torch.ones(N, CLASSES).double())
    plain = F.cross_entropy(z, LABELS[:N])
    close(torch.autograd.grad(loss, z), torch.autograd.grad(plain, z))
    close(loss, plain)


def test_the_gradient_of_gdw_sums_to_zero_over_classes_also_for_sure_predictions() -> None:
    b, labels = of("gdw"), LABELS[:N]
    z = some_images(N, shape=(CLASSES,))
    z[0, labels[0]] += 50  # p_y is 1 in float64
    omega = b.method.moved(z, some_images(N, seed=1, shape=(CLASSES,)), labels)
    z = z.requires_grad_()
    (gradient,) = torch.autograd.grad(class_weighted(z, labels, omega), z)
    assert gradient.abs().max() > 1e-3
    close(gradient.sum(dim=1), torch.zeros(N, dtype=torch.float64))
    assert (omega >= 1e-6).all()
    assert omega.std() > 0.01


def test_if_omega_does_not_move_gdw_reweights_examples_by_v_and_v_learns_as_in_meta_weight_net() -> None:
    b, index = of("gdw", outer_lr=0.0), random_index()
    steeper(b.method.weighting)
    mwn = MetaWeightNet(normalise=False)
    mwn.model, mwn.weighting = copy.deepcopy(b.models[0]), copy.deepcopy(b.method.weighting)
    batch = batch_of(b, index)
    (update, _) = mwn.phases(Schedules())[0].updates
    expected = torch.autograd.grad(update.objective(batch), list(mwn.weighting.parameters()))
    loss, weights = mwn.loss(batch)
    plain = list(torch.autograd.grad(loss, list(mwn.model.parameters())))
    seen = stepped(b, index)
    close(gradient_of(seen[:1], b.method, b.models[0]), plain)
    close(list(seen[1].gradients.values()), list(expected))
    close(seen[1].weights, weights)
    assert seen[0].loss == seen[1].loss == pytest.approx(loss.item())


# MSLC


def mslc_losses(
    b: Bench, z: torch.Tensor, y: torch.Tensor, s: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """a and b as functions of constants, the training loss by the card, and the new soft labels."""
    f, old, guess = (F.cross_entropy(z, labels, reduction="none") for labels in (y, s.argmax(dim=1), z.argmax(dim=1)))
    a, c = b.method.given(f.detach()[:, None])[:, 0], b.method.earlier(old.detach()[:, None])[:, 0]
    loss = (a * f + (1 - a) * (c * old + (1 - c) * guess)).mean()
    a, c = a[:, None], c[:, None]
    return a, c, loss, a * onehot(y) + (1 - a) * (c * s + (1 - c) * z.softmax(dim=1))


def mslc_bench() -> Bench:
    b = of("mslc", warm_up=0.5)
    for network in (b.method.given, b.method.earlier):
        steeper(network)
    b.method.soft.copy_(some_images(20, seed=4, shape=(CLASSES,)).softmax(dim=1))
    return b


def test_a_step_of_mslc_is_that_of_the_card() -> None:
    b, index = mslc_bench(), random_index()
    model, method, y, soft = b.models[0], b.method, LABELS[index], b.method.soft.clone()
    networks = [*method.given.parameters(), *method.earlier.parameters()]

    def g(z: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(mslc_losses(b, z, y, soft[index])[2], z, create_graph=True)[0]

    expected = reference.meta_gradient(model, b.images[index], g, networks, (CLEAN.images, CLEAN.labels), LR)
    stepping, batch = Stepping(method, b.phases()[-1]), batch_of(b, index)
    learnt = stepping.update(0, batch)
    close([*learnt.gradients.values()], list(expected))
    assert all(gradient.abs().max() > 1e-7 for gradient in expected)
    by_model = reference.gradient_of(model, b.images[index], lambda z: mslc_losses(b, z, y, soft[index])[2])
    z = reference.called(model, dict(model.named_parameters()), b.images[index]).detach()
    loss, new = (value.detach() for value in mslc_losses(b, z, y, soft[index])[2:])
    moved = stepping.update(1, batch)
    close(gradient_of([moved], method, model), by_model)
    close(moved.loss, loss)
    close(method.soft[index], new)
    close(moved.weights, new[torch.arange(N), y] / N)
    others = torch.tensor([position for position in range(20) if position not in index.tolist()])
    assert torch.equal(method.soft[others], soft[others])


def test_mslc_that_trusts_the_given_labels_is_plain_cross_entropy() -> None:
    b, index = mslc_bench(), random_index()
    with torch.no_grad():
        b.method.given[2].bias.fill_(1e3)
    found = b.method.loss(batch_of(b, index))
    plain = reference.called(b.models[0], dict(b.models[0].named_parameters()), b.images[index])
    close(found.loss, F.cross_entropy(plain, LABELS[index]))
    close(b.method.soft[index], onehot(LABELS[index]))


def test_soft_labels_of_mslc_are_given_ones_then_predictions_then_mixtures_and_sum_to_one() -> None:
    b = of("mslc", warm_up=0.5)
    close(b.method.soft, onehot(LABELS))
    index = random_index()
    z = reference.called(b.models[0], dict(b.models[0].named_parameters()), b.images[index]).detach()
    stepped(b, index, phase=0)
    close(b.method.soft[index], z.softmax(dim=1))
    stepped(b, index)
    close(b.method.soft.sum(dim=1), torch.ones(20).double())
    assert not torch.equal(b.method.soft[index], z.softmax(dim=1))


# MLC


class Given(nn.Module):
    """A corrector that keeps labels; its parameter has no effect."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()).double())

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return onehot(labels) + 0 * self.nothing


def with_features(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    features = copy.deepcopy(model).features(images).detach()
    return model.output(features).detach(), features


@pytest.mark.parametrize("size", [6, 5, 1])
def test_a_step_of_mlc_is_that_of_the_card(size: int) -> None:
    b, index = of("mlc", hidden=4, embedding=3), random_index()
    steeper(b.method.corrector)
    clean, half = Batch(CLEAN.images[:size], CLEAN.labels[:size]), size // 2
    model, corrector, y = b.models[0], b.method.corrector, LABELS[index]
    images = torch.cat([b.images[index], clean.images[:half]])
    _, features = with_features(model, images)
    q = corrector(features[:N], y)
    targets = torch.cat([q, onehot(clean.labels[:half])])
    outer = (clean.images[half:], clean.labels[half:])
    by_C = reference.meta_gradient(model, images, lambda z: errors(z, targets) / (N + half), list(corrector.parameters()), outer, LR)
    parts = targets.detach().split([N, half])
    by_model = reference.gradient_of(
        model,
        images,
        lambda z: (F.cross_entropy(z[:N], parts[0]) * N + F.cross_entropy(z[N:], parts[1], reduction="sum")) / (N + half),
    )
    seen = Stepping(b.method, b.phases()[0]).step(batch_of(b, index, clean))
    close(gradient_of(seen[:1], b.method, model), by_model)
    found = seen[1].gradients
    close([found[f"corrector.{name}"] for name, _ in corrector.named_parameters()], list(by_C))
    close(seen[1].weights, q.detach()[torch.arange(N), y] / N)


def test_a_corrector_that_keeps_labels_makes_mlc_plain_training_with_clean_images() -> None:
    b, index = of("mlc"), random_index()
    b.method.corrector = Given()
    images, labels = torch.cat([b.images[index], CLEAN.images[:3]]), torch.cat([LABELS[index], CLEAN.labels[:3]])
    plain = reference.gradient_of(b.models[0], images, lambda z: F.cross_entropy(z, labels))
    seen = stepped(b, index)
    close(gradient_of(seen[:1], b.method, b.models[0]), plain)
    assert seen[1].gradients["corrector.nothing"] == 0


# All of them


class NoBias(nn.Module):
    """Linear in the pixels, without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.output = nn.Flatten(), nn.Linear(16, CLASSES, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(images))


@pytest.mark.parametrize("name", ["gdw", "mslc", "mlc"])
def test_where_no_gradient_meets_the_clean_one_the_networks_do_not_learn(name: str) -> None:
    b, index = of(name, make=NoBias), random_index()
    b.images[..., :2] = 0
    clean = Batch(CLEAN.images.clone(), CLEAN.labels)
    clean.images[..., 2:] = 0  # the images of the two batches light no common pixel
    seen = Stepping(b.method, b.phases()[-1]).step(batch_of(b, index, clean))
    learnt = [gradient for each in seen for part, gradient in each.gradients.items() if not part.startswith("model.")]
    assert len(learnt) >= 4
    assert all((gradient == 0).all() for gradient in learnt)


@pytest.mark.parametrize("make", [L2B, FSR])
def test_an_example_that_the_clean_set_contradicts_gets_no_weight(make: type[Method]) -> None:
    images = some_images(4, shape=(1, 4, 4))
    b = bench({"name": make.__module__.rpartition(".")[2]}, torch.tensor([0, 1, 2, 0]), images, lambda _: NoBias())
    with torch.no_grad():
        b.method.model.output.weight.zero_()
    right = Batch(images[:1], torch.tensor([1]))  # the first image, with another label
    batch = b.batch(torch.arange(4), _draw_clean=lambda _: right)
    found = b.method.loss(batch)
    assert isinstance(found, Weighted)
    assert found.example_weights[0] == 0
    assert found.example_weights.sum() > 0


@pytest.mark.parametrize("make", METHODS)
def test_they_declare_the_clean_set_and_refuse_a_task_without_one(make: type[Method]) -> None:
    assert make().needs == Knowledge.CLEAN_SET
    with pytest.raises(UserError, match=rf"^{make.__name__} needs a clean set, and the split leaves it empty: give split.clean_per_class$"):
        trained(make, toy_task(NoNoise(), clean_per_class=0))


@pytest.mark.parametrize("make", METHODS)
def test_they_train_with_a_clean_set_that_misses_a_class(make: type[Method]) -> None:
    task = toy_task(NoNoise())
    task.clean.labels.fill_(1)
    task.clean.true_labels.fill_(1)
    trainer = trained(make, task)
    assert not trainer.progress.diverged


@pytest.mark.parametrize("make", METHODS)
def test_a_wrapper_leaves_them_as_they_are(make: type[Method]) -> None:
    plain, wrapped = trained(make), trained(lambda: SAM(make(), rho=0.0))
    torch.testing.assert_close(wrapped.method.get_submodule("base").state_dict(), plain.method.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "lengths"), [("l2b", [10, 290]), ("fsr", [30, 270]), ("mslc", [200, 100]), ("gdw", [300]), ("mlc", [300])]
)
def test_epochs_of_the_papers_are_shares_of_training(name: str, lengths: list[int]) -> None:
    phases = build({"name": name}).phases(Schedules(main=Schedule(300)))
    assert [phase.schedule.steps for phase in phases] == lengths


@pytest.mark.parametrize("name", ["fsr", "mlc"])
def test_a_model_without_features_is_refused(name: str) -> None:
    sentence = rf"^{name} needs a model with `features` and a linear layer `output`, which Sequential does not have$"
    with pytest.raises(UserError, match=sentence):
        of(name, make=lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES)))
