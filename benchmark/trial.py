"""One trial of one cell: data, method, training, record."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Generator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmark import ROOT, fingerprint, labels
from benchmark.config import Cell
from benchmark.donors import make_noise
from benchmark.features import check_data, tried
from benchmark.fingerprint import Fingerprint
from benchmark.metrics import METRICS
from benchmark.names import with_bases
from benchmark.objects import make, model_factory, takes
from benchmark.observers import Observer
from benchmark.options import RunConfig, preprocessing
from benchmark.records.history import columns
from benchmark.records.schema import SCHEMA
from benchmark.records.store import Record, Store, canonical
from benchmark.reporting import Listener, Reporter
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.compute import Compute
from benchmark.training.trainer import Progress, Settings, Trainer, Watch, phases_of, steps_of
from datasets.source import Source
from datasets.task import Split, Task, draw, make_task
from methods import registry
from methods.base import Knowledge
from robust_benchmark.errors import ContractError, UserError, unknown
from robust_benchmark.files import check_regular
from robust_benchmark.imports import INSTALLED

Trial = tuple[Cell, int]  # a cell and a seed
FAILURES = (Exception, SystemExit)  # exceptions from the code of a method, a data set or a noise


def device_of(name: str) -> torch.device:
    """Return the device that the option `device` names; 'auto' is CUDA if available. Raises UserError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise unknown("device", name, ("auto", "cpu", "cuda"))
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name} is requested, but CUDA is not available here")
    return device


def side_by_side(cell: Cell) -> int:
    """Return the number of trials that run at once in a process, on one device."""
    device = device_of(cell.config.device)
    if cell.config.side_by_side is not None or device.type == "cpu":
        return cell.config.side_by_side or 1
    memory: int = torch.cuda.get_device_properties(device).total_memory
    return min(4, max(1, memory // (16 * 2**30)))


def resident(config: RunConfig, size: int) -> bool:
    """Return whether this number of bytes of mappable images is loaded into memory: by the option, or if they are small.

    Small means at most a quarter of the memory of the device and of this machine.
    """
    if config.resident is not None:
        return config.resident
    device = device_of(config.device)
    memory: int = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device.type == "cuda":
        memory = min(memory, torch.cuda.get_device_properties(device).total_memory)
    return 4 * size <= memory


def steps(cell: Cell) -> int:
    """Return the training steps of one trial of the cell. Raises ContractError for invalid phases."""
    method = registry.build(cell.identity["method"])
    with registry.naming(cell.identity["method"]):
        return steps_of(phases_of(method, cell.config.trainer.schedules()))


def path(cell: Cell, seed: int) -> Path:
    """Return the path of a trial's record; the files with endings .claim and .failure are beside it."""
    return Store(cell.config.results_dir).path(cell.identity, cell.key, seed)


def checkpoint_path(cell: Cell, seed: int) -> Path:
    """Return the path of a trial's latest checkpoint."""
    return Path(cell.config.checkpoint_dir) / cell.key / f"seed-{seed}.pt"


def checkpoints(cell: Cell, seed: int, data: Mapping[str, str] | None = None) -> Checkpoints:
    """Return the checkpoints of one trial. data: digests of its task"""
    return Checkpoints(checkpoint_path(cell, seed), cell.canonical, {**code_of(cell), **(data or {})})


def _own_checkpoints(cell: Cell, seed: int, data: Mapping[str, str]) -> Checkpoints:
    """Return the result of `checkpoints`. Raises UserError if a link, a pipe or the like replaces them."""
    latest = checkpoint_path(cell, seed)
    for path in (latest, latest.with_suffix(".previous.pt")):
        with contextlib.suppress(FileNotFoundError):
            check_regular(path)
    return checkpoints(cell, seed, data)


def digests_of(cell: Cell, seed: int) -> dict[str, str] | None:
    """Return the digests of the data that the trial would use now, without download; None if the data is not on this machine."""
    try:
        sees_clean = Knowledge.CLEAN_SET in registry.build(cell.identity["method"]).needs
        return _digests(
            cell.config.dataset["name"],
            canonical(_without_download(cell.config.dataset["source"])),
            canonical(cell.config.imbalance),
            canonical(cell.config.noise),
            canonical(asdict(cell.config.split)),
            seed,
            sees_clean,
        )
    except FAILURES:  # preparing the trial gives the reason if it is missing
        return None


def code_of(cell: Cell) -> Fingerprint:
    """Return the fingerprint of the code that trains the cell, with files read at the first call."""
    return fingerprint.of(cell.identity, plugins=_plugins(cell))


def _plugins(cell: Cell) -> dict[str, str]:
    """Return the files of the modules of the cell's choices, for choices that the checkout does not know."""
    modules = {f"method={name}": registry.get(name).__module__ for name in with_bases(cell.identity["method"])}
    for group in ("noise", "imbalance", "model", "dataset"):
        options = getattr(cell.config, group)
        target = (options["source"] if group == "dataset" else options)["_target_"]
        modules[f"{group}={options['name']}"] = target.rpartition(".")[0]
    return {choice: file for choice, module in modules.items() if (file := _file_of(module))}


def _file_of(module: str) -> str | None:
    """Return the file of a module, without importing it, or of the module of that class; None if it has none, as in a notebook."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    try:
        spec = find_spec(module)
    except (Exception, SystemExit):  # the enclosing package raises it; creating its content gives the reason
        spec = None
    around = module.rpartition(".")[0]
    return spec.origin if spec else _file_of(around) if around else None


def prepare(cell: Cell, seed: int, watch: Watch | None = None) -> Trainer:
    """Return the trainer of one trial, ready to run.

    Raises UserError if the data does not support the configuration, and ContractError for a mistake in the method.
    """
    _revision()  # before training, because a commit during it is not what trained
    with registry.naming(cell.identity["method"]):
        trainer = _trainer(cell, seed, watch)
        check_steps(cell, trainer)
        check_data(cell.label, trainer)
        return trainer


def check_steps(cell: Cell, trainer: Trainer) -> None:
    """Raise ContractError if the phases after `setup` differ from those before it."""
    if steps(cell) != trainer.steps:
        raise ContractError("`phases` returns different steps before and after `setup`: they may depend only on options and schedules")


def _trainer(cell: Cell, seed: int, watch: Watch | None) -> Trainer:
    config = cell.config
    method = registry.build(cell.identity["method"])
    task = task_of(cell, seed, Knowledge.CLEAN_SET in method.needs)
    device = device_of(config.device)
    kept = _own_checkpoints(cell, seed, task.digests)
    make_model = functools.partial(tried, model_factory(config.model), config.model["name"])
    return Trainer(method, make_model, task, settings(config), seed, device, kept, watch, compute(config))


def settings(config: RunConfig) -> Settings:
    """Return the training settings of a configuration."""
    trainer = config.trainer
    return Settings(
        trainer.schedules(),
        trainer.batch_size,
        trainer.optimiser_spec(),
        trainer.evaluate_every,
        config.checkpoint_seconds,
        evidence="evidence" in config.keep,
        clip_norm=trainer.clip_norm,
        ema=trainer.ema,
    )


def compute(config: RunConfig) -> Compute:
    """Return the compute options of a configuration."""
    return Compute(config.precision, config.compile, config.channels_last, config.cuda_graphs)


def run(cell: Cell, seed: int) -> Record:
    """Train one trial and write its record; then remove the checkpoint."""
    trainer = prepare(cell, seed)
    with registry.naming(cell.identity["method"]):
        trainer.run()
    return _keep(cell, seed, trainer)


def in_turns(cell: Cell, seed: int, listener: Listener, observer: Observer) -> Generator[None, None, Record]:
    """Train like `run`, and yield after each step, so that other trials on the device get a turn. observer: must not raise"""
    started = functools.partial(observer.started, cell.identity, cell.key, seed, path(cell, seed))
    reporter = Reporter(listener, started, observer.evaluated)
    trainer = reporter.trainer = prepare(cell, seed, reporter)
    with registry.naming(cell.identity["method"]):
        yield from trainer.turns()
    reporter.report()
    record = _keep(cell, seed, trainer)
    observer.ended(record)
    return record


def _keep(cell: Cell, seed: int, trainer: Trainer) -> Record:
    record = _record(cell, seed, trainer)
    if cell.config.keep:
        from benchmark.training import artifacts  # libraries for formats that most runs do not need

        artifacts.keep(cell.config.keep, trainer, cell.config.checkpoint_dir, record)
    Store(cell.config.results_dir).write(record)
    with contextlib.suppress(OSError):  # the trial is recorded, so a remaining checkpoint has no effect
        checkpoints(cell, seed).remove()
    return record


def source_of(cell: Cell) -> Source:
    """Return the cell's data set, downloaded and decoded if needed. Raises UserError if it is not available."""
    name, options = cell.config.dataset["name"], cell.config.dataset["source"]
    here = _without_download(options)
    try:
        source = _source(name, canonical(here))  # the one that digests come from
    except UserError:
        if here == options:
            raise
        source = _source(name, canonical(options))
    return source.in_memory if resident(cell.config, source.mapped_bytes) else source


def task_of(cell: Cell, seed: int, sees_clean: bool = True) -> Task:
    """Return the data of one trial. sees_clean: whether its method may see the clean set. Raises the errors of its source and task."""
    config = cell.config
    imbalance, noise = make("imbalance", config.imbalance), make_noise(config.noise)
    return make_task(source_of(cell), noise, config.split, preprocessing(config), seed, sees_clean, imbalance)


def _without_download(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a source that reads only files of this machine."""
    return options | {"download": False} if takes(options["_target_"], "download") else options


@functools.lru_cache(maxsize=2)
def _source(name: str, config: str) -> Source:
    """Return the source. Datasets stay in memory from trial to trial; mappable images are mapped."""
    options = json.loads(config)
    can_map = takes(options["_target_"], "resident")
    return make("dataset", options | ({"resident": False} if can_map else {}), name)


@functools.lru_cache(maxsize=10_000)
def _digests(name: str, source: str, imbalance: str, noise: str, split: str, seed: int, sees_clean: bool) -> dict[str, str]:
    """Return the result of `digests_of`, once for all cells that share their data."""
    data = _source(name, source)
    choices = make_noise(json.loads(noise)), Split(**json.loads(split)), seed, sees_clean, make("imbalance", json.loads(imbalance))
    drawn = draw(data, *choices)
    return {"source": data.digest, "drawn": drawn.digest}


def _record(cell: Cell, seed: int, trainer: Trainer) -> Record:
    progress = trainer.progress
    return {
        "schema": SCHEMA,
        "key": cell.key,
        "seed": seed,
        "status": "diverged" if progress.diverged else "done",
        "method": cell.label,
        "needs": trainer.method.needs.names(),
        "overrides": cell.determining_overrides,
        "config": cell.identity,
        "fingerprint": code_of(cell),
        "digests": trainer.task.digests,
        "metrics": _metrics(progress),
        "per_class": {} if progress.diverged else _per_class(progress),
        "history": columns(progress.history),
        "weight_histograms": progress.weight_histograms,
        "data": _data(trainer.task),
        "timing": {
            "steps": trainer.steps,
            "train_seconds": round(progress.train_seconds, 3),
            "evaluation_seconds": round(progress.evaluation_seconds, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "environment": environment(trainer.device) | {"compute": asdict(trainer.compute) | {"side_by_side": side_by_side(cell)}},
    }


def _metrics(progress: Progress) -> dict[str, float]:
    """Return metrics of the last evaluation; a diverged trial has only its history."""
    if progress.diverged:
        return {}
    return {name: value for name, value in progress.history[-1].items() if name in METRICS}


def _per_class(progress: Progress) -> dict[str, list[Any]]:
    return progress.per_class | ({"weights_precision": progress.weights_precision} if progress.weights_precision else {})


def _data(task: Task) -> dict[str, Any]:
    sizes = {name: len(getattr(task, name)) for name in ("train", "clean", "hyper_validation", "test")}
    return {
        "classes": list(task.classes),
        "image_shape": list(task.train.images.shape[1:]),
        "sizes": sizes,
        "wrong_labels": {name: getattr(task, name).wrong() for name in ("train", "clean", "hyper_validation")},
        "noise_rate": task.noise_rate,
        **labels.of_record(task),
    }


def environment(device: torch.device) -> dict[str, Any]:
    """Return the origin of the numbers: device, versions, and the revision of this checkout."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "torchvision", "numpy", "robust-training-benchmark")},
        "revision": _revision(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Return the CPU's model name if Linux provides it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({os.cpu_count()} cores)"


@functools.cache
def _revision() -> str:
    """Return the commit of this checkout, with '-dirty' if files differ from it; the version of an installed wheel; else 'unknown'."""
    if not (ROOT / ".git").exists():  # git would search parent directories, which may belong to another project
        return _version("robust-training-benchmark") if INSTALLED else "unknown"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
