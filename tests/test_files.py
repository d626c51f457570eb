"""Files are written atomically."""

from __future__ import annotations

from pathlib import Path

import pytest

from robust_benchmark.files import whole, write


def test_a_later_file_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "a.json", "first")
    write(tmp_path / "deep" / "a.json", "sécond", durable=True)
    assert (tmp_path / "deep" / "a.json").read_text(encoding="utf-8") == "sécond"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]


def test_the_first_file_stays_where_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a", b"first", first_stays=True)
    write(tmp_path / "a", b"second", first_stays=True)
    assert (tmp_path / "a").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write(tmp_path / "a", "old")

    def write_half() -> None:
        with whole(tmp_path / "a") as part:
            part.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
