"""Options from signatures and docstrings, against explicit expectations and against the errors of the constructors."""

from __future__ import annotations

import functools
import inspect
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import yaml

from benchmark import ROOT, run
from benchmark.config import cells
from benchmark.options import RunConfig, SlurmLauncher
from benchmark.signatures import Option, Range, options_of
from datasets.class_noise import PairFlip
from datasets.imbalance import ClassImbalance, Exponential, Step
from datasets.instance_noise import InstanceNoise
from datasets.noise import BackgroundFlip, UniformFlip
from methods import registry
from methods.baseline import Baseline
from methods.wrapper import Wrapper
from robust_benchmark.errors import UserError


def sample(
    rate: float = 0.4,
    size: int | None = None,
    kind: str = "a",
    widths: Sequence[int] = (1, 2),
    mode: Literal["x", "y"] = "x",
    flag: bool = False,
    anything=None,  # type: ignore[no-untyped-def]  # as a plug-in may have it
    path: str = "p",
) -> None:
    """A function.

    rate: a share, in (0, 1]
        of all; size: of it, at least 2
    kind: one of a, b: 'a', the first
    widths, flag: of layers, above 0

    mode of operation is free: in [0, 9]
    """


def test_ranges_and_meanings_are_read_from_the_docstring() -> None:
    found = options_of(sample)
    assert list(found) == ["rate", "size", "kind", "widths", "mode", "flag", "anything", "path"]
    assert found["rate"].range == Range(0, 1, (False, True))
    assert found["rate"].meaning == "a share, in (0, 1] of all"
    assert found["size"].allowed == "a whole number of at least 2 or null"
    assert found["kind"].names == ("a", "b")
    assert found["widths"].allowed == "a list of whole numbers above 0"
    assert found["mode"].meaning == ""
    assert found["path"].default == "p"


TAKEN = {
    "rate": [0.1, 1, 1.0],
    "size": [2, None],
    "kind": ["a", "b"],
    "widths": [[1], (3, 4), []],
    "mode": ["x"],
    "flag": [True],
    "anything": [1, "x", None, [2]],
    "path": ["q"],
}
REFUSED: dict[str, list[Any]] = {
    "rate": [0, 1.1, "high", None, True, math.nan, math.inf, [0.5]],
    "size": [1, 2.0, "2", True],
    "kind": ["c", 1, None, ""],
    "widths": [0, [0], ["a"], [1.5], None],
    "mode": ["z", None],
    "flag": [1, "maybe", None],
    "path": ["", None, 5],
}


@pytest.mark.parametrize("name", TAKEN)
def test_values_are_taken_by_type_and_range(name: str) -> None:
    option = options_of(sample)[name]
    assert [value for value in TAKEN[name] if option.fault(name, value)] == []
    assert [value for value in REFUSED.get(name, []) if not option.fault(name, value)] == []


def test_a_data_class_within_another_gives_dotted_options_with_its_own_meanings() -> None:
    @dataclass
    class Outer:
        """rate: of all, in [0, 1]"""

        inner: SlurmLauncher = field(default_factory=SlurmLauncher)
        rate: float = 0.5

    Outer.__annotations__["inner"] = SlurmLauncher  # a class of this test's own cannot be named from a string
    found = options_of(Outer)
    assert found["inner.mem_gb"] == options_of(SlurmLauncher)["mem_gb"]
    assert found["rate"].range == Range(0, 1, (True, True))


def test_options_by_keyword_are_open() -> None:
    def taking(rate: float = 0.5, **others: Any) -> None: ...

    assert options_of(taking).is_open
    assert list(options_of(taking)) == ["rate"]


# --- what the suite configures


def targets() -> dict[str, str]:
    """The `_target_` of every choice of noise, imbalance, model and data set."""
    found = {}
    for group in ("noise", "imbalance", "model", "dataset"):
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
            made = given.get("dataset", {}).get("source", {}) if group == "dataset" else given
            if "_target_" in made:
                found[f"{group}={path.stem}"] = made["_target_"]
    return found


@pytest.mark.parametrize("choice", targets())
def test_every_option_of_a_shipped_choice_has_type_and_meaning(choice: str) -> None:
    target = pkgutil.resolve_name(targets()[choice])
    skipped = 2 if choice.startswith("model=") else 0
    for name, option in list(options_of(target).items())[skipped:]:
        assert option.kind is not Any, name
        assert option.meaning, name


@pytest.mark.parametrize("name", registry.names())
def test_every_option_of_a_method_has_type_and_meaning(name: str) -> None:
    for option, described in options_of(registry.get(name)).items():
        assert described.kind is not Any, option
        assert described.meaning, option


def test_every_option_of_a_run_has_a_meaning() -> None:
    parts = ("method", "dataset", "imbalance", "noise", "model", "launcher", "experiment.name", "trainer.name")
    assert [name for name, option in options_of(RunConfig).items() if not option.meaning and name not in parts] == []


CLASSES: list[Callable[..., Any]] = [UniformFlip, BackgroundFlip, PairFlip, InstanceNoise, ClassImbalance, Exponential, Step]
CLASSES += [registry.get(name) for name in registry.names()]
OF_DATA = ("majority", "ratio", "total")  # these are checked against the data


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_what_a_docstring_allows_a_constructor_takes_and_what_is_outside_it_is_refused_by_name(cls: Callable[..., Any]) -> None:
    make = functools.partial(cls, Baseline()) if isinstance(cls, type) and issubclass(cls, Wrapper) else cls
    for name, option in options_of(cls).items():
        if name in OF_DATA:
            continue
        for value in allowed(option):
            make(**{name: value})
        for value in outside(option):
            with pytest.raises(UserError, match=rf"\b{name} (.* is not in|must be)|^no (\w+ )?{name} '"):
                make(**{name: value})


def allowed(option: Option) -> list[Any]:
    """Values that its docstring allows: each name, and the lowest number or one near it."""
    low = [] if option.range is None else [option.range.low + (0 if option.range.closed[0] else 0.5)]
    return [*option.names, *(int(value) if option.kind is int else value for value in low)]


def outside(option: Option) -> list[Any]:
    """Values that its docstring excludes: another name; what is no number; numbers next to the ends of the range, and excluded ends."""
    names = ["no such name"] if option.names else []
    if option.range is None:
        return names
    ends = zip((option.range.low, option.range.high), option.range.closed, (-1, 1), strict=True)
    if option.kind is int:
        return ["high", True, *(int(end) + sign * closed for end, closed, sign in ends if math.isfinite(end))]
    return ["high", True, math.nan, *(end + sign * 0.01 * closed for end, closed, sign in ends if math.isfinite(end))]


# --- what is shown


def test_help_of_one_choice_shows_type_default_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--help", "method=reed_soft"]) == 0
    assert "method.beta=0.95  a number: share of the given label in the target, in [0, 1]\n" in capsys.readouterr().out


def test_help_shows_every_option_of_the_default_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name in options_of(RunConfig):
        if "." in name and not name.startswith("experiment") and not name.endswith(".name"):
            assert f"  {name}=" in printed
    for name in options_of(SlurmLauncher):
        assert f"  launcher.{name}=" in printed or name == "name"


def test_help_of_what_is_no_choice_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--help", "method=reeed"]) == 2
    assert "no method 'reeed'; nearest: reed " in capsys.readouterr().err


def test_a_printed_configuration_explains_its_options_and_is_yaml_of_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--cfg", "job", "noise=uniflip", "trainer.main.decay_at=[0.25]"]) == 0
    printed = capsys.readouterr().out
    assert "  rate: 0.4 # a number: share of selected examples, in [0, 1]\n" in printed
    (cell,) = cells(["noise=uniflip", "trainer.main.decay_at=[0.25]"])
    parsed = yaml.safe_load(printed)
    assert parsed["noise"] == cell.config.noise
    assert parsed["trainer"]["main"] == vars(cell.config.trainer.main)


def test_without_arguments_the_command_explains_itself_and_trains_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "complete", lambda *_: pytest.fail("it trains"))
    assert run.main([]) == 0
    printed = capsys.readouterr().out
    assert "--help" in printed
    assert inspect.cleandoc(printed).count("method=") >= 2
