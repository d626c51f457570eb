"""`python -m docs.method_table`: writes the tables of docs/choosing.md and README.md from code, records and measured costs.

A new method needs only its word in HYPER_PARAMETERS. Its year is the first year after "Source:" in its docstring.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from tabulate import tabulate

from benchmark import ROOT, trial
from benchmark.analysis.cost import read_costs
from benchmark.check import small_cells
from benchmark.checks.small import SEED, kinds
from benchmark.folders import lines_of
from benchmark.models.classifier import Classifier
from benchmark.names import choices
from benchmark.training.threads import CPU, one_thread
from benchmark.training.trainer import Trainer
from docs.trials import Options, Trials
from methods import registry
from methods.base import Method
from robust_benchmark.errors import UserError

PAGE = ROOT / "docs" / "choosing.md"
README = ROOT / "README.md"
COLUMNS: dict[str, dict[str, Options]] = {  # by experiment and name of the column: the options of its cells
    "noise_atlas": {
        "uniflip 40 %": {"noise.name": "uniflip", "noise.rate": 0.4},
        "instance 40 %": {"noise.name": "instance"},
        "pairflip 45 %": {"noise.name": "pairflip"},
        "bgflip 40 %": {"noise.name": "bgflip"},
    },
    "tail_atlas": {
        "tail 50:1": {"imbalance.rho": 50},
        "tail 10:1 and uniflip 40 %": {"imbalance.rho": 10, "noise.name": "uniflip"},
    },
}
SHIPPED = {"results": "readme.md", "cifar10": "readme-cifar10.md"}  # tables of the README, by the names of its parts
HEADERS = ["method", "needs", "networks", "state", "cost", "year", "hyper-parameters"]
HYPER_PARAMETERS = {  # the origin of the defaults: names of methods, or of choices that differ; methods without options are in neither
    "authors'": (
        "backward class_balanced coteaching elr focal forward gdw gjs hard_mining_released js l2rw label_smoothing logit_adjustment"
        " logit_adjustment_post_hoc mentornet meta_weight_net mixup mlc nce_mae nce_rce peer_loss_constant reed remix resample sam sce"
        " smote volminnet vs_loss"
    ),
    "shared": (
        "aum clean_weighted cores2 coteaching_plus crt decoupling disc dividemix drw dual_t early_stopping elr_plus finetune fsr gce"
        " hard_mining influence_balanced jocor l2b ldam logit_clip lws mdyr mentornet_dd mslc nlnl peer_loss pes promix relabel s_model"
        " samme self_paced small_loss sop t_revision tau_norm"
    ),
}
PART = re.compile(r"<!-- begin: (\w+) -->\n.*?<!-- end -->", re.DOTALL)

Accuracies = Mapping[tuple[str, str], str]  # by column and method


def main() -> None:
    """Update both pages."""
    with one_thread(CPU):
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    readme = filled(README.read_text(encoding="utf-8"), {part: shipped(name) for part, name in SHIPPED.items()})
    README.write_text(readme, encoding="utf-8")


def shipped(name: str) -> str:
    """The first table of a file in results/tables, and its caption."""
    return "\n\n".join((ROOT / "results" / "tables" / name).read_text(encoding="utf-8").strip().split("\n\n")[:2])


def updated(page: str) -> str:
    """The page with updated tables."""
    configs = {label: json.loads(config) for config, label in choices().items()}
    wrapped = {label for label, config in configs.items() if registry.wraps(config["name"])}
    accuracies, small = dict(_accuracies()), _Small()
    rows = {label: _row(label, config, small, accuracies) for label, config in configs.items()}
    tables = {
        "methods": [row for label, row in rows.items() if label not in wrapped],
        "wrappers": [row for label, row in rows.items() if label in wrapped],
        "meanings": [[f"`{choice}`", line] for choice, line in sorted(lines_of("method").items())],
    }
    return filled(page, {kind: _table(kind, rows) for kind, rows in tables.items()})


def filled(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables between its markers."""
    return PART.sub(lambda part: f"<!-- begin: {part[1]} -->\n\n{tables[part[1]]}\n\n<!-- end -->", page)


def _table(kind: str, rows: list[list[str]]) -> str:
    if kind == "meanings":
        return tabulate(rows, ["method", "what it is"], tablefmt="github")
    headers = [*HEADERS, *(column for columns in COLUMNS.values() for column in columns)]
    return tabulate(sorted(rows, key=lambda row: (row[1], row[5], row[0])), headers, tablefmt="github", disable_numparse=True)


def _row(label: str, config: Mapping[str, Any], small: _Small, accuracies: Accuracies) -> list[str]:
    method = registry.build(config)
    needs = ", ".join(need.replace("_", " ") for need in method.needs.names())
    shown = [accuracies.get((column, label), "") for columns in COLUMNS.values() for column in columns]
    return [f"`{label}`", needs, *small.parts(method), cost(label), _year(config["name"]), _origin(label, config["name"]), *shown]


class _Small:
    """Small tasks for the setup of methods."""

    def __init__(self) -> None:
        (cell,) = small_cells(["method=l2rw"])
        self.kinds, self.settings = list(kinds(cell).values()), trial.settings(cell.config)

    def parts(self, method: Method) -> tuple[str, str]:
        """The number of trained classifiers, and of stored numbers for each training example."""
        n = self._set_up(method)
        trained = [each for each in method.modules() if isinstance(each, Classifier) and any(p.requires_grad for p in each.parameters())]
        kept = sum(buffer.numel() // n for buffer in method.buffers() if n in buffer.shape)
        return str(len(trained)), str(kept or "")

    def _set_up(self, method: Method) -> int:
        """Set the method up on the first task that it accepts. Returns the number of training examples."""
        for kind in self.kinds:
            with suppress(UserError):
                Trainer(method, kind.make_model, kind.task, self.settings, SEED, CPU)
                return len(kind.task.train)
        raise UserError(f"{type(method).__name__} accepts no task")


def cost(label: str) -> str:
    """Seconds per step on digits relative to plain training, or '' if it was not measured."""
    measured = _costs().get(label)
    return f"{measured:.1f}" if measured else ""


@functools.cache
def _costs() -> dict[str, float | None]:
    entries = read_costs(ROOT / "results" / "cost.json").entries
    return {entry.method: entry.relative_seconds for entry in entries if entry.dataset == "digits"}


def _year(name: str) -> str:
    source = re.search(r"Source:.*?\b((?:19|20)\d\d)\b", inspect.getdoc(registry.get(name)) or "", re.DOTALL)
    return source[1] if source else ""


def _origin(label: str, name: str) -> str:
    words = {each: word for word, names in HYPER_PARAMETERS.items() for each in names.split()}
    return words.get(label, words.get(name, ""))


def _accuracies() -> Iterator[tuple[tuple[str, str], str]]:
    """Mean test accuracy at the last step, over the shipped trials of each cell of the columns."""
    for experiment, columns in COLUMNS.items():
        trials = Trials(experiment, columns)
        for method in trials.methods:
            for column, mean in trials.means(method).items():
                yield (column, method), f"{mean:.1f}"


if __name__ == "__main__":
    main()
