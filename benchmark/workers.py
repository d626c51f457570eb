"""Training of trials in several processes of this machine, which report to the progress bar of the parent command.

Each worker goes through all missing trials and claims those that no other process has. Therefore workers need no coordination, and if
one is killed, the others take over its trials.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, SpawnContext
from types import FrameType
from typing import Any

import torch

from benchmark import trial, worker
from benchmark.names import with_bases
from benchmark.progress import Bar, name
from benchmark.records.claims import Holder
from benchmark.signals import out_of_reach_of_the_terminal, stopping_on_signals
from benchmark.trial import Trial
from methods import registry
from robust_benchmark import streams
from robust_benchmark.errors import UserError

EVERY = 0.2  # seconds between reports of steps, and between checks for a stop


def train(missing: Sequence[Trial]) -> tuple[list[str], int]:
    """Train the missing trials in `count` processes; return a line for each failure, and the signal that stopped it or 0.

    Raises UserError if a file cannot be written.
    """
    number, context = count(missing), _context()
    grid = {cell.key: cell for cell, _ in missing}.values()
    modules = {registry.get(method).__module__ for cell in grid for method in with_bases(cell.identity["method"])}
    if number <= 1 or (isinstance(context, SpawnContext) and "__main__" in modules):  # a new process lacks the definitions of `__main__`
        return worker.train(missing)
    with _started(number, context, missing, modules) as workers, Bar(missing) as bar, stopping_on_signals(bar):
        _follow(workers, bar)
    for each in workers:
        if each.error:
            raise UserError(each.error)
    return bar.failures + ([] if bar.stopping() else _lost(workers, missing, bar)), bar.stopped_by


def count(missing: Sequence[Trial]) -> int:
    """Return the number of training processes: the option `processes`, or one on CUDA, and one per core on a CPU.

    If OMP_NUM_THREADS gives each process several threads, the number is proportionally smaller.
    """
    if not missing:
        return 0
    config = missing[0][0].config
    on_cpu = trial.device_of(config.device).type == "cpu"
    return min(len(missing), config.processes or (max(1, _cores() // torch.get_num_threads()) if on_cpu else 1))


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _context() -> ForkContext | SpawnContext:
    """Return the start method: forked workers start at once and share the data set, but hang with threads of OpenMP, autograd or CUDA."""
    forks = sys.platform == "linux" and torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return multiprocessing.get_context("fork") if forks else multiprocessing.get_context("spawn")


class Worker:
    """One worker, as the command sees it.

    pipe: pipe of its reports; held: the trials that it trains, or trained at its end; error: the user's mistake that ended it, or ''
    """

    def __init__(self, context: ForkContext | SpawnContext, *arguments: Any, others: Sequence[Worker]) -> None:
        self.pipe, theirs = context.Pipe(duplex=False)
        readers = [each.pipe for each in (*others, self)]
        self.process = context.Process(target=_work, args=(*arguments, theirs, readers, os.getpid()))
        self.process.start()
        theirs.close()
        self.held: set[int] = set()
        self.error = ""

    def ended(self) -> str:
        """Return the cause of the process's end, '' for a normal one."""
        status = self.process.exitcode or 0
        number = -status if status < 0 else status - 128
        if number in set(signal.Signals):
            return f"was ended by {signal.Signals(number).name}"
        return f"ended with status {status}" if status else ""


@contextmanager
def _started(number: int, *arguments: Any) -> Iterator[list[Worker]]:
    """Start this number of workers; none of them outlives the `with` block."""
    workers: list[Worker] = []
    try:
        with out_of_reach_of_the_terminal():
            for _ in range(number):
                workers.append(Worker(*arguments, others=workers))
        yield workers
    finally:
        for each in workers:
            each.pipe.close()
        while alive := [each.process for each in workers if each.process.is_alive()]:
            _stop(alive)
            alive[0].join(EVERY)


def _stop(processes: Sequence[Any]) -> None:
    """Request checkpoints and the end; call it repeatedly, because a starting process may miss it once."""
    for process in processes:
        process.terminate()


def _follow(workers: Sequence[Worker], bar: Bar) -> None:
    """Show the workers' reports until all have ended: soon after all trials are settled, on a signal or on an error."""
    alive = list(workers)
    while alive:
        reporting = wait([each.pipe for each in alive], EVERY)
        stopping = bar.stopping() or not bar.unsettled or any(each.error for each in workers)
        for each in [each for each in alive if each.pipe in reporting]:
            try:
                _take(each.pipe.recv(), each, workers, bar)
            except (EOFError, OSError):
                alive.remove(each)
                each.process.join()
                for number in each.held:
                    bar.end(number)
                if each.ended() and not stopping:
                    bar.write(f"process {each.process.pid} {each.ended()}{'; the others take over its trials' if alive else ''}")
        if stopping:
            _stop([each.process for each in alive])


def _take(report: tuple[str, Any], sender: Worker, workers: Sequence[Worker], bar: Bar) -> None:
    """Handle one report, which names a method of Display and its arguments, or an error."""
    event, *arguments = report
    if event == "error":
        sender.error = arguments[0]
    elif event != "waiting_for" or not _is_one_of(workers, arguments[1]):  # that one reports on its own
        getattr(bar, event)(*arguments)
    if event == "begin":
        sender.held.add(arguments[0])
    elif event == "end":
        sender.held.remove(arguments[0])


def _is_one_of(workers: Sequence[Worker], holder: Holder | None) -> bool:
    return holder is not None and holder.host == socket.gethostname() and holder.pid in [each.process.pid for each in workers]


def _lost(workers: Sequence[Worker], missing: Sequence[Trial], bar: Bar) -> list[str]:
    """Return a line for each trial whose process was killed as the last one that could train it."""
    unsettled = {number for number in bar.unsettled if not worker.settled(trial.path(*missing[number]))}
    killed = [each for each in workers if each.ended()]
    lines = {number: f"{name(*missing[number])}: its process {each.ended()}" for each in killed for number in unsettled & each.held}
    return list(lines.values()) or [f"a process that trains {each.ended()}" for each in killed if unsettled]


def _work(missing: Sequence[Trial], modules: set[str], pipe: Connection, readers: Sequence[Connection], command: int) -> None:
    """Run a worker's process. It ends with the status of SIGTERM if it was asked to stop."""
    for reader in readers:
        reader.close()  # so that a report to an ended command fails instead of filling a pipe
    registry.names()  # first, because it skips broken definitions in a module
    for module in modules:
        importlib.import_module(module)  # in a new process, a user's method is not registered yet
    relay = Relay(pipe, command)
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, relay.stop)
    with streams.safe():
        try:
            worker.train_under(relay, missing)
        except UserError as error:
            relay.report("error", str(error))
    relay.flush()
    if relay.stopping():
        sys.exit(128 + signal.SIGTERM)


class Relay:
    """The Display of a worker: forwards everything to the command, and steps a few times per second. Stops if the command has ended."""

    def __init__(self, pipe: Connection, command: int) -> None:
        self._pipe, self._command = pipe, command
        self._stopped = False
        self._steps: Counter[int] = Counter()  # not reported yet, by trial
        self._reported = time.monotonic()

    def begin(self, number: int) -> None:
        self.report("begin", number)

    def stepped(self, number: int, steps: int) -> None:
        self._steps[number] += steps
        if time.monotonic() - self._reported >= EVERY:
            self.flush()

    def end(self, number: int) -> None:
        self.report("end", number)

    def settled(self, number: int) -> None:
        self.report("settled", number)

    def failed(self, number: int, reason: str) -> None:
        self.report("failed", number, reason)

    def write(self, text: str) -> None:
        self.report("write", text)

    def waiting_for(self, number: int, holder: Holder | None, count: int) -> None:
        self.report("waiting_for", number, holder, count)

    def stopping(self) -> bool:
        return self._stopped or os.getppid() != self._command

    def stop(self, _: int, __: FrameType | None) -> None:
        """Handle a signal that requests a stop."""
        self._stopped = True

    def report(self, event: str, *arguments: Any) -> None:
        """Report to the command, after the steps so far."""
        self.flush()
        self._send(event, *arguments)

    def flush(self) -> None:
        """Report the steps so far to the command."""
        for number, steps in self._steps.items():
            self._send("stepped", number, steps)
        self._steps.clear()
        self._reported = time.monotonic()

    def _send(self, *report: Any) -> None:
        with suppress(OSError):  # the command has ended, and `stopping` detects it
            self._pipe.send(report)
