"""Trains the jobs of an audit in several processes, and shows the progress with the time left."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import torch

from benchmark import trial
from benchmark.audit import folds
from benchmark.audit.data import Audited
from benchmark.audit.folds import Job
from benchmark.progress import FORMAT, Steps
from benchmark.training.trainer import Unwatched
from robust_benchmark.errors import UserError

EVERY = 0.3  # seconds between looks at the counter
PATIENCE = 1.0  # seconds until a process ends after its parent

_shared: tuple[Sequence[Job], Audited, np.ndarray, int] | None = None  # forked processes inherit it
_counter: Any = None  # steps done in all processes
_stop: Any = None  # 1 asks all trainings to stop with a checkpoint


class Counting(Unwatched):
    """A Watch that adds steps to the counter of all processes, and stops when the command stops."""

    def stepped(self, steps: int = 1) -> None:
        with _counter.get_lock():
            _counter.value += steps

    def stopping(self) -> bool:
        return bool(_stop.value)


def train(jobs: Sequence[Job], data: Audited, fold: np.ndarray, seed: int, processes: int | None = None) -> None:
    """Train the jobs without a result. processes: at least 1; None: one per core on a CPU, and this process alone on CUDA

    Raises UserError for a method that cannot train on this data, and if a process was killed: the same call continues.
    """
    global _shared, _counter, _stop
    missing = [job for job in jobs if not job.done]
    if not missing:
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    _counter, _stop, _shared = context.Value("q", 0), context.Value("b", 0), (missing, data, fold, seed)
    forks = context.get_start_method() == "fork" and torch.get_num_threads() == 1 and not torch.cuda.is_available()
    count = min(len(missing), processes or len(os.sched_getaffinity(0))) if forks else 1
    interval = EVERY if sys.stderr.isatty() else 10
    with Steps(total=sum(trial.steps(job.cell) for job in missing), unit="step", bar_format=FORMAT, mininterval=interval) as bar:
        bar.set_description_str(f"{missing[0].stage} labels")
        if count == 1:
            for number in range(len(missing)):
                _work(number)
                bar.update(_counter.value - bar.n)
        else:
            _in_processes(len(missing), count, context, bar)


def _in_processes(number: int, count: int, context: Any, bar: Steps) -> None:
    try:
        with concurrent.futures.ProcessPoolExecutor(count, context, _follow, (os.getpid(),)) as pool:
            waiting = {pool.submit(_work, each) for each in range(number)}
            try:
                while waiting:
                    done, waiting = concurrent.futures.wait(waiting, timeout=EVERY, return_when="FIRST_EXCEPTION")
                    bar.update(_counter.value - bar.n)
                    for each in done:
                        each.result()
            except BaseException:
                _stop.value = 1
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    except BrokenProcessPool as error:
        raise UserError("a training process was killed, perhaps for its memory: the same command continues from there") from error


def _follow(parent: int) -> None:
    """End this process soon after its parent, which may be killed without a chance to end it, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(number: int) -> None:
    assert _shared is not None
    jobs, data, fold, seed = _shared
    if not _stop.value:  # a process may already hold its next job
        folds.train(jobs[number], data, fold, seed, Counting())
