"""scikit-learn's handwritten digits: 1,797 real 8x8 grey images of ten classes, bundled with the library."""

from __future__ import annotations

import numpy as np
import torch

from datasets.source import Source
from datasets.streams import numpy_stream
from robust_benchmark.errors import in_range


def load(test_size: int = 500) -> Source:
    """Load the digits, with a test set of `test_size` images that is the same in every trial (the source publishes no split).

    test_size: number of test images, at least 1

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998), from scikit-learn.
    """
    from sklearn.datasets import load_digits  # slow to import, and only this source needs it

    bunch = load_digits()
    in_range("test_size", test_size, 1, len(bunch.target) - 1)
    images = torch.from_numpy(np.rint(bunch.images * 255 / 16).astype(np.uint8)).unsqueeze(1)  # (1797, 1, 8, 8), 0..16 before
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    order = torch.from_numpy(numpy_stream(0, "digits", "test").permutation(len(labels)))
    train, test = order[test_size:], order[:test_size]
    return Source(images[train], labels[train], images[test], labels[test], tuple("0123456789"))
