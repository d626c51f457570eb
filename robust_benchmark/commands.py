"""The common end of all commands."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence

from robust_benchmark import streams
from robust_benchmark.errors import UserError, explained

Main = Callable[[Sequence[str] | None], int]


def guarded(main: Main) -> Callable[..., int]:
    """Make a command safe for any output; its exit status is 130 on Ctrl-C, and 2 with one sentence for a user's mistake.

    The status is also 2 if a file cannot be read or written, or if stdout cannot be written, as on a full disk. A reader of stdout that
    stops early does not change the status.
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
                print("interrupted: the same command continues from here", file=sys.stderr)
                return 130
            if reason := streams.lost():
                print(f"error: cannot write to stdout: {reason.strerror}", file=sys.stderr)
                return status or 2
            return status

    return command
