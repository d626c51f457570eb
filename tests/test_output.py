"""Commands with lost output: closed, full, unread, or in an encoding that lacks a character."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import ROOT
from benchmark.progress import FORMAT, Steps
from robust_benchmark import streams
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError
from tests.conftest import records, tiny_in

COMMAND = """
import sys
from pathlib import Path
from robust_benchmark.commands import guarded

@guarded
def main(arguments):
    for _ in range(int(sys.argv[2])):
        print("training", file=sys.stderr)
    for _ in range(int(sys.argv[3])):
        print("63.24 \\xb1 1.78 \\u03bb \\udcff")
    sys.stdout.flush()
    Path(sys.argv[1]).write_text("trained")
    return 0

sys.exit(main())
"""


def ended(directory: Path, how: str, lines: tuple[int, int] = (1, 1), **variables: str) -> tuple[int, str, str]:
    """Exit status and output of a command that writes so many lines to stderr and to stdout, with its streams as a shell redirects them.

    It must end in any case.
    """
    shell = f'set -o pipefail; "$@" {how}'
    given = [sys.executable, "-c", COMMAND, str(directory / "record"), *map(str, lines)]
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *given], cwd=ROOT, env=os.environ | variables, capture_output=True, timeout=60, check=False
    )
    assert (directory / "record").read_text() == "trained"
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "how", ["2>&-", ">&-", ">&- 2>&- <&-", "2>/dev/full", "2>&1 | head -c 10 >/dev/null", "| head -1 >/dev/null", "| true", "2>&1 | true"]
)
def test_a_stream_that_is_closed_or_full_or_whose_reader_leaves_changes_nothing(how: str, tmp_path: Path) -> None:
    status, _, printed = ended(tmp_path, how, lines=(2000, 2000))
    assert status == 0
    assert printed in ("", "training\n" * 2000)


def test_a_table_that_cannot_be_written_is_status_2_and_a_sentence(tmp_path: Path) -> None:
    assert ended(tmp_path, ">/dev/full") == (2, "", "training\nerror: cannot write to stdout: No space left on device\n")


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_characters_that_an_encoding_lacks_are_spelled(variables: dict[str, str], tmp_path: Path) -> None:
    inherited = {name: "" for name in ("PYTHONIOENCODING", "PYTHONUTF8") if name in os.environ}
    assert ended(tmp_path, "", **{**inherited, **variables}) == (0, "63.24 +- 1.78 \\u03bb \\udcff\n", "training\n")


def test_unread_output_blocks_nobody(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 8192)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, tmp_path / "record", "5000", "1"], cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, timeout=60
    )
    os.close(writer)
    assert (done.returncode, (tmp_path / "record").read_text()) == (0, "trained")
    assert os.read(reader, 2**20).startswith(b"training\n" * 400)
    os.close(reader)


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    script = f"""
import os
from robust_benchmark import streams
with streams.safe():
    number = os.open({str(tmp_path / "record")!r}, os.O_CREAT | os.O_WRONLY)
    os.write(2, b"a library's warning")
raise SystemExit(number)
"""
    shell = ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", script]
    assert subprocess.run(shell, cwd=ROOT, check=False).returncode >= 3
    assert (tmp_path / "record").read_text() == ""


def test_streams_of_others_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = sys.stdout, sys.stderr
    with streams.safe():
        assert (sys.stdout, sys.stderr) == theirs


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (UserError("no method"), 2, "error: no method\n"),
        (OSError(36, "File name too long", "aa"), 2, "error: [Errno 36] File name too long: 'aa'\n"),
        (KeyboardInterrupt(), 130, "interrupted: the same command continues from here\n"),
    ],
)
def test_a_mistake_is_status_2_and_ctrl_c_130(error: BaseException, status: int, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    @guarded
    def main(_: object) -> int:
        raise error

    assert main() == status
    assert capsys.readouterr().err == printed


def test_a_grid_without_any_stream_is_trained_by_several_processes(tmp_path: Path) -> None:
    options = tiny_in(tmp_path, "processes=2", "trainer.steps=2", "trials=2", "method=baseline")
    run = [sys.executable, "-m", "benchmark.run", *options]
    shell = ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *run]
    assert subprocess.run(shell, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120, check=False).returncode == 0
    assert len(records(tmp_path)) == 2


@pytest.mark.parametrize("width", [40, 60])
def test_percent_and_time_left_survive_on_a_narrow_terminal(width: int) -> None:
    line = Steps.format_meter(
        1_234_567, 40_000_000, 4000.0, ncols=width, bar_format=FORMAT, prefix="early_stopping:base=reed:beta=0.5, seed 12", unit="step"
    )
    assert len(line) <= width
    assert line.startswith("  3%|")
    assert "34:53:21 left" in line or "34:53:20 left" in line
