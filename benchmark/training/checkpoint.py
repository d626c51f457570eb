"""Checkpoints of an unfinished trial: written atomically, two kept, read without executing anything."""

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

FORMAT = 2  # of the state; 1 had no epoch's rows


class Checkpoints:
    """The checkpoints of one trial of one cell: the latest, and the one before it in case the latest is damaged.

    path: of the latest
    configuration: the cell's, as canonical JSON; a checkpoint of another one is refused
    origin: digests of the code that trains and of its data; a checkpoint of other ones is passed over, so that a trial is of one origin
    """

    def __init__(self, path: Path, configuration: str, origin: Fingerprint | None = None) -> None:
        self._latest = path
        self._previous = path.with_suffix(".previous.pt")
        self._configuration = configuration
        self._origin = origin or {}

    def save(self, state: dict[str, Any]) -> None:
        """Write `state` (tensors, numbers, strings, and lists and dicts of them), whole or not at all."""
        content = io.BytesIO()  # so that a full disk is an OSError here and not torch's
        torch.save({"format": FORMAT, "configuration": self._configuration, "origin": self._origin, "state": state}, content)
        write(self._latest, content.getvalue(), durable=True, previous=self._previous)

    def load(self) -> dict[str, Any] | None:
        """The newest readable state, or None where there is none.

        Raises UserError for a checkpoint of another configuration.
        """
        for path in (self._latest, self._previous):
            try:
                damaged = zipfile.ZipFile(path).testzip()  # torch writes checksums and does not read them
                if damaged is not None:
                    raise zipfile.BadZipFile(damaged)
                saved = torch.load(path, map_location="cpu", weights_only=True)
                configuration, origin, state = saved["configuration"], saved["origin"], saved["state"]
            except FileNotFoundError:
                continue
            except Exception as error:  # a damaged file fails in as many ways as it has bytes
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
        """Delete what is kept; the trial is recorded."""
        parts = self._latest.parent.glob(f"{self._latest.stem}.*.part")  # of writers that were killed
        for path in (self._latest, self._previous, *parts):
            path.unlink(missing_ok=True)
