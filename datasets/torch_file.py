"""Content of a file of `torch.save`, read without executing anything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

SUFFIXES = (".pt", ".pth")
RECONSTRUCT: Any = np.empty(0).__reduce__()[0]  # makes an array of pickled parts; NumPy has moved it, and files contain either name
ALLOWED: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in "?bhilqBHILQfd"}]
ALLOWED += [(RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]


def load(path: str | Path) -> Any:
    """Return the content: tensors, NumPy arrays of numbers, plain Python objects. Raises many kinds of exceptions for any other file."""
    with torch.serialization.safe_globals(ALLOWED):
        return torch.load(path, map_location="cpu", weights_only=True)


def array(path: str) -> np.ndarray:
    """Return the tensor, array or list in the file as an array. Raises ValueError for any other content."""
    try:
        found = load(path)
        values = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    except Exception as error:  # torch, pickle and NumPy raise many exceptions for an invalid file
        raise ValueError("it is no file of torch.save with one tensor, array or list") from error
    if not isinstance(found, torch.Tensor | np.ndarray | list):
        raise ValueError(f"a {type(found).__name__}, not a tensor, an array or a list")
    return values
