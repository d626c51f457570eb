"""Records outlive the code: the values of the options identify a cell, not the location of code or the number of options."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import ROOT
from benchmark.config import cells
from benchmark.identity import identity
from benchmark.records.store import read_all
from methods import registry
from robust_benchmark.errors import UserError

EXPERIMENTS = [["experiment=digits"], ["experiment=table2", "dataset=digits"], ["experiment=fig5", "dataset=digits"], ["experiment=fig2"]]
EXPERIMENTS += [["experiment=fig4", "dataset=digits"], ["experiment=noise_atlas"], ["experiment=noise_reasons"]]
EXPERIMENTS += [["experiment=tail_atlas"], ["experiment=tail_reasons"], ["experiment=clean_noise"]]
EXPERIMENTS += [["experiment=digits_modern"], ["experiment=digits_longtail"], ["experiment=table2_small"]]
EXPERIMENTS += [["experiment=table1_mnist"], ["experiment=table2_mnist"], ["experiment=noise_atlas_mnist"]]
EXPERIMENTS += [["experiment=tail_reasons_mnist"], ["experiment=noise_reasons_mnist"], ["experiment=cifar10n_small"]]
EXPERIMENTS += [["experiment=cifar10n_reasons"]]
EXPERIMENTS += [["experiment=fig4_mnist"], ["experiment=fig4_mnist", "split.clean_total=1000", "method=l2rw", "trainer.lr=0.01"]]
EXPERIMENTS += [["experiment=fig5_mnist"], ["experiment=fig5_mnist", "noise.rate=0", "method=l2rw", "trainer.lr=0.01,0.003"]]
EXPERIMENTS += [["experiment=tail_atlas_mnist"], ["experiment=fig7", "dataset=digits"], ["experiment=fig7", "dataset=mnist_10k"]]
KEYS = """
import json, sys
from benchmark.config import cells
print(json.dumps([sorted({cell.key for overrides in json.loads(grids) for cell in cells(overrides)}) for grids in sys.argv[1:]]))
"""


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text, (file, before)
    file.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def refactored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which a class moved, a module has another name, and a method, a noise, a model and the trainer have one more option."""
    root = tmp_path_factory.mktemp("refactored")
    for folder in ("benchmark", "conf", "datasets", "methods", "robust_benchmark"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    conf, added = root / "conf", root / "benchmark" / "identity.py"
    noise = (root / "datasets" / "noise.py").read_text(encoding="utf-8")
    (root / "datasets" / "background.py").write_text(noise, encoding="utf-8")
    edit(root / "datasets" / "noise.py", "class BackgroundFlip", "class Nothing")
    edit(conf / "noise" / "bgflip.yaml", "datasets.noise.", "datasets.background.")
    (root / "benchmark" / "models" / "convnet.py").rename(root / "benchmark" / "models" / "small.py")
    edit(conf / "model" / "convnet.yaml", "models.convnet.", "models.small.")
    edit(root / "methods" / "l2rw.py", "meta_weight_decay: float = 0.0)", "meta_weight_decay: float = 0.0, heat: float = 1.0)")
    edit(root / "methods" / "l2rw.py", "    needs = Know", '    added_options = {"heat": 1.0}\n    needs = Know')
    edit(conf / "noise" / "bgflip.yaml", "rate: 0.4", "rate: 0.4\nexact: true")
    edit(root / "datasets" / "background.py", "list[int] | None = None)", "list[int] | None = None, exact: bool = True)")
    edit(conf / "model" / "convnet.yaml", "width: 16", "width: 16\nnorm: batch")
    edit(root / "benchmark" / "models" / "small.py", "width: int = 16)", 'width: int = 16, norm: str = "batch")')
    edit(root / "benchmark" / "options.py", "    momentum: float = 0.9\n", "    momentum: float = 0.9\n    dampening: float = 0.0\n")
    edit(added, '    "scale": 1.0,', '    "noise.exact": True, "model.norm": "batch", "trainer.dampening": 0.0,\n    "scale": 1.0,')
    return root


def keys(root: Path, *grids: list[list[str]]) -> list[list[str]]:
    """The keys of grids of overrides, as the checkout at `root` composes them."""
    command = [sys.executable, "-c", KEYS, *map(json.dumps, grids)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_shipped_record_is_found_after_a_refactoring_that_adds_options(refactored: Path) -> None:
    shipped = {record["key"] for record in read_all(ROOT / "results" / "reference", whole=False)[0]}
    assert len(shipped) > 80
    changed = ["method.heat=2", "noise.exact=false", "model.norm=none", "trainer.dampening=0.5"]
    l2rw, *others = keys(refactored, [["method=l2rw"]], *([["method=l2rw", option]] for option in changed))
    found = set(keys(refactored, EXPERIMENTS)[0])
    assert shipped <= found
    assert found <= shipped  # every cell of these experiments has a record
    assert l2rw == [cells(["method=l2rw"])[0].key]
    assert len({*l2rw, *(key for other in others for key in other)}) == 5  # at another value an option is another cell


def test_no_identity_holds_an_import_path() -> None:
    for grid in (["experiment=digits_modern"], ["experiment=fig2"], ["dataset=image_folder", "dataset.path=x"]):
        for cell in cells(grid):
            assert not re.search(r'"_|datasets\.|benchmark\.|methods\.', cell.canonical)


@pytest.mark.parametrize(
    "override", ["noise._target_=os.system", "+noise._partial_=true", "noise.name=../x", "dataset.source._target_=a.b", "method.name=reed"]
)
def test_names_and_import_paths_are_refused_on_the_command_line(override: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"'{override.lstrip('+').partition('=')[0]}' cannot be set here")):
        cells([override])


def test_options_at_their_value_from_before_they_existed_are_left_out_wherever_the_method_stands() -> None:
    options = {"dataset": {"source": {"root": "data", "size": 3.0}}, "noise": {"_target_": "a.B", "rate": 0.0}, "scale": 1.0}
    base = {"name": "reed", "beta": 0.8, "soft": False}
    found = identity({**options, "method": {"name": "finetune", "base": base}}, lambda name: {"soft": False} if name == "reed" else {})
    assert found == {
        "dataset": {"source": {"size": 3}},
        "noise": {"rate": 0},
        "method": {"name": "finetune", "base": {"name": "reed", "beta": 0.8}},
    }


def test_added_options_are_options_of_their_methods() -> None:
    for name in registry.names():
        assert registry.added_options(name).keys() <= vars(registry.schema(name)()).keys()
