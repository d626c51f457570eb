"""ANIMAL-10N: ten animals in five pairs that look alike, labelled by people (Song et al., ICML 2019)."""

from __future__ import annotations

from pathlib import Path

from datasets.listed import Copy
from datasets.source import Source
from robust_benchmark.errors import UserError

CLASSES = ("cat", "lynx", "wolf", "coyote", "cheetah", "jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig")
COUNTS = {"training": 50_000, "testing": 5_000}


def load(
    path: str,
    root: str = ".",
    size: int | None = None,
    cache: str = "data/image_folder",
    partial: bool = False,
    resident: bool = True,
) -> Source:
    """Load training/<label>_<number>.jpg and testing/<label>_<number>.jpg; no true label of the training set is known.

    path: directory of the copy; root: the directory to which it is relative
    size: side in pixels to which every picture is resized, at least 1; None keeps the 64 pixels of the published pictures
    cache: directory of the decoded pixels
    partial: whether the copy may have fewer pictures
    resident: the pixels are loaded into memory; if false, they stay in the mapped cache

    Raises UserError for a missing folder or picture, and a file whose name does not begin with a label.
    """
    copy = Copy("ANIMAL-10N", Path(root) / path, size, cache, partial, resident)
    train, test = (copy.pictures(part, _labels(copy, part), known=part == "testing") for part in COUNTS)
    return copy.source(train, test, CLASSES)


def _labels(copy: Copy, part: str) -> list[tuple[str, int]]:
    files = sorted(file.name for file in copy.folder(part).glob("*.jpg"))
    copy.check_count(copy.directory / part, len(files), COUNTS[part])
    strange = next((name for name in files if name[:1] not in set("0123456789") or name[1:2] != "_"), None)
    if strange is not None:
        raise UserError(f"{copy.directory / part / strange}: names of pictures must be LABEL_NUMBER.jpg, with a label in 0 .. 9")
    return [(name, int(name[0])) for name in files]
