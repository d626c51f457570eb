"""Images that stay in a file, for data larger than memory: rows are read by position on request.

The system keeps read pages in its page cache and drops them if it needs the memory. `pread` copies rows from there, because page faults
of a memory map cost more, and a truncated file kills a process that has mapped it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import struct
import weakref
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from robust_benchmark.errors import UserError
from robust_benchmark.files import write

CHUNK = 2**22  # bytes per read when reading from one end to the other
LOCAL_HEADER = 30  # bytes of a zip member's own header, before its name and extra field

ADVISES = hasattr(os, "posix_fadvise")  # macOS has none

CPU = torch.device("cpu")

Index = slice | np.ndarray | torch.Tensor


class ArrayFile:
    """An array in a .npy file, or an uncompressed array in a .npz file. The file must not change while it is in use.

    shape, dtype: of the array; stamp: the file's size and modification time
    Raises UserError for a file that is missing, is shorter than its array, or contains no array with rows at fixed positions.
    """

    def __init__(self, path: Path, member: str | None = None) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                start = 0 if member is None else _start(path, file, member)
                self.shape, self.dtype, self._offset = _header(file, start)
                self._descriptor = os.dup(file.fileno())
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} holds no array that can be mapped ({error})") from error
        weakref.finalize(self, os.close, self._descriptor)
        self.row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        found = os.fstat(self._descriptor)
        if self._offset + len(self) * self.row_bytes > found.st_size:
            raise UserError(f"{path} is shorter than the array it holds")
        self.stamp = _stamp(found)
        if ADVISES:
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill `out`, one element per row, with these rows; rows beyond the file's length are skipped. Raises UserError if it is truncated.

        All reads are requested at once, because sequential requests take several times as long.
        """
        content = out.reshape(-1).view(np.uint8).data
        runs = [(self._offset + row * self.row_bytes, content[slice(*span)]) for row, span in self._runs(rows)]
        for offset, part in runs if ADVISES else ():
            os.posix_fadvise(self._descriptor, offset, len(part), os.POSIX_FADV_WILLNEED)
        for offset, part in runs:
            self._fill(offset, part)

    def _runs(self, rows: np.ndarray) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield, for each run of consecutive rows, the first one, and the range of its bytes in the array to fill."""
        within = np.flatnonzero(rows < len(self))
        breaks = (np.diff(rows[within], prepend=-2) != 1) | (np.diff(within, prepend=-2) != 1)
        begins = np.flatnonzero(breaks)
        counts = np.diff(begins, append=len(within))
        for position, count in zip(within[begins].tolist(), counts.tolist(), strict=True):
            yield int(rows[position]), (position * self.row_bytes, (position + count) * self.row_bytes)

    def _fill(self, offset: int, part: memoryview) -> None:
        while len(part):  # the system reads at most 2 GiB at once
            count = os.preadv(self._descriptor, [part], offset)
            if count == 0:
                raise UserError(f"{self.path} was cut off while it was in use")
            offset, part = offset + count, part[count:]


@dataclass(frozen=True)
class Mapped:
    """Rows of an array file instead of a tensor of images: `images[index]` reads rows, as a tensor on `device`.

    rows: rows of the file, int64 (n,); rows beyond the file's length refer to `joined`, images in memory
    """

    file: ArrayFile
    rows: np.ndarray
    device: torch.device = CPU
    joined: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """The shape of the tensor `self[:]`."""
        return torch.Size((len(self.rows), *self.file.shape[1:]))

    @property
    def ndim(self) -> int:
        """The number of dimensions of the tensor `self[:]`."""
        return len(self.file.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor `self[:]`."""
        return torch.from_numpy(np.empty(0, self.file.dtype)).dtype

    def __getitem__(self, index: Index) -> torch.Tensor:
        return self.read(index).to(self.device)

    def read(self, index: Index) -> torch.Tensor:
        """Read the images at `index`, on the host; in pinned memory if their target is a CUDA device."""
        rows, stored = self.rows[_on_host(index)], len(self.file)
        images = torch.empty((len(rows), *self.file.shape[1:]), dtype=self.dtype, pin_memory=self.device.type == "cuda")
        self.file.read(rows, images.numpy())
        if self.joined is not None:
            images[rows >= stored] = self.joined[rows[rows >= stored] - stored]
        return images

    def take(self, index: Index) -> Mapped:
        """Return the images at `index`, still in the file."""
        return replace(self, rows=self.rows[_on_host(index)])

    def to(self, device: torch.device) -> Mapped:
        """Return the same images, which are read to `device` from now on."""
        return replace(self, device=device)

    def join(self, more: torch.Tensor) -> Mapped:
        """Return these images followed by `more`, which are in memory."""
        joined = more.cpu() if self.joined is None else torch.cat([self.joined, more.cpu()])
        end = len(self.file) + len(joined)
        return replace(self, rows=np.append(self.rows, np.arange(end - len(more), end)), joined=joined)

    def chunks(self) -> Iterator[torch.Tensor]:
        """Yield all images, some at a time."""
        count = max(1, CHUNK // max(1, self.file.row_bytes))
        for first in range(0, len(self), count):
            yield self[first : first + count]

    def remembered(self, key: str, compute: Callable[[], str]) -> str:
        """Return the result of `compute`, stored beside the file under `key` for the next time if the directory is writable."""
        beside = self.file.path.with_suffix(".digest.json")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(beside.read_text())[key])
        found = compute()
        with contextlib.suppress(OSError):
            write(beside, json.dumps({key: found}))
        return found


Images = torch.Tensor | Mapped


def mapped(path: Path, member: str | None = None) -> Mapped:
    """Return all rows of the array in a .npy file, or of the array `member` in a .npz file, with the errors of ArrayFile."""
    file = ArrayFile(path, member)
    return Mapped(file, np.arange(len(file)))


def taken(images: Images, index: slice | np.ndarray) -> Images:
    """Return the images at `index`: copied if they are in memory, otherwise still in their file."""
    return images.take(index) if isinstance(images, Mapped) else images[index]


def _stamp(stat: os.stat_result) -> str:
    """Return the size and modification time of a file, which change with its content."""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def key_of(images: Mapped) -> bytes:
    """Return a key that identifies the images' content as long as their file does not change."""
    return f"{images.file.path.name} {images.file.stamp} {hashlib.sha256(images.rows.tobytes()).hexdigest()}".encode()


def _on_host(index: Index) -> slice | np.ndarray:
    return index.cpu().numpy() if isinstance(index, torch.Tensor) else index


def _start(path: Path, file: BinaryIO, member: str) -> int:
    """Return the offset of a stored member's content in a zip file."""
    with zipfile.ZipFile(path) as archive:
        found = archive.getinfo(f"{member}.npy")
    if found.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"'{member}' is compressed: write it by numpy.savez, not savez_compressed")
    file.seek(found.header_offset)
    name, extra = struct.unpack("<26xHH", file.read(LOCAL_HEADER))
    return found.header_offset + LOCAL_HEADER + int(name) + int(extra)


def _header(file: BinaryIO, start: int) -> tuple[tuple[int, ...], np.dtype, int]:
    """Return shape, data type and offset of the array whose .npy content begins at `start`."""
    file.seek(start)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if not shape or dtype.hasobject or (fortran and len(shape) > 1):
        raise ValueError("it must be an array of numbers in C order")
    return shape, dtype, file.tell()
