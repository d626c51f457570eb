"""Checkpoints of an unfinished trial: written atomically, two kept, read without executing code."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from benchmark.fingerprint import Fingerprint, stale_parts
from robust_benchmark.errors import UserError
from robust_benchmark.files import write

FORMAT = 3  # version of the state; version 2 had a confusion matrix instead of entries per class, and version 1 no rows of the epoch


class Checkpoints:
    """The checkpoints of one trial of one cell: the latest, and the previous one in case the latest is damaged.

    path: path of the latest
    configuration: the cell's configuration, as canonical JSON; a checkpoint of another one is rejected
    origin: digests of the training code and its data; a checkpoint with other digests is skipped, so that a trial has one origin
    """

    def __init__(self, path: Path, configuration: str, origin: Fingerprint | None = None) -> None:
        self._latest = path
        self._previous = path.with_suffix(".previous.pt")
        self._configuration = configuration
        self._origin = origin or {}

    def save(self, state: dict[str, Any]) -> None:
        """Write `state` (tensors, numbers, strings, and lists and dicts of them) atomically."""
        content = io.BytesIO()  # a full disk is then an OSError here, not an error of torch
        torch.save({"format": FORMAT, "configuration": self._configuration, "origin": self._origin, "state": state}, content)
        write(self._latest, content.getvalue(), durable=True, previous=self._previous)

    def load(self) -> dict[str, Any] | None:
        """Return the newest readable state, or None if there is none.

        Raises UserError for a checkpoint of another configuration.
        """
        for path in (self._latest, self._previous):
            try:
                damaged = zipfile.ZipFile(path).testzip()  # torch writes checksums but does not check them
                if damaged is not None:
                    raise zipfile.BadZipFile(damaged)
                saved = torch.load(path, map_location="cpu", weights_only=True)
                configuration, origin, state = saved["configuration"], saved["origin"], saved["state"]
            except FileNotFoundError:
                continue
            except Exception as error:  # a damaged file can fail in many ways
                print(f"checkpoint {path} is damaged ({type(error).__name__}) and is passed over", file=sys.stderr)
                continue
            if configuration != self._configuration:
                raise UserError(f"checkpoint {path} was written by another configuration; remove it or give another checkpoint_dir")
            changed = stale_parts(origin, self._origin)
            if changed:
                print(f"checkpoint {path} is of other code or data ({', '.join(changed)}): the trial starts again", file=sys.stderr)
                continue
            if saved.get("format", 1) != FORMAT:
                print(f"checkpoint {path} has format {saved.get('format', 1)} and not {FORMAT}: the trial starts again", file=sys.stderr)
                continue
            return dict(state)
        return None

    def remove(self) -> None:
        """Delete the checkpoints after the trial is recorded."""
        parts = self._latest.parent.glob(f"{self._latest.stem}.*.part")  # of killed writers
        for path in (self._latest, self._previous, *parts):
            path.unlink(missing_ok=True)
