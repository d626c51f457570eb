"""What all commands share: how they end."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence

from robust_benchmark import streams
from robust_benchmark.errors import UserError, explained

Main = Callable[[Sequence[str] | None], int]


def guarded(main: Main) -> Callable[..., int]:
    """A command whose output may go anywhere, and whose exit status is 130 on Ctrl-C, and 2 for the user's mistake, in one sentence.

    The status is also 2 where a file cannot be read or written, or where stdout cannot, as on a full disk. A reader of stdout that leaves
    before the end changes no status.
    """

    @functools.wraps(main)
    def command(arguments: Sequence[str] | None = None) -> int:
        with streams.safe():
            try:
                status = main(arguments)
                sys.stdout.flush()
            except UserError as error:
                print(f"error: {explained(error)}", file=sys.stderr)
                return 2
            except OSError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                print("interrupted: the same command goes on from here", file=sys.stderr)
                return 130
            if reason := streams.lost():
                print(f"error: cannot write to stdout: {reason.strerror}", file=sys.stderr)
                return status or 2
            return status

    return command
