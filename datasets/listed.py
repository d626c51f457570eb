"""Published collections of pictures in a user's own copy: lists of pictures and labels become a Source."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from datasets.image_folder import _images as decoded  # a public name would give records on image folders another fingerprint
from datasets.label_table import Picture
from datasets.source import UNKNOWN, Source
from robust_benchmark.errors import UserError, whole
from robust_benchmark.files import regular

LONGEST = 200  # characters of a line that a message shows
LAYOUT = "docs/published-data.md shows its files"


@dataclass(frozen=True)
class Copy:
    """A user's copy of a data set, and how its pictures are read.

    name: of the data set, for messages
    directory: all files of the copy are below it
    size: side in pixels to which every picture is resized, at least 1 (bilinear); None keeps the pictures, which must have one size
    cache: directory of the decoded pixels, as in datasets.image_folder
    partial: whether the copy may have fewer pictures than the published data set; missing ones are left out
    resident: the pixels are loaded into memory; if false, they stay in the mapped cache
    Raises UserError for a directory that does not exist and for an option of another form.
    """

    name: str
    directory: Path
    size: int | None = None
    cache: str = "data/image_folder"
    partial: bool = False
    resident: bool = True

    def __post_init__(self) -> None:
        if self.size is not None:
            whole("dataset.size", self.size, 1)
        if not isinstance(self.partial, bool):
            raise UserError(f"dataset.partial must be true or false, not {self.partial!r}")
        self.folder(".")

    def folder(self, name: str) -> Path:
        """Return the path of a folder of the copy. Raises UserError if it does not exist."""
        path = self.directory / name
        if not path.is_dir():
            raise UserError(f"no directory {path}: put a copy of {self.name} into {self.directory} ({LAYOUT})")
        return path

    def lines(self, file: str, published: int | None = None, header: str | None = None) -> list[str]:
        """Return the lines of a list, without blank ones.

        published: number of lines of the published list; None: any number
        header: start of a first line that is a heading and not an entry
        Raises UserError for a file that is missing or empty, is not text, or has another number of lines.
        """
        path = self.directory / file
        regular(path, f", which is a list of {self.name} ({LAYOUT})")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a readable list in UTF-8 ({error})") from error
        found = [line.strip() for line in text.split("\n") if line.strip()]
        found = found[1:] if header is not None and found and found[0].startswith(header) else found
        if not found:
            raise UserError(f"{path} is empty, and it is a list of {self.name}")
        self.check_count(path, len(found), published)
        return found

    def labelled(self, file: str, classes: int | None, published: int | None = None, md5: Sequence[str] = ()) -> list[tuple[str, int]]:
        """Return the path and the label of each line `PATH LABEL` of a list, with the errors of `lines`.

        classes: labels must be less than it; None: any whole number
        md5: checksums of the published versions of the list; none: any content
        Raises UserError for another label, another form of a line, or another checksum.
        """
        found = [_pair(self.directory / file, line, classes) for line in self.lines(file, published)]
        if md5:
            self._check_md5(self.directory / file, md5)
        return found

    def names(self, file: str, count: int, header: str | None = None) -> list[str]:
        """Return the names of the classes, one on each line of a list. Raises UserError unless they are `count` different names."""
        found = self.lines(file, header=header)
        if len(found) != count or len(set(found)) != count:
            lines = f"{len(found)} lines with {len(set(found))} different names"
            raise UserError(f"{self.directory / file} has {lines} of classes, and {self.name} has {count} classes")
        return found

    def check_count(self, part: Path, found: int, published: int | None) -> None:
        """Raise UserError if a part of the copy does not have its published number of pictures, unless the copy may be partial."""
        if published not in (None, found) and not self.partial:
            raise UserError(
                f"{part} has {found:,} pictures, and in {self.name} it has {published:,}: complete it, or give dataset.partial=true,"
                " which the record states"
            )

    def _check_md5(self, file: Path, published: Sequence[str]) -> None:
        """Raise UserError if a list has none of the published checksums, unless the copy may be partial."""
        found = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        if found not in published and not self.partial:
            raise UserError(
                f"{file} has the MD5 checksum {found}, and the published list of {self.name} has {' or '.join(published)}:"
                " get the published list, or give dataset.partial=true, which the record states"
            )

    def pictures(self, folder: str, labels: Sequence[tuple[str, int]], known: bool) -> list[Picture]:
        """Return the pictures at these paths in `folder`, with their given labels.

        known: whether these are true; if not, true labels are UNKNOWN. Raises UserError for an absolute path.
        """
        base = self.directory / folder
        absolute = next((path for path, _ in labels if os.path.isabs(path)), None)
        if absolute is not None:
            raise UserError(f"a list of {self.name} has the picture {absolute}: paths must be relative to {base}")
        return [Picture(base / path, label, label if known else UNKNOWN) for path, label in labels]

    def source(self, train: Sequence[Picture], test: Sequence[Picture], classes: Sequence[str]) -> Source:
        """Return the data with decoded pictures. If only some true labels of `train` are known, these pictures are the clean set.

        Raises UserError for missing or repeated pictures, a class without a picture, and the errors of datasets.image_folder in pictures.
        """
        self._check_repeated([*train, *test])
        missing = self._missing([*train, *test])
        train, test = ([picture for picture in part if picture.file not in missing] for part in (train, test))
        for part, pictures in (("training", train), ("test", test)):
            self._check_classes(part, pictures, classes)
        images = decoded(self.directory, [picture.file for picture in (*train, *test)], self.size, Path(self.cache))
        given, true, of_test = (
            torch.tensor([picture[column] for picture in part], dtype=torch.int64) for part, column in ((train, 1), (train, 2), (test, 2))
        )
        parts = images.take(slice(len(train))), images.take(slice(len(train), None))
        source = Source(parts[0], given, parts[1], of_test, tuple(classes), None if torch.equal(given, true) else true)
        return source.in_memory if self.resident else source

    def _check_repeated(self, pictures: Sequence[Picture]) -> None:
        for file, count in Counter(picture.file for picture in pictures).most_common(1):
            if count > 1:
                raise UserError(f"the lists of {self.name} have the picture {file} {count} times, and each picture may be in one set only")

    def _missing(self, pictures: Sequence[Picture]) -> set[Path]:
        missing = [picture.file for picture in pictures if not os.path.isfile(picture.file)]
        if missing and not self.partial:
            raise UserError(
                f"{len(missing):,} of the {len(pictures):,} pictures in the lists of {self.name} are missing, the first is {missing[0]}:"
                " complete the copy, or give dataset.partial=true to leave them out, which the record states"
            )
        return set(missing)

    def _check_classes(self, part: str, pictures: Sequence[Picture], classes: Sequence[str]) -> None:
        empty = sorted(set(range(len(classes))) - {picture.given for picture in pictures})
        if empty:
            raise UserError(
                f"{self.directory} has no {part} picture of {len(empty)} of the {len(classes)} classes of {self.name},"
                f" the first is class {empty[0]}, '{classes[empty[0]]}'"
            )


def _pair(file: Path, line: str, classes: int | None) -> tuple[str, int]:
    path, _, label = line.replace("\t", " ").rpartition(" ")
    if path and label.isdecimal() and len(label) < 10 and (classes is None or int(label) < classes):
        return path.strip(), int(label)
    allowed = "a whole number" if classes is None else f"in 0 .. {classes - 1}"
    raise UserError(f"{file}: the line '{line[:LONGEST]}' is not a path and a label, separated by a space, with a label that is {allowed}")
