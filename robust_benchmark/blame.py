"""Attribution of errors: names the responsible plug-in, its file and the function, before the plug-in's own traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from robust_benchmark.errors import ContractError, UserError

FINDERS = ("methods.registry", "benchmark.objects")  # they call plug-ins and cause none of their errors


class Owner(NamedTuple):
    """said: the plug-in with its file, for messages; package: the first part of the names of its modules"""

    said: str
    package: str


@contextmanager
def blaming(owners: Sequence[Owner]) -> Iterator[None]:
    """Context in which an error of an owner's code, including `sys.exit`, becomes a ContractError with its name. Other errors pass through.

    owners: the error names the first one whose code was running, or the last one if the suite detected a broken contract
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        found = _blamed(error, owners)
        if found is None or found is error:
            raise
        raise found from error


def _blamed(error: BaseException, owners: Sequence[Owner]) -> ContractError | None:
    if isinstance(error, SystemExit) and _innermost(error).partition(".")[0] == "benchmark":  # the suite's own, at a signal
        return None
    begin, owner = next(((begin, each) for each in owners if (begin := _first(error, each.package))), (None, owners[-1]))
    if isinstance(error, ContractError):
        found = error if error.named else ContractError(f"{owner.said}: {error}")
    elif begin is None or isinstance(error, UserError):
        return None
    else:
        found = ContractError(f"{owner.said}: `{begin.tb_frame.f_code.co_name}` fails at {_place(begin)}: {in_words(error)}")
    if begin is not None and not found.named:
        found.trace = "".join(traceback.TracebackException(type(error), error, begin).format()).rstrip()
    found.named = True
    return found


def _first(error: BaseException, package: str) -> TracebackType | None:
    """Return the traceback from the first call of the package's code on."""
    rest = error.__traceback__
    while rest is not None and not _is_of(rest, package):
        rest = rest.tb_next
    return rest


def _innermost(error: BaseException) -> str:
    """Return the module whose code raised the error."""
    return [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)][-1]


def _is_of(rest: TracebackType, package: str) -> bool:
    module = str(rest.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] == package and module not in FINDERS


def _place(begin: TracebackType) -> str:
    """Return 'file:line' of the innermost call outside torch and Python itself."""
    calls = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(begin) if not _is_foreign(frame.f_globals)]
    file, line = calls[-1]
    return f"{shown(file)}:{line}"


def _is_foreign(scope: dict[str, object]) -> bool:
    package = str(scope.get("__name__", "")).partition(".")[0]
    return package == "torch" or package in sys.stdlib_module_names


def shown(file: str) -> str:
    """Return the file's path, relative to the working directory if it is inside."""
    return str(Path(file).relative_to(Path.cwd())) if Path(file).is_relative_to(Path.cwd()) else file


def in_words(error: BaseException) -> str:
    """Return the error's type and the first line of its text."""
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
