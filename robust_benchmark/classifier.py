"""A scikit-learn classifier that trains with any method of the suite."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from robust_benchmark import imports
from robust_benchmark.errors import FEW, UserError, unknown

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

imports.module("benchmark")  # a fitted classifier that is read from a file contains objects of the suite's packages


class InvalidInput(UserError, ValueError):
    """A user's mistake, which scikit-learn expects as a ValueError."""


class RobustClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Train a classifier on labels that may be wrong; the methods, task and trainer are those of `robust-benchmark run`.

    method: name of a method, with options as on the command line, such as "l2rw" or "reed:beta=0.5"
    model: None for mlp on rows and convnet on images; the name of a model, such as "lenet"; a torch.nn.Module, which is copied with its
        weights; or a function of (number of classes, shape of an example) that returns one. It maps a batch to logits, (n, classes)
    steps, batch_size, lr: the options of the trainer; None for those of trainer=tables on rows and trainer=digits on images. With `steps`,
        an evaluation follows each tenth of them
    overrides: further options, such as ["trainer.weight_decay=1e-4", "method.clean_batch_size=50"], or a text with spaces between them
    random_state: an integer is the seed of a trial; else as in scikit-learn
    device: auto, cpu, cuda or cuda:N; auto is cuda if available

    After `fit`, for n training examples:
    classes_: the labels, sorted; n_features_in_: number of columns, or of channels
    example_weights_: the last weight of each example times the batch size, float32 (n,), NaN for an example that was never drawn; None
        if the method does not weigh examples
    suspects_: positions of all training examples, int64 (n,), the strongest evidence that the given label is wrong first: the lowest
        mean margin over the evaluations (Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", 2020)
    history_: a dict for each evaluation, as in a record; its metrics named test_* are measured on the clean set, even if the method trains
        on it, and without a clean set on the given training labels
    """

    def __init__(
        self,
        method: str = "l2rw",
        model: Any = None,
        *,
        steps: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        overrides: str | Sequence[str] = (),
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
    ) -> None:
        self.method = method
        self.model = model
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.overrides = overrides
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike, X_clean: ArrayLike | None = None, y_clean: ArrayLike | None = None) -> Self:
        """Train on examples with given labels. Only one thread of a process may train at a time.

        X: rows, (n, features), which are standardised by their columns; or images, (n, channels, height, width), uint8, or floating
            point, which reach the model as they are
        y: labels of any type that scikit-learn accepts, (n,)
        X_clean, y_clean: examples with labels that you trust, (m, ...) and (m,). Methods that need no clean set do not train on them
        Raises UserError, which here is also a ValueError, for a mistake.
        """
        with _as_value_errors():
            examples, given = self._checked(X, y, reset=True)
            self.classes_, labels = np.unique(given, return_inverse=True)
            if len(self.classes_) < 2:
                raise UserError(f"y has 1 class, {self.classes_[0]}, and at least 2 are needed")
            self._fit(examples, labels.astype(np.int64), self._clean(examples, X_clean, y_clean))
        return self

    def _fit(self, X: np.ndarray, labels: np.ndarray, clean: tuple[np.ndarray, np.ndarray] | None) -> None:
        suite = imports.module("benchmark.fitting")
        overrides = self.overrides.split() if isinstance(self.overrides, str) else self.overrides
        options = suite.Options(self.method, self.model, self.steps, self.batch_size, self.lr, overrides, self.device, self._seed())
        names = tuple(map(str, self.classes_))
        self._fitted = suite.fit(suite.Labelled(X, labels), clean and suite.Labelled(*clean), names, options)
        self.example_weights_ = self._fitted.weights
        self.suspects_ = np.argsort(self._fitted.margins, kind="stable")
        self.history_ = self._fitted.history

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return the probabilities of `classes_`, float32 (n, classes), computed on the CPU. Raises UserError and ValueError as `fit`."""
        check_is_fitted(self)
        with _as_value_errors():
            return self._fitted.predict_proba(self._checked(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the most probable labels, (n,). Raises UserError and ValueError as `fit`."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _checked(self, X: Any, y: Any = "no_validation", reset: bool = False) -> Any:
        """Return finite examples, with labels if there are some. Raises UserError for others."""
        try:
            checked = validate_data(self, X, y, reset=reset, allow_nd=True, ensure_all_finite=False)
            if isinstance(checked, tuple):
                check_classification_targets(checked[1])
        except ValueError as error:
            raise UserError(" ".join(str(error).split())) from error
        return (_examples(checked[0]), checked[1]) if isinstance(checked, tuple) else _examples(checked)

    def _clean(self, X: np.ndarray, X_clean: Any, y_clean: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the examples of the clean set and their positions in `classes_`."""
        if (X_clean is None) != (y_clean is None):
            raise UserError("give both X_clean and y_clean, or neither")
        if X_clean is None:
            return None
        X_clean, y_clean = self._checked(X_clean, y_clean)
        if (X_clean.shape[1:], X_clean.dtype) != (X.shape[1:], X.dtype):
            raise UserError(f"X_clean must be like X, {X.dtype} (n, {_shape(X)}), and is {X_clean.dtype} (n, {_shape(X_clean)})")
        odd = np.flatnonzero(~np.isin(y_clean, self.classes_))
        if len(odd):
            raise unknown("class of y", str(y_clean[odd[0]]), map(str, self.classes_), FEW)
        return X_clean, np.searchsorted(self.classes_, y_clean).astype(np.int64)


PIXEL_CHANNELS = (1, 3, 4)  # of grey, colour and transparent pictures


def _examples(X: np.ndarray) -> np.ndarray:
    """Return rows as float64, images as uint8 or float32."""
    if X.ndim == 4 and X.dtype == np.uint8:
        if X.shape[3] in PIXEL_CHANNELS and X.shape[1] not in PIXEL_CHANNELS:
            raise UserError(f"X {X.shape} has its channels last: give images (n, channels, height, width), as X.transpose(0, 3, 1, 2)")
        return X
    if X.ndim != 2 and not (X.ndim == 4 and np.issubdtype(X.dtype, np.floating)):
        raise UserError(f"X must be rows (n, features), or images (n, channels, height, width) of uint8 or floats, not {X.dtype} {X.shape}")
    converted = X.astype(np.float64 if X.ndim == 2 else np.float32)
    unusable = np.flatnonzero(~np.isfinite(converted).reshape(len(X), -1).all(axis=1))
    if len(unusable):
        raise UserError(f"X must be finite, and example {unusable[0]} contains NaN or inf")
    return converted


def _shape(X: np.ndarray) -> str:
    return ", ".join(map(str, X.shape[1:]))


@contextmanager
def _as_value_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise InvalidInput(str(error)) from error
