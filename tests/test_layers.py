"""Import rules: packages import only those below them, and reading records needs no torch."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from benchmark import ROOT

PACKAGES = ("benchmark", "methods", "datasets", "robust_benchmark")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Every module that `path` imports, `from a import b` counted as both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def reached(module: str) -> set[str]:
    """Every module that importing `module` imports in the end; ours are followed, and so are the packages they lie in."""
    todo, found = [module], set()
    while todo:
        name = todo.pop()
        parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
        found |= {name, *parents}
        for ours in {name, *parents} & MODULES.keys():
            todo += imports(MODULES[ours]) - found
            found |= imports(MODULES[ours])
    return found


@pytest.mark.parametrize(("package", "forbidden"), [("datasets", "methods"), ("datasets", "benchmark"), ("methods", "benchmark")])
def test_a_lower_package_never_imports_a_higher_one(package: str, forbidden: str) -> None:
    mine = {name: path for name, path in MODULES.items() if within(name, package)}
    assert len(mine) > 5
    offenders = [name for name, path in mine.items() for imported in imports(path) if within(imported, forbidden)]
    assert offenders == []


WITHOUT_TORCH = (
    "benchmark.records",
    "benchmark.analysis",
    "benchmark.metrics",
    "benchmark.fingerprint",
    "benchmark.merge",
    "benchmark.launching.jobs",
    "benchmark.launching.look",
    "benchmark.overview",
    "benchmark.watch",
    "benchmark.view",
    "benchmark.observers",
    "robust_benchmark",
)


@pytest.mark.parametrize("module", [name for name in MODULES if any(within(name, package) for package in WITHOUT_TORCH)])
def test_what_reads_records_never_imports_torch_even_by_way_of_others(module: str) -> None:
    assert [name for name in reached(module) if within(name, "torch") or within(name, "torchvision")] == []


def test_status_meets_torch_only_by_way_of_the_grid_that_overrides_compose() -> None:
    composing = ("benchmark.config", "benchmark.launching.launch")
    others = {name for name in imports(MODULES["benchmark.status"]) if not any(within(name, module) for module in composing)}
    assert "benchmark.launching.look" in others
    assert [name for name in others if "torch" in reached(name)] == []


def test_report_meets_torch_only_by_way_of_the_configurations_that_experiments_pages_and_drawn_labels_compose() -> None:
    composing = ("benchmark.grid", "benchmark.page", "benchmark.redrawn", "benchmark.estimates")
    others = {name for name in imports(MODULES["benchmark.report"]) if not any(within(name, each) for each in composing)}
    assert "benchmark.analysis.tables" in others or "benchmark.analysis" in others
    assert [name for name in others if "torch" in reached(name)] == []
    assert "torch" in reached("benchmark.config")


def test_analysis_never_trains() -> None:
    training = ("benchmark.training", "benchmark.run", "benchmark.trial", "methods")
    for module in (name for name in MODULES if within(name, "benchmark.analysis")):
        assert [name for name in reached(module) if any(within(name, package) for package in training)] == []


def test_training_knows_neither_the_command_line_nor_analysis() -> None:
    above = ("benchmark.run", "benchmark.report", "benchmark.analysis", "benchmark.config", "benchmark.checks", "hydra", "omegaconf")
    for module in (name for name in MODULES if within(name, "benchmark.training")):
        assert [name for name in imports(MODULES[module]) if any(within(name, package) for package in above)] == []


def test_checks_are_known_to_their_command_alone_and_know_no_analysis() -> None:
    mine = {name for name in MODULES if within(name, "benchmark.checks")}
    assert len(mine) > 4
    assert {name for name in MODULES.keys() - mine if imports(MODULES[name]) & mine} == {"benchmark.check"}
    above = ("benchmark.run", "benchmark.report", "benchmark.analysis", "benchmark.speed", "benchmark.launching", "hydra", "omegaconf")
    assert [name for name in mine for imported in imports(MODULES[name]) if any(within(imported, package) for package in above)] == []


def test_the_audit_is_known_to_nothing_else_and_knows_no_analysis() -> None:
    mine = {name for name in MODULES if within(name, "benchmark.audit")}
    assert len(mine) > 4
    assert [name for name in MODULES.keys() - mine if imports(MODULES[name]) & mine] == []
    assert [name for name in mine if any(within(found, "benchmark.analysis") for found in reached(name))] == []


def test_no_two_packages_import_each_other_in_a_circle() -> None:
    rooms = {name for name, path in MODULES.items() if path.name == "__init__.py" and name != "benchmark"}
    assert len(rooms) > 4
    edges: dict[str, set[str]] = {room: set() for room in rooms}
    for name, path in MODULES.items():
        for room in filter(None, [_room(name, rooms)]):
            edges[room] |= {found for other in imports(path) & MODULES.keys() if (found := _room(other, rooms)) not in (None, room)}
    assert _circle(edges) == []


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    edges = {name: {other for other in imports(path) & MODULES.keys() if other not in packages} for name, path in MODULES.items()}
    assert _circle(edges) == []


def _room(name: str, rooms: set[str]) -> str | None:
    """The package that the module lies in; None for the modules of benchmark itself, which know all."""
    return max((room for room in rooms if within(name, room)), key=len, default=None)


def _circle(edges: dict[str, set[str]]) -> list[str]:
    """Return the modules that remain after repeatedly removing modules without imports among the remaining ones."""
    left = dict(edges)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_no_file_is_a_room_for_everything() -> None:
    assert [name for name in MODULES if name.rpartition(".")[2] in ("utils", "helpers", "misc", "common")] == []
