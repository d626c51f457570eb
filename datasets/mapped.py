"""Images that stay in a file, for data larger than memory: rows are read where they are asked for, through a memory map."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from robust_benchmark.errors import UserError
from robust_benchmark.files import write

CHUNK = 2**22  # bytes that are read at once from one end to the other
LOCAL_HEADER = 30  # bytes of a zip member's own header, before its name and extra field

CPU = torch.device("cpu")

Index = slice | np.ndarray | torch.Tensor


class ArrayFile:
    """An array in a .npy file, or one stored uncompressed in a .npz file. Its file must stay as it is while it is in use.

    array: read-only, backed by the file; stamp: the file's size and time of change
    Raises UserError for a file that is missing, is shorter than its array, or cannot be mapped.
    """

    def __init__(self, path: Path, member: str | None = None) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                start = 0 if member is None else _start(path, file, member)
                shape, dtype, offset = _header(file, start)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self.stamp = _stamp(os.fstat(file.fileno()))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} holds no array that can be mapped ({error})") from error
        if offset + dtype.itemsize * math.prod(shape) > len(self._map):
            raise UserError(f"{path} is shorter than the array it holds")
        self._map.madvise(mmap.MADV_RANDOM)
        self._offset = offset
        self.array = np.frombuffer(self._map, dtype, math.prod(shape), offset).reshape(shape)

    def hint(self, rows: np.ndarray) -> None:
        """Have the disk read these rows, all at once and without waiting."""
        size = self.array[:1].nbytes
        begins = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # of runs of rows that follow each other
        for row, count in zip(rows[begins].tolist(), np.diff(begins, append=len(rows)).tolist(), strict=True):
            first = self._offset + row * size
            page = first - first % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, first + count * size - page)

    def release(self) -> None:
        """Count no page of the file as memory of this process; the system keeps them where it has room."""
        self._map.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Mapped:
    """Rows of an array file, in the place of a tensor of images: `images[index]` reads rows, as a tensor on `device`.

    rows: of the file, int64 (n,); those from the file's length on are of `joined`, images that are in memory
    """

    file: ArrayFile
    rows: np.ndarray
    device: torch.device = CPU
    joined: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """As of the tensor that `self[:]` is."""
        return torch.Size((len(self.rows), *self.file.array.shape[1:]))

    @property
    def ndim(self) -> int:
        """As of the tensor that `self[:]` is."""
        return self.file.array.ndim

    @property
    def dtype(self) -> torch.dtype:
        """As of the tensor that `self[:]` is."""
        return torch.from_numpy(np.empty(0, self.file.array.dtype)).dtype

    def __getitem__(self, index: Index) -> torch.Tensor:
        return self.read(index).to(self.device)

    def read(self, index: Index) -> torch.Tensor:
        """The images at `index`, on the host; in pinned memory where they are to go to a CUDA device."""
        rows, stored = self.rows[_on_host(index)], self.file.array
        images = torch.empty((len(rows), *stored.shape[1:]), dtype=self.dtype, pin_memory=self.device.type == "cuda")
        self.file.hint(rows[rows < len(stored)])
        np.take(stored, rows, axis=0, out=images.numpy(), mode="clip")  # without a buffer, and while other threads run
        self.file.release()
        if self.joined is not None:
            images[rows >= len(stored)] = self.joined[rows[rows >= len(stored)] - len(stored)]
        return images

    def take(self, index: Index) -> Mapped:
        """The images at `index`, still in the file."""
        return replace(self, rows=self.rows[_on_host(index)])

    def to(self, device: torch.device) -> Mapped:
        """The same images, read to `device` from now on."""
        return replace(self, device=device)

    def join(self, more: torch.Tensor) -> Mapped:
        """These images and, behind them, `more`, which are in memory."""
        joined = more.cpu() if self.joined is None else torch.cat([self.joined, more.cpu()])
        end = len(self.file.array) + len(joined)
        return replace(self, rows=np.append(self.rows, np.arange(end - len(more), end)), joined=joined)

    def chunks(self) -> Iterator[torch.Tensor]:
        """All images, some at a time."""
        count = max(1, CHUNK // max(1, self.file.array[:1].nbytes))
        for first in range(0, len(self), count):
            yield self[first : first + count]

    def remembered(self, key: str, compute: Callable[[], str]) -> str:
        """What `compute` gives, kept beside the file under `key` for the next time, if the place can be written."""
        beside = self.file.path.with_suffix(".digest.json")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(beside.read_text())[key])
        found = compute()
        with contextlib.suppress(OSError):
            write(beside, json.dumps({key: found}))
        return found


Images = torch.Tensor | Mapped


def mapped(path: Path, member: str | None = None) -> Mapped:
    """All rows of the array in a .npy file, or of the array `member` stored in a .npz file, with the errors of ArrayFile."""
    file = ArrayFile(path, member)
    return Mapped(file, np.arange(len(file.array)))


def taken(images: Images, index: slice | np.ndarray) -> Images:
    """The images at `index`: copied where they are in memory, else still in their file."""
    return images.take(index) if isinstance(images, Mapped) else images[index]


def _stamp(stat: os.stat_result) -> str:
    """The size and time of change of a file: another content has another one."""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def key_of(images: Mapped) -> bytes:
    """What stands for the images' content as long as their file is the same."""
    return f"{images.file.path.name} {images.file.stamp} {hashlib.sha256(images.rows.tobytes()).hexdigest()}".encode()


def _on_host(index: Index) -> slice | np.ndarray:
    return index.cpu().numpy() if isinstance(index, torch.Tensor) else index


def _start(path: Path, file: BinaryIO, member: str) -> int:
    """Where the content of a stored member of a zip file begins."""
    with zipfile.ZipFile(path) as archive:
        found = archive.getinfo(f"{member}.npy")
    if found.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"'{member}' is compressed: write it by numpy.savez, not savez_compressed")
    file.seek(found.header_offset)
    name, extra = struct.unpack("<26xHH", file.read(LOCAL_HEADER))
    return found.header_offset + LOCAL_HEADER + int(name) + int(extra)


def _header(file: BinaryIO, start: int) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, kind of number and offset of the array whose .npy content begins at `start`."""
    file.seek(start)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject or (fortran and len(shape) > 1):
        raise ValueError("it must be an array of numbers in C order")
    return shape, dtype, file.tell()
