"""A network that corrects labels, learnt on clean data: meta label correction (MLC)."""

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, Knowledge, MakeModel, Method, Phase, Update, View, Weighted
from methods.meta_gradient import meta_objective
from methods.one_step import logits_ahead, with_value
from methods.parts import TwoParts, two_parts
from methods.probabilities import of_labels, single
from methods.registry import register
from methods.schedules import Optimiser, Schedules
from robust_benchmark.errors import at_least


@register
class MLC(Method):
    """Trains on soft labels q from a network of features and given labels, which learns so that a step reduces the clean loss.

        q_i = C(h_i, y_i), h_i: features before the output layer, constants;   C: (h, embedding of y) -> tanh -> tanh -> softmax
        loss = 1/(n + m) ( sum_i CE(z_i, q_i) + sum over half of the clean batch, m images, of CE )
        the model follows the gradient of this loss;  C follows, from the same point, the gradient of the mean clean loss of the
        other half at theta^ = theta - lr (gradient of this loss)

    The meta-gradient is exact, by one forward-mode pass (`methods.meta_gradient`), which serves the model's update too. Noisy and clean
    images of the loss share a batch. The example weight is q_iy / n. It ranks examples by the trust in their label. A step costs 1.72
    steps of L2RW on ResNet-32.

    clean_batch_size: clean images per step, at least 2, at most the whole clean set; one more in the second half if it is odd
    hidden: units of C's two hidden layers, at least 1
    embedding: size of the embedding of a label, at least 1; the released commands for CIFAR have 128
    lr: of C's Adam, at least 0; it is constant, without weight decay

    Needs: the clean set, and a model with `features`. Source: Zheng, Awadallah and Dumais, "Meta Label Correction for Noisy Label
    Learning", AAAI 2021; defaults from its released code, whose step also has momentum and weight decay in theta^, passes the two
    halves through the network separately, and has Adam with AMSGrad. The code with more than one look-ahead step, whose meta-gradient
    is not exact, is not included.
    """

    needs = Knowledge.CLEAN_SET
    model: TwoParts

    def __init__(self, clean_batch_size: int = 100, hidden: int = 128, embedding: int = 64, lr: float = 3e-4) -> None:
        super().__init__()
        self.clean_batch_size = int(at_least("clean_batch_size", clean_batch_size, 2))
        self.hidden, self.embedding = int(at_least("hidden", hidden, 1)), int(at_least("embedding", embedding, 1))
        self.optimiser = Optimiser("adam", lr=at_least("lr", lr, 0))

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.model, self.classes = two_parts(make_model(), "mlc"), view.num_classes
        self.corrector = Corrector(self.model.output.in_features, self.classes, self.embedding, self.hidden)

    def phases(self, schedules: Schedules) -> list[Phase]:
        learn = Update(self.clean_loss_ahead, parts=("corrector",), optimiser=self.optimiser)
        return [Phase("main", schedules.main, (Update(self.loss), learn))]  # the model's update sees the corrector before its own

    def loss(self, batch: Batch) -> torch.Tensor:
        n, K = len(batch.labels), self.classes
        clean = batch.draw_clean(self.clean_batch_size)
        half = len(clean.labels) // 2
        direct, outer = Batch(clean.images[:half], clean.labels[:half]), Batch(clean.images[half:], clean.labels[half:])

        def targets(outputs: torch.Tensor) -> torch.Tensor:
            q = self.corrector(outputs[:n, K:].detach(), batch.labels)
            return torch.cat([q, F.one_hot(direct.labels, K).to(q)])

        def train_loss(outputs: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(outputs[:, :K], targets(outputs))

        images = torch.cat([batch.images, direct.images])
        outputs, tangent, step = logits_ahead(LogitsAndFeatures(self.model), images, train_loss, batch.clock.lr, outer, classes=K)
        q = targets(outputs).detach()
        loss = F.cross_entropy(outputs[:, :K], q)
        ahead = with_value(meta_objective(train_loss, outputs, tangent, step), loss)
        batch.shared["clean loss ahead"] = Weighted(ahead, of_labels(q[:n], batch.labels) / n)
        return loss

    def clean_loss_ahead(self, batch: Batch) -> Weighted:
        """Return a scalar whose gradient by C is that of the clean loss at theta^; the update of the model has computed it."""
        if "clean loss ahead" not in batch.shared:  # for held-out images, whose weights the suite asks of the last update
            self.loss(batch)
        return batch.shared["clean loss ahead"]


class LogitsAndFeatures(nn.Module):
    """A model that returns its logits and its features in one tensor, (n, K + d)."""

    def __init__(self, model: TwoParts) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.model.features(images)
        logits = self.model.output(features)
        (_, K), (_, d) = logits.shape, features.shape
        return F.pad(logits, (0, d)) + F.pad(features, (K, 0))  # `methods.dual` has rules for both, and none for torch.cat


class Corrector(nn.Module):
    """C: features, (n, d), and labels, (n,), to soft labels, (n, K)."""

    def __init__(self, features: int, classes: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.labels = nn.Embedding(classes, embedding)
        layers = nn.Linear(features + embedding, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, classes)
        self.layers = nn.Sequential(*layers)
        nn.init.xavier_uniform_(self.labels.weight)
        for layer in layers[::2]:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return single(self.layers(torch.cat([features, self.labels(labels)], dim=1))).softmax(dim=1)
