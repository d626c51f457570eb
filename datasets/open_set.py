"""Open-set noise: images of another data set under the labels of the training images that they replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from datasets.mapped import Images
from datasets.noise import Corruption, Replacement
from datasets.source import Source
from datasets.streams import numpy_stream
from robust_benchmark.errors import UserError, in_range
from robust_benchmark.files import regular


class OpenSet(Corruption):
    """Images of another data set, the donor, replace training images; the given labels stay, and no class is right for a new image.

    Exactly round(rate n) images of the training set are replaced, and the same share of the hyper-validation set. Their places are drawn
    uniformly, and the new images are drawn from the donor's training images without replacement. There is no transition matrix.

    rate: share of replaced images, in [0, 1]
    donor: a configured data set, or a .npy file of uint8 images with the shape of the training images, (n, channels, height, width)
    root: directory of published data sets; a donor is not downloaded
    source_of: returns a configured data set by its name and that directory
    Source: Sachdeva et al., "EvidentialMix: Learning with Combined Open-set and Closed-set Noisy Labels", WACV 2021, whose code
    replaces int(rate n) images.
    """

    rate: float

    def __init__(
        self, rate: float = 0.4, donor: str = "", root: str = "data", source_of: Callable[[str, str], Source] | None = None
    ) -> None:
        self.rate = in_range("noise rate", rate, 0, 1)
        self.donor, self.root, self._source_of = donor, root, source_of

    def transition_matrix(self, targets: np.ndarray) -> None:
        """Return None: a new image has no true class."""

    def replacement(self, sizes: Sequence[int], source: Source, trial_seed: int) -> Replacement | None:
        """Return the replaced places and the new images. Raises UserError for a donor that is missing, too small or of another shape."""
        counts = [round(self.rate * size) for size in sizes]
        if not sum(counts):
            return None
        if source.train_images.ndim == 2:
            raise UserError("noise=open_set replaces images, and this data set is a table")
        images, rng = self._images(source.classes), numpy_stream(trial_seed, "open-set images")
        self._check(images, source.train_images, sum(counts))
        chosen = rng.permutation(len(images))[: sum(counts)]
        places = [rng.permutation(size)[:count] for size, count in zip(sizes, counts, strict=True)]
        return Replacement(places[0], places[1], np.asarray(images[chosen]))

    def _images(self, classes: tuple[str, ...]) -> np.ndarray | Images:
        if self._source_of and not self.donor.endswith(".npy"):
            try:
                donor = self._source_of(self.donor, self.root)
            except UserError as error:
                raise UserError(f"noise.donor={self.donor}: {error}") from error
            if donor.classes == classes:
                raise UserError(f"noise.donor={self.donor} has the classes of the training images, so it is no other data set")
            return donor.train_images
        regular(Path(self.donor), " with images")
        try:
            return np.asarray(np.load(self.donor, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise UserError(f"noise.donor={self.donor} holds no images ({str(error).splitlines()[0]})") from error

    def _check(self, images: np.ndarray | Images, replaced: Images, count: int) -> None:
        """Raise UserError unless there are `count` images of the type and shape of the `replaced` ones."""
        found, wanted = [f"{str(each.dtype).removeprefix('torch.')} {_sizes(each.shape[1:])}" for each in (images, replaced)]
        if found != wanted:
            raise UserError(f"noise.donor={self.donor} has images of {found}, and the training images are {wanted}")
        if len(images) < count:
            raise UserError(f"noise.donor={self.donor} has {len(images):,} images, and a rate of {self.rate:g} replaces {count:,}")


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
