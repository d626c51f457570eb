"""Random mistakes of users: a command ends with a correct result or with one sentence, never with a traceback.

`HYPOTHESIS_PROFILE=nightly python -m pytest -n 0 tests/test_properties.py` tries ten times as many, different ones each time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from benchmark import report, run
from benchmark.config import composed_options
from benchmark.overrides import choices_of
from benchmark.records.store import Record, Store, read_all
from methods import registry
from methods.base import Batch, Method, Weighted
from tests.test_significance import RECORDS

COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("ci", max_examples=65, derandomize=True, **COMMON)  # type: ignore[arg-type]
settings.register_profile("nightly", max_examples=700, **COMMON)  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@contextlib.contextmanager
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def ended(root: Path, *overrides: str) -> tuple[int, str]:
    """Exit status and stderr of a short training; checks what holds of every command."""
    shortest = ["trainer.steps=2", "trials=1", "processes=1", f"results_dir={root / 'r'}", f"checkpoint_dir={root / 'c'}"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = run.main([*shortest, *overrides])
        except SystemExit as error:  # of argparse
            status = error.code if isinstance(error.code, int) else 1
    text = err.getvalue()
    assert status in (0, 1, 2)
    assert "Traceback" not in text, text
    assert status != 2 or sum("error: " in line for line in text.splitlines()) == 1, text
    records, errors = read_all(root / "r") if (root / "r").exists() else ([], [])
    assert not errors
    assert status != 0 or records
    return status, text


# --- the command line

FIXED = ("trainer.steps", "trials", "processes", "results_dir", "checkpoint_dir", "data_dir", "device", "compile", "launcher")
OPTIONS = [name for name in composed_options([]) if name.partition(".")[0] not in ("dataset", *FIXED) and name not in FIXED]
JUNK = ("null", "true", "nan", "inf", "abc", "", "[]", "[1,2]", "[-1]", "{a: 1}", "???", "${seed}", "glob(*)", "range(1,3)", "'1'")
WORDS = st.sampled_from(JUNK)
VALUES = st.one_of(st.integers(-3, 64).map(str), st.floats(-2, 2).map(str), WORDS, st.text("aé=,:[({\"'\\ ", max_size=4))
NAMED = st.builds("{}={}".format, st.sampled_from(OPTIONS), VALUES)
MISSPELT = st.builds(lambda name, place: f"{name[:place]}{name[place + 1 :]}=1", st.sampled_from(OPTIONS), st.integers(0, 20))
CHOICES = st.one_of(*(st.builds("{}={}".format, st.just(group), st.sampled_from(choices_of(group))) for group in ("noise", "imbalance")))
MARKED = st.builds("{}{}".format, st.sampled_from(["+", "++", "~"]), NAMED)


@given(st.lists(st.one_of(NAMED, NAMED, MISSPELT, CHOICES, MARKED, VALUES), min_size=1, max_size=2))
def test_any_command_line_trains_or_is_one_sentence(overrides: list[str]) -> None:
    with place() as root:
        ended(root, *overrides)


# --- records

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from leaves(inner, (*path, key))


def reported(root: Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = report.main([str(root)])
    return status, out.getvalue(), err.getvalue()


@given(st.data())
def test_a_mutated_record_is_refused_or_changes_no_number(data: st.DataObject) -> None:
    with place() as root:
        files = [Store(root).write(record) for record in RECORDS]
        _, table, _ = reported(root)
        content = json.loads(files[0].read_text())
        path = data.draw(st.sampled_from(list(leaves(content))))
        node = content
        for key in path[:-1]:
            node = node[key]
        if isinstance(node, dict) and data.draw(st.booleans()):
            del node[path[-1]]
        else:
            node[path[-1]] = data.draw(JSON)
        files[0].write_text(json.dumps(content))
        status, shown, err = reported(root)
        assert "Traceback" not in err
        assert (status == 1 and str(files[0]) in err) or (status == 0 and shown == table)


# --- trees of pictures


def picture(kind: str, side: int) -> bytes:
    if kind in ("empty", "text"):
        return b"" if kind == "empty" else b"no picture"
    pixels = np.random.default_rng(side).integers(0, 255, (side, side), dtype=np.uint8)
    image = Image.fromarray(pixels.astype(np.uint16) * 257) if kind == "I;16" else Image.fromarray(pixels).convert(kind)
    content = io.BytesIO()
    image.save(content, "png")
    return content.getvalue()[: 40 if side == 9 else None]  # some are cut off


PICTURES = st.builds(
    picture, st.sampled_from(["L", "RGB", "RGBA", "P", "1", "I;16", "empty", "text"]), st.sampled_from([1, 8, 8, 8, 9, 12])
)
CLASSES = st.dictionaries(st.sampled_from("abc"), st.lists(PICTURES, max_size=4), max_size=3)
TREES = st.dictionaries(st.sampled_from(["train", "test"]), CLASSES)


@given(TREES, st.sampled_from(["null", "8", "0", "-1", "1e9", "big"]))
def test_any_tree_of_pictures_trains_or_is_one_sentence(tree: dict[str, dict[str, list[bytes]]], size: str) -> None:
    with place() as root:
        for part, classes in tree.items():
            for name, pictures in classes.items():
                (root / "d" / part / name).mkdir(parents=True)
                for number, content in enumerate(pictures):
                    (root / "d" / part / name / f"{number}.png").write_bytes(content)
        data = ["dataset=image_folder", f"dataset.path={root / 'd'}", f"data_dir={root}", f"dataset.size={size}"]
        split = ["split.clean_per_class=0", "split.hyper_validation=0"]
        ended(root, "method=baseline", "noise=none", "model=convnet", *data, *split)


# --- methods

RETURNED: Sequence[Any] = (None, 1.0, "x", [], float("nan"))


def tensors(losses: torch.Tensor) -> list[Any]:
    n = len(losses)
    weights = [torch.ones(n) / n, torch.ones(n + 1), -torch.ones(n), torch.full((n,), float("nan")), torch.ones(n, 1), None, "w"]
    loss = losses.sum()
    return [losses, loss, loss.detach(), loss * float("nan"), *(Weighted(loss, each) for each in weights)]  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_method_stays")
@given(st.integers(0, len(RETURNED) + 10))
def test_for_any_result_of_a_loss_the_other_method_trains(which: int) -> None:
    class Mine(Method):
        """Returns an invalid value from its loss."""

        def loss(self, batch: Batch) -> Any:
            losses = functional.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
            return [*RETURNED, *tensors(losses)][which]

    registry._registered.pop("property_mine", None)
    registry.register("property_mine")(Mine)
    with place() as root:
        status, err = ended(root, "method=property_mine,reed")
        methods: set[str] = {record["method"] for record in records_of(root)}
        assert "reed" in methods
        assert status == 0 or "property_mine" in err


def records_of(root: Path) -> list[Record]:
    return read_all(root / "r")[0]
