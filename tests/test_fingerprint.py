"""Fingerprints change only with the code that produces a record's numbers."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmark import ROOT
from benchmark.fingerprint import EQUIVALENT, UNKNOWN, digest_of, earlier, of, stale_parts
from methods import registry

PARTS = ["method", "model", "data", "trainer"]
CHECKOUT = {
    "methods/__init__.py": "",
    "methods/base.py": "class Method:\n    rate = 1\n",
    "methods/registry.py": "def register(cls):\n    return cls\n",
    "methods/l2rw.py": "from methods.weights import W\nfrom methods.registry import register\n\n@register\nclass L2RW:\n    w = W\n",
    "methods/weights.py": "import methods.base\nW = 3\n",
    "methods/soft.py": 'from methods import base, registry\n\n@registry.register("reed")\nclass Reed(base.Method):\n    beta = 0.8\n',
    "methods/finetune.py": "from methods.registry import register\n\n@register\nclass Finetune:\n    pass\n",
    "methods/random.py": "from .base import Method\nfrom .registry import register\n@register\nclass Random(Method):\n    pass\n",
    "benchmark/models/convnet.py": "import math\nclass ConvNet:\n    width = 16\n",
    "benchmark/models/resnet.py": "from benchmark.models.initialise import fan\nclass ResNet:\n    pass\n",
    "benchmark/models/initialise.py": "def fan():\n    return 2\n",
    "datasets/digits.py": "def load():\n    from datasets.streams import stream\n    return stream(1)\n",
    "datasets/streams.py": "def stream(seed):\n    return seed + 1\n",
    "datasets/noise.py": "class Flip:\n    rate = 0.4\n",
    "datasets/task.py": "from datasets.augment import pad\n",
    "datasets/augment.py": "pad = 2\n",
    "benchmark/training/trainer.py": "from benchmark.training.sgd import step\nfrom datasets.task import pad\nimport methods.base\n",
    "benchmark/training/sgd.py": "def step(lr=0.1):\n    return lr * 2\n",
    "benchmark/training/lanes.py": "LANES = 4\n",
    "conf/model/convnet.yaml": "name: convnet\n# _target_: torch.nn.Linear\n_target_: benchmark.models.convnet.ConvNet # small\n",
    "conf/model/mine.yaml": "name: 'wide resnet'\n_target_: \"benchmark.models.resnet.ResNet\"\n",
    "conf/model/theirs.yaml": "name: theirs\n_target_: their_lab.nets.Net\n",
    "conf/dataset/digits.yaml": "dataset:\n  name: digits\n  source: {_target_: datasets.digits.load, test_size: 500}\n",
    "conf/noise/bgflip.yaml": "name: bgflip\n_target_: datasets.noise.Flip\n",
}


def checkout(folder: Path, edits: Mapping[str, str] | None = None) -> Path:
    """The small checkout in `folder`; edits: the new text of a file by its path."""
    for path, text in {**CHECKOUT, **(edits or {})}.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def config(*methods: str, model: str = "convnet", dataset: str = "digits", noise: str = "bgflip") -> dict[str, Any]:
    """methods: the outermost wrapper first."""
    method: dict[str, Any] = {}
    for name in reversed(methods or ("l2rw",)):
        method = {"name": name, "rate": 0.5} | ({"base": method} if method else {})
    return {"method": method, "model": {"name": model}, "dataset": {"name": dataset}, "noise": {"name": noise, "rate": 0.4}}


def changed(folder: Path, choice: dict[str, Any], edits: Mapping[str, str]) -> list[str]:
    """The parts of the fingerprint that the edits change."""
    before, after = of(choice, checkout(folder / "before")), of(choice, checkout(folder / "after", edits))
    assert list(before) == list(after) == PARTS
    assert all(re.fullmatch("[0-9a-f]{12}", digest) for digest in (*before.values(), *after.values()))
    return [part for part in PARTS if before[part] != after[part]]


# --- the digest of a source text

SAMPLE = '''# comment
"""Docstring."""
from __future__ import annotations
import a.b as c, d
from . import e
big = [10**20, 0o17, 1_000, 123456789012345678901234567890, 0xHEX, 1e-3, 1e999, .1, 2j, b"\\x00\\xff", "\\u00e4\\U0001fae0\\ud800"]
other = [r"\\d", ..., None, True, -0.0]
async def f(p, /, q: int | None = 1, *r: *tuple[int], s=None, t, **u: "str") -> None:
    """Docstring."""
    async with g() as h, i: await h
    return [j async for j in k if j] or {**l, "m": 1} or {*n} or (yield)
@o(1)
class P(q, metaclass=r):
    "Docstring."
def s(): "Docstring."
t = lambda a, b=1, *c, d=None, **e: (a if b else c, not d, e)
u = f"" + f"{t}{u!r:>{v}.{w}}a" "b" f"c{x = }{{}}" f'{f"{y:%H:%M}":}' + f"{z!s:}" + rf"\\d{a:{'b'}}"
match v:
    case {"a": [1, *_], **rest} | W(x=None, y=-1.5) if (n := len(rest)) > 3: pass
    case None | True | "s" as w: del w
    case _: raise E from None
try:
    x[1:2, ::3, ...], *y = z
except* (A, B) as e:
    global g; x @= y; x: int; (x.y): int = 1
else: assert x, "y"
finally:
    while x < y <= z is not None not in w: break
'''.replace("HEX", "f" * 5000)
SAMPLES = {
    SAMPLE: "821f931e31a0",
    "": "ccdee505c02b",
    "x = 1\n": "9814d2ea6ba8",
    'f"{x:}"': "56974f14a0a5",
    'f"{x:{y}}"': "a435c25d4b70",
}


@pytest.mark.parametrize(("source", "digest"), SAMPLES.items(), ids=["hard", "empty", "plain", "no format", "nested format"])
def test_a_digest_is_the_same_for_any_version_of_python(source: str, digest: str) -> None:
    assert digest_of(source) == digest


DIGESTS = """
import json, runpy, sys
digest_of = runpy.run_path(sys.argv[1])["digest_of"]
print(json.dumps([digest_of(text) for text in json.load(sys.stdin)]))
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_file_of_this_project_has_the_same_digest_in_other_versions_of_python(version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip(f"needs a working python{version} on the PATH")
    files = [file for folder in ("benchmark", "datasets", "methods", "tests") for file in sorted((ROOT / folder).rglob("*.py"))]
    sources = [*SAMPLES, *(file.read_text(encoding="utf-8") for file in files)]
    command = [python, "-I", "-S", "-c", DIGESTS, str(ROOT / "benchmark" / "fingerprint.py")]
    done = subprocess.run(command, input=json.dumps(sources), capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == [digest_of(source) for source in sources]


CODE = '''"""Docstring."""
import torch


def step(rate: float = 0.1, *, names=("a", "b")) -> float:
    """Docstring."""
    return rate * 2 + len(names)  # comment


class Empty:
    """Docstring alone."""
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Docstring."""\nimport', "import"),
        ("# comment", "# another"),
        ('"""Docstring."""\n    return', "return"),
        ('"""Docstring alone."""', "pass"),
        ('"""Docstring alone."""', '"""Another."""\n    pass'),
        ("rate * 2 + len(names)", "(\n        (rate * 2)\n        + len( names, )\n    )"),
        ('("a", "b")', "('a', u'b',)"),
        ("0.1", "1e-1"),
        ("\n", "\r\n"),
        ("    ", "\t"),
    ],
)
def test_comments_docstrings_and_layout_change_no_digest(old: str, new: str) -> None:
    assert CODE.replace(old, new) != CODE
    assert digest_of(CODE.replace(old, new)) == digest_of(CODE.encode()) == digest_of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.2"),
        ("* 2", "* 2.0"),
        ("* 2", "/ 2"),
        ("+ len", "- len"),
        ('"b"', 'b"b"'),
        (": float", ""),
        ("*, ", ""),
        ("Empty", "Full"),
    ],
)
def test_a_number_an_operator_a_default_a_type_or_a_name_changes_the_digest(old: str, new: str) -> None:
    assert digest_of(CODE.replace(old, new, 1)) != digest_of(CODE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("return_ = None", "return_ = ''"),
        ("def f(): return", "def f(): return None"),
        ("x = {**a}", "x = {None: a}"),
        ("def f(*, a, b=1): 0", "def f(*, a=1, b): 0"),
        ("f'{x}'", "f'{x!r}'"),
        ("f'{x:a}'", "f'{x}a'"),
        ("f'{x}'", "'{x}'"),
        ("x = 1, [2]", "x = [1], 2"),
        ("x = True", "x = 1"),
        ("x = 'Ellipsis'", "x = ..."),
        ("a[1:]", "a[:1]"),
        ("match x:\n case None: 0", "match x:\n case True: 0"),
    ],
)
def test_texts_of_different_meaning_have_different_digests(one: str, other: str) -> None:
    assert ast.dump(ast.parse(one)) != ast.dump(ast.parse(other))
    assert digest_of(one) != digest_of(other)


# --- which files make which part


@pytest.mark.parametrize(
    ("edits", "parts"),
    [
        ({"methods/l2rw.py": "# new comment\n" + CHECKOUT["methods/l2rw.py"] + "\n\n"}, []),
        ({"methods/l2rw.py": CHECKOUT["methods/l2rw.py"] + "    v = 1\n"}, ["method"]),
        ({"methods/weights.py": "import methods.base\nW = 4\n"}, ["method"]),
        ({"methods/base.py": "class Method:\n    rate = 2\n"}, ["method"]),  # by way of weights
        ({"methods/__init__.py": "FAST = True\n"}, ["method"]),
        ({"methods/soft.py": "import torch\n"}, []),
        ({"benchmark/models/convnet.py": "class ConvNet:\n    width = 8\n"}, ["model"]),
        ({"benchmark/models/initialise.py": ""}, []),
        ({"datasets/digits.py": "def load():\n    return 1\n"}, ["data"]),
        ({"datasets/streams.py": "def stream(seed):\n    return seed - 1\n"}, ["data"]),  # imported within a function
        ({"datasets/noise.py": "class Flip:\n    rate = 0.5\n"}, ["data"]),
        ({"datasets/augment.py": "pad = 3\n"}, ["data"]),
        ({"benchmark/training/trainer.py": "import benchmark.training.sgd\n"}, ["trainer"]),
        ({"benchmark/training/sgd.py": "def step(lr=0.2):\n    return lr * 2\n"}, ["trainer"]),
        ({"benchmark/training/lanes.py": "LANES = 5\n"}, []),
    ],
)
def test_an_edit_changes_the_part_that_its_file_belongs_to_and_no_other(tmp_path: Path, edits: dict[str, str], parts: list[str]) -> None:
    assert changed(tmp_path, config("l2rw"), edits) == parts


@pytest.mark.parametrize("methods", [("finetune", "l2rw"), ("finetune", "finetune", "l2rw")])
def test_the_method_part_of_a_wrapper_covers_its_bases(tmp_path: Path, methods: tuple[str, ...]) -> None:
    assert changed(tmp_path / "base", config(*methods), {"methods/weights.py": "W = 4\n"}) == ["method"]
    wrapper = CHECKOUT["methods/finetune.py"] + "    x = 1\n"
    assert changed(tmp_path / "wrapper", config(*methods), {"methods/finetune.py": wrapper}) == ["method"]
    assert changed(tmp_path / "other", config(*methods), {"methods/soft.py": ""}) == []


@pytest.mark.parametrize("method", ["l2rw", "reed", "random"])  # import methods.base; from methods import base; from .base import Method
def test_imports_of_every_form_are_followed(tmp_path: Path, method: str) -> None:
    assert changed(tmp_path, config(method), {"methods/base.py": "class Method:\n    rate = 2\n"}) == ["method"]


def test_a_model_is_found_by_its_name_in_a_file_of_another_name(tmp_path: Path) -> None:
    assert changed(tmp_path, config(model="wide resnet"), {"benchmark/models/initialise.py": "def fan():\n    return 3\n"}) == ["model"]


def test_a_renamed_module_changes_the_digest_of_those_alone_that_import_it(tmp_path: Path) -> None:
    before, after = checkout(tmp_path / "before"), checkout(tmp_path / "after")
    (after / "methods" / "soft.py").rename(after / "methods" / "bootstrap.py")
    (after / "benchmark" / "models" / "convnet.py").rename(after / "benchmark" / "models" / "two_layers.py")
    (after / "conf" / "model" / "convnet.yaml").write_text("name: convnet\n_target_: benchmark.models.two_layers.ConvNet\n")
    for methods in (["reed"], ["l2rw"], ["finetune", "reed"]):
        assert of(config(*methods), after) == of(config(*methods), before)
        assert UNKNOWN not in of(config(*methods), after).values()


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("methods/l2rw.py", ["method"]),
        ("methods/dual.py", ["method"]),  # by way of meta_gradient
        ("methods/reed.py", []),
        ("benchmark/models/resnet.py", ["model"]),
        ("benchmark/models/initialise.py", ["model"]),
        ("benchmark/models/lenet.py", []),
        ("datasets/digits.py", ["data"]),
        ("datasets/noise.py", ["data"]),
        ("datasets/streams.py", ["data"]),
        ("datasets/published.py", []),
        ("benchmark/training/graphs.py", ["trainer"]),
        ("benchmark/records/store.py", []),
    ],
)
def test_an_edit_of_this_project_changes_the_right_part(tmp_path: Path, path: str, parts: list[str]) -> None:
    for folder in ("benchmark", "conf", "datasets", "methods"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / path).write_text((tmp_path / path).read_text(encoding="utf-8") + "\nx = 1\n", encoding="utf-8")
    choice = config("finetune", "l2rw", model="resnet32")
    assert stale_parts(of(choice, ROOT), of(choice, tmp_path)) == parts


def test_every_choice_of_this_project_is_known() -> None:
    files = {group: list((ROOT / "conf" / group).glob("*.yaml")) for group in ("model", "dataset", "noise")}
    choices = {group: [file.stem for file in found if "name:" in file.read_text(encoding="utf-8")] for group, found in files.items()}
    assert min(map(len, choices.values())) > 3
    tried = [config(name) for name in registry.names() if registry.get(name).__module__.startswith("methods.")]
    assert len(tried) > 10
    tried += [config("l2rw", **{group: name}) for group, names in choices.items() for name in names]
    for choice in tried:
        assert UNKNOWN not in of(choice).values(), choice


# --- plug-ins, and unknown code


def plugin(folder: Path, **files: str) -> Path:
    """A package `lab` with a folder `methods` in it, and in there the module mine."""
    texts = {"__init__": "", "common": "X = 1\n", "methods/__init__": "", "methods/mine": "from methods.weights import W\n"}
    for name, text in (texts | {name.replace("__", "/"): text for name, text in files.items()}).items():
        file = folder / "lab" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder / "lab" / "methods" / "mine.py"


def test_a_plug_in_is_covered_with_its_whole_package_and_with_what_it_imports_of_the_checkout(tmp_path: Path) -> None:
    first = of(config("mine"), checkout(tmp_path / "a"), {"method=mine": plugin(tmp_path / "1")})
    package = of(config("mine"), tmp_path / "a", {"method=mine": str(plugin(tmp_path / "2", common="X = 2\n"))})
    inside = of(config("mine"), checkout(tmp_path / "b", {"methods/weights.py": "W = 4\n"}), {"method=mine": plugin(tmp_path / "1")})
    assert list(first) == [*PARTS, "plugin"]
    assert UNKNOWN not in first.values()
    assert stale_parts(first, package) == ["plugin"]
    assert stale_parts(first, inside) == ["method"]


def test_a_plug_in_of_one_file_is_that_file_alone(tmp_path: Path) -> None:
    root = checkout(tmp_path / "checkout")
    for name, text in {"mine.py": "X = 1\n", "other.py": "X = 2\n"}.items():
        (tmp_path / name).write_text(text)
    found = of(config("finetune", noise="mine"), root, {"noise=mine": tmp_path / "mine.py", "method=l2rw": tmp_path / "other.py"})
    (tmp_path / "other.py").unlink()
    assert found == of(config("finetune", noise="mine"), checkout(tmp_path / "again"), {"noise=mine": tmp_path / "mine.py"})
    assert found["data"] != of(config("finetune"), root)["data"]
    assert "plugin" in found


def test_a_name_of_the_checkout_is_not_taken_from_a_plug_in(tmp_path: Path) -> None:
    root = checkout(tmp_path / "checkout")
    assert of(config("l2rw"), root, {"method=l2rw": plugin(tmp_path)}) == of(config("l2rw"), root)


def test_a_model_in_conf_whose_code_lies_outside_the_checkout_is_one_of_a_plug_in(tmp_path: Path) -> None:
    root = checkout(tmp_path / "checkout")
    assert of(config(model="theirs"), root)["model"] == UNKNOWN
    assert UNKNOWN not in of(config(model="theirs"), root, {"model=theirs": plugin(tmp_path)}).values()


@pytest.mark.parametrize(
    ("choice", "part"),
    [
        (config("gone"), "method"),
        (config("finetune", "gone"), "method"),
        (config(model="gone"), "model"),
        (config(noise="gone"), "data"),
        (config(dataset="gone"), "data"),
    ],
)
def test_a_part_with_an_unknown_name_is_unknown_and_not_judged(tmp_path: Path, choice: dict[str, Any], part: str) -> None:
    found = of(choice, checkout(tmp_path))
    assert [each for each, digest in found.items() if digest == UNKNOWN] == [part]
    assert part not in stale_parts({}, found)
    assert "plugin" not in found


def test_code_that_this_python_cannot_parse_is_unknown(tmp_path: Path) -> None:
    root = checkout(tmp_path / "checkout", {"methods/weights.py": "W = = 3\n", "benchmark/training/sgd.py": "\0"})
    mine = plugin(tmp_path, common="print 'Python 2'\n")
    assert [part for part, digest in of(config("l2rw"), root).items() if digest == UNKNOWN] == ["method", "trainer"]
    assert of(config("finetune"), root)["method"] != UNKNOWN
    assert of(config(noise="mine"), root, {"noise=mine": mine})["plugin"] == UNKNOWN


def test_the_caller_may_change_a_fingerprint_without_changing_the_next_one(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    of(config(), root).clear()
    assert list(of(config(), root)) == PARTS


# --- older code that gives the same numbers

TODAY = {"method": "c" * 12, "model": "d" * 12, "data": UNKNOWN, "trainer": "e" * 12}


def equivalent(folder: Path, *lines: str) -> Path:
    file = folder / "equivalent.txt"
    file.write_text("\n".join(["# part older newer why", "", *lines]) + "\n")
    return file


def test_a_part_is_stale_where_it_differs_or_is_not_recorded() -> None:
    assert stale_parts(TODAY, TODAY) == []
    assert stale_parts(TODAY | {"model": "a" * 12, "data": "b" * 12}, TODAY) == ["model"]
    assert stale_parts({"method": "c" * 12}, TODAY) == ["model", "trainer"]
    assert stale_parts({}, TODAY) == ["method", "model", "trainer"]


def test_a_chain_in_the_list_makes_older_code_current_for_its_part_and_in_its_direction(tmp_path: Path) -> None:
    steps = [("a", "b"), ("b", "x"), ("b", "c")]
    listed = equivalent(tmp_path, *(f"method {older * 12}  {newer * 12}   5 trials of l2rw on digits" for older, newer in steps))
    for older in "abc":
        assert stale_parts(TODAY | {"method": older * 12}, TODAY, listed) == []
    assert stale_parts(TODAY | {"method": "x" * 12}, TODAY, listed) == ["method"]
    assert stale_parts(TODAY | {"model": "a" * 12}, TODAY, listed) == ["model"]
    assert stale_parts(TODAY, TODAY | {"method": "a" * 12}, listed) == ["method"]


def test_a_circle_in_the_list_ends(tmp_path: Path) -> None:
    steps = [("a", "b"), ("b", "a"), ("a", "a"), ("f", "c"), ("c", "f")]
    listed = equivalent(tmp_path, *(f"method {older * 12} {newer * 12} words" for older, newer in steps))
    assert stale_parts(TODAY | {"method": "a" * 12}, TODAY, listed) == ["method"]
    assert stale_parts(TODAY | {"method": "f" * 12}, TODAY, listed) == []


def test_each_line_of_the_list_names_a_part_two_digests_and_what_was_trained() -> None:
    lines = [line for line in EQUIVALENT.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    assert [line for line in lines if not re.match(rf"({'|'.join(PARTS)}|plugin)( +[0-9a-f]{{12}}){{2}} +\S", line)] == []


# --- sentences


def records(root: Path, choice: dict[str, Any], trials: int, *stale: str, count: int = 0) -> list[dict[str, Any]]:
    """`trials` records of today, of which `count` have the parts `stale` of other code."""
    today = of(choice, root)
    older = today | dict.fromkeys(stale, "0" * 12)
    return [{"config": choice, "fingerprint": older if number < count else today} for number in range(trials)]


def test_records_of_todays_code_need_no_sentence(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    assert earlier([*records(root, config("l2rw"), 5), *records(root, config("reed"), 5)], root) == []
    assert earlier([], root) == []


def test_a_sentence_counts_the_trials_of_each_name(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    table = records(root, config("l2rw"), 5, "method", "trainer", count=4)
    table += records(root, config("finetune", "reed"), 2, "method", "model", "data", count=1)
    table += records(root, config("random"), 1)
    assert earlier(table, root) == [
        "4 of 5 trials come from an earlier version of method l2rw.",
        "1 of 2 trials comes from an earlier version of method finetune around reed.",
        "1 of 8 trials comes from an earlier version of model convnet.",
        "1 of 8 trials comes from an earlier version of the data code of digits with bgflip.",
        "4 of 8 trials come from an earlier version of the trainer.",
    ]


def test_a_record_without_a_fingerprint_comes_from_earlier_code(tmp_path: Path) -> None:
    assert earlier([{"config": config("l2rw", model="gone")}], checkout(tmp_path)) == [
        "1 of 1 trial comes from an earlier version of method l2rw.",
        "1 of 1 trial comes from an earlier version of the data code of digits with bgflip.",
        "1 of 1 trial comes from an earlier version of the trainer.",
    ]


@pytest.mark.parametrize(("names", "sentences"), [(4, 4), (5, 1)])
def test_more_than_four_sentences_on_one_part_become_one(tmp_path: Path, names: int, sentences: int) -> None:
    root = checkout(tmp_path)
    wrapped = [("finetune",) * depth + ("reed",) for depth in range(names)]
    table = [record for methods in wrapped for record in records(root, config(*methods), 5, "method", count=4)]
    found = earlier([*table, *records(root, config("l2rw"), 10)], root)
    assert len(found) == sentences
    if sentences == 1:
        assert found == ["20 of 35 trials come from an earlier version of their method."]


def test_a_changed_plug_in_has_a_sentence_of_its_own(tmp_path: Path) -> None:
    root, mine = checkout(tmp_path / "checkout"), {"method=mine": plugin(tmp_path)}
    older = of(config("mine"), root, mine) | {"plugin": "0" * 12}
    table = [{"config": config("mine"), "fingerprint": older}, *records(root, config("l2rw"), 3)]
    assert earlier(table, root, mine) == ["1 of 1 trial comes from an earlier version of their plug-in."]
