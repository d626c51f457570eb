"""The pictures of Places365 at the paths of either published dialect (Zhou et al., TPAMI 2018).

    training     train/CLASS/NAME    data_256/C/CLASS/NAME    C: first letter of CLASS
    validation   val/CLASS/NAME      val_256/NAME

A class such as `church-indoor` of the first dialect is the folder `church/indoor` of the second. Source: the lists of Places-LT in both
dialects, which have the same pictures in the same order.
"""

from __future__ import annotations

from pathlib import Path

Listed = list[tuple[str, int]]  # paths with labels


def resolved(directory: Path, train: Listed, test: Listed) -> tuple[Listed, Listed]:
    """Return both lists, where paths that exist only in the other dialect in `directory` are in that dialect."""
    classes = {label: class_of(path) for path, label in train}
    first, second = ([(_existing(directory, path, classes.get(label, "")), label) for path, label in part] for part in (train, test))
    return first, second


def class_of(path: str) -> str:
    """Return the class of a training picture.

    >>> class_of("train/church-indoor/00000001.jpg"), class_of("data_256/c/church/indoor/00000001.jpg")
    ('church-indoor', 'church-indoor')
    """
    part, *folders = path.split("/")[:-1] or [""]
    return "-".join(folders[1:] if part == "data_256" else folders)


def other(path: str, name: str) -> str:
    """Return the path of a picture of the class `name` in the other dialect; a path of neither dialect stays.

    >>> other("train/church-indoor/00000001.jpg", "church-indoor"), other("val_256/Places365_val_1.jpg", "church-indoor")
    ('data_256/c/church/indoor/00000001.jpg', 'val/church-indoor/Places365_val_1.jpg')
    """
    part, file = path.partition("/")[0], path.rpartition("/")[2]
    folders = {
        "train": f"data_256/{name[:1]}/{name.replace('-', '/')}",
        "val": "val_256",
        "data_256": f"train/{name}",
        "val_256": f"val/{name}",
    }
    return f"{folders[part]}/{file}" if part in folders else path


def _existing(directory: Path, path: str, name: str) -> str:
    """Return the path, or the one in the other dialect if only that exists."""
    elsewhere = other(path, name)
    return elsewhere if not (directory / path).is_file() and (directory / elsewhere).is_file() else path
