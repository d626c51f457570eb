"""Red mini-ImageNet of the Controlled Noisy Web Labels: wrong pictures from the web in 100 classes (Jiang et al., ICML 2020)."""

from __future__ import annotations

from pathlib import Path

from datasets.listed import Copy
from datasets.source import Source
from robust_benchmark.errors import UserError

CLASSES = 100
LEVELS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


def load(
    path: str,
    root: str = ".",
    level: float = 0.2,
    size: int | None = 32,
    cache: str = "data/image_folder",
    partial: bool = False,
    resident: bool = True,
) -> Source:
    """Load the pictures of split/red_noise_nl_<level> from all_images/, and those of split/clean_validation from validation/<label>/.

    path: directory of the copy; root: the directory to which it is relative
    level: nominal share of wrong labels, in [0, 0.8]: 0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6 or 0.8
    size: side in pixels to which every picture is resized, at least 1
    cache: directory of the decoded pixels
    partial: whether the copy may have fewer pictures; missing ones are left out
    resident: the pixels are loaded into memory; if false, they stay in the mapped cache

    No true label of the training set is known: most wrong pictures show none of the 100 classes. Classes are named by their numbers.
    The numbers of pictures are not checked against the published lists, but every picture of a list must be there.
    Raises UserError for another level, a missing list or picture, and a label out of range.
    """
    if level not in LEVELS:
        raise UserError(f"dataset.level must be one of {', '.join(f'{each:g}' for each in LEVELS)}, not {level!r}")
    copy = Copy("the Controlled Noisy Web Labels", Path(root) / path, size, cache, partial, resident)
    train = copy.labelled(f"split/red_noise_nl_{float(level)}", CLASSES)
    tested = [(f"{label}/{name}", label) for name, label in copy.labelled("split/clean_validation", CLASSES)]
    classes = tuple(map(str, range(CLASSES)))
    return copy.source(copy.pictures("all_images", train, known=False), copy.pictures("validation", tested, known=True), classes)
