"""The HTML page as text: commands for its numbers, missing trials, bad input, and the shipped page."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from records import config_of, entry, record_of

from benchmark import ROOT, report
from benchmark.config import cells
from benchmark.grid import grid_of
from benchmark.page.again import method_overrides, setting_overrides
from benchmark.page.data import MOST_CURVES
from benchmark.page.missing import lacking
from benchmark.page.render import render
from benchmark.records.store import KEY, Record, Store, digest, read_all
from robust_benchmark.errors import UserError

DATA = re.compile(r'(?<=id="data">)[^<]*')
SHIPPED = ROOT / "results" / "reference"
(COMMAND,) = re.findall(
    r"^python -m benchmark\.report (.*--html .*)$", (ROOT / "results" / "README.md").read_text(encoding="utf-8"), re.MULTILINE
)


def trial(seed: int = 0, accuracy: float = 0.5, method: str = "reed", **options: Any) -> Record:
    config = config_of(**options)
    config["method"] = config["method"] if method == "reed" else {"name": method}
    return record_of(
        config, seed, [entry(50, accuracy / 2), entry(100, accuracy)], path=f"results/runs/digits/bgflip/{method}/seed-{seed}.json"
    )


def data(page: str) -> dict[str, Any]:
    found = DATA.search(page)
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[0])))


def unpacked(page: str) -> str:
    """With its data as text, as gzip may write other bytes elsewhere."""
    return DATA.sub(json.dumps(data(page)).replace("\\", "\\\\"), page)


def page_of(directory: Path, *options: str) -> str:
    assert report.main([str(directory), "--html", str(directory / "page.html"), *options]) in (0, 1)
    return (directory / "page.html").read_text(encoding="utf-8")


def test_the_command_of_every_shipped_number_composes_its_key() -> None:
    records, _ = read_all(SHIPPED, whole=False)
    settings: dict[tuple[str, ...], dict[str, Any]] = {}
    methods: dict[tuple[str, ...], dict[str, Any]] = {}
    for record in {record["key"]: record for record in records}.values():
        setting, method = tuple(setting_overrides(record["config"])), tuple(method_overrides(record["config"]["method"]))
        if setting not in settings:
            settings[setting] = cells(setting)[0].identity
        if method not in methods:
            methods[method] = cells(method)[0].identity["method"]
        assert digest(settings[setting] | {"method": methods[method]}, KEY) == record["key"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["scale=0.1", "method=elr:lam=1", "precision=bf16"],
        ["scale=0.37", "trainer.steps=123", "trainer.evaluate_every=7", "trainer.optimiser=adam", "trainer.betas=[0.5,0.9]"],
        ["method=finetune", "method.base=reed", "method.base.beta=0.3", "noise.background=[0,3]", "split.clean_total=50"],
        ["dataset=mnist49", "noise=imbalance", "noise.ratio=0.9", "noise.total=500", "dataset.source.test_per_class=7"],
        ["dataset=arrays", "dataset.path='my, own {table}.csv'", "noise=none", "trainer.cosine=true", "trainer.main.lr=0.01"],
        ["noise=file", "noise.path='true'", "dataset.preprocessing.mean=[0.1]", "imbalance=step"],
        ["dataset=cifar10_jpeg", "noise=asymmetric", "model=wrn28_10", "trainer=cifar", "split.clean_noise_rate=0.2"],
    ],
)
def test_a_configuration_is_composed_again_from_what_its_record_keeps(overrides: list[str]) -> None:
    (cell,) = cells(overrides)
    kept = json.loads(cell.canonical)
    (again,) = cells([*method_overrides(kept["method"]), *setting_overrides(kept)])
    assert again.canonical == cell.canonical


def test_what_this_installation_lacks_is_named() -> None:
    with pytest.raises(UserError, match="this installation has no method 'mine'"):
        method_overrides({"name": "mine"})
    with pytest.raises(UserError, match="no dataset 'digitz'; nearest: digits"):
        setting_overrides(config_of(dataset={"name": "digitz", "source": {}}))


def test_the_same_records_give_the_same_page() -> None:
    records = [trial(seed, 0.5 + seed / 10) for seed in range(4)]
    assert render(records, "results") == render(records, "results")


def test_the_page_runs_its_own_script_and_reaches_nothing() -> None:
    page = render([trial()], "results")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*)</script>", page, re.DOTALL)
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith(f"default-src &#39;none&#39;; script-src &#39;sha256-{own}&#39;; style-src")
    assert set(re.findall(r"https?://[\w./]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(fetch|eval|XMLHttpRequest|WebSocket|import)\s*\(", script)


def test_a_cell_that_has_fewer_trials_than_another_of_its_setting_is_listed_with_its_command() -> None:
    whole = [[trial(seed, method="baseline") for seed in range(6)]]
    (found,) = lacking([*whole, [trial(0), trial(2), trial(3)]])
    assert (found.method, found.seeds) == ("reed", [1, 4, 5])
    first, second = found.command.splitlines()
    assert "method=reed dataset=digits" in first
    assert first.endswith("seed=1 trials=1 results_dir=results/runs")
    assert second.endswith("seed=4 trials=2 results_dir=results/runs")
    assert lacking([*whole, [trial(0, noise__rate=0.1)]]) == []  # another setting
    assert lacking([*whole, [trial(0)]], without={trial()["key"]}) == []


def test_a_grid_says_what_is_missing_of_it_and_sets_the_papers_numbers_beside_ours() -> None:
    overrides = ["experiment=table2", "dataset=cifar10", "noise.background=[0,1,3,5,7]", "method=baseline,l2rw"]
    composed = {cell.label: cell for cell in cells(overrides)}
    config = json.loads(composed["l2rw"].canonical)
    records = [record_of(config, seed, [entry(100, 0.8 + seed / 100)], path=f"my/runs/a/b/c/seed-{seed}.json") for seed in range(5)]
    page = render(records, "results", grids=[grid_of(overrides, records, "elsewhere")])
    assert "86.73 ± 0.48</td><td>82.00 ± 1.96</td><td>5 of 5</td><td>-4.73" in page
    assert "1 of 2 cells lacks trials." in page
    assert "method=baseline,l2rw results_dir=my/runs</code>" in page


def test_the_state_of_a_grid_of_one_cell_is_in_the_singular() -> None:
    overrides = ["method=reed", "trials=1"]
    (cell,) = cells(overrides)
    found = record_of(json.loads(cell.canonical), 0, [entry(100, 0.8)], path="my/runs/a/b/c/seed-0.json")
    assert "<p>The cell is complete.</p>" in render([found], "results", grids=[grid_of(overrides, [found], "elsewhere")])
    assert "1 of 1 cell lacks trials." in render([found], "results", grids=[grid_of(["method=elr", "trials=1"], [found], "elsewhere")])


def test_unreadable_records_and_repeated_ones_are_counted_on_the_page(tmp_path: Path) -> None:
    Store(tmp_path / "one").write(trial())
    path = Store(tmp_path / "two").write(trial())
    text = path.read_text(encoding="utf-8")
    for name, wrong in (("old", text.replace('"schema": 2', '"schema": 1')), ("nan", text.replace("0.25", "NaN"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / path.parent.name).mkdir()
        (tmp_path / name / path.parent.name / path.name).write_text(wrong, encoding="utf-8")
    page = page_of(tmp_path)
    assert "The page shows the first file of each trial by path, and omits 1 other." in page
    assert "The page omits 2 files: record " in page
    assert "has schema 1" in page
    assert "1 trial of 1 method in 1 setting" in page


def test_without_records_there_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path), "--html", str(tmp_path / "page.html")]) == 2
    assert capsys.readouterr().err == f"error: no records under {tmp_path}\n"
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--html", "page.html", "--figure", "figure.png"], "--html and --figure exclude each other; use two commands"),
        (["--html", "page.html", "--rows", "method"], "--html and --rows exclude each other; use two commands"),
        (["--html", "page.html", "--grid", "method='reed"], "--grid method='reed cannot be split into overrides: no closing quotation"),
        (["--html", "page.html", "--format", "csv"], "--html and --format exclude each other; use two commands"),
        (
            ["--figure", "page.png", "--format", "csv"],
            "--format is an option of tables, and --figure makes a table only with --output FILE",
        ),
        (["--figure", "page.png", "--rows", "method"], "--rows is an option of tables, and --figure makes a table only with --output FILE"),
        (["--figure", "page.png", "--reference", "reed"], "--reference is an option of tables"),
        (["--cost", "none.json"], "--cost none.json needs --y relative_seconds or peak_memory, --kind pareto or --select equal_compute"),
        (["more"], "'more' is not an option such as experiment=digits; the command reads one directory, ."),
        (["--grid", "experiment=fig2"], "--grid 'experiment=fig2' is an option of HTML pages and needs --html FILE"),
        (["--html", "page.html", "--reference", "reeed"], "no method to compare with 'reeed'; nearest: reed (1 known: reed)"),
        (["--html", "page.html", "--y", "weights_auroc"], "none of these records has weights_auroc: it is absent for methods"),
        (["--html", "page.html", "--grid", "experiment=fig22"], "no experiment 'fig22'; nearest: fig2"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_a_sentence(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Store(tmp_path).write(trial())
    assert report.main([".", *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not [*tmp_path.glob("page.*")]


def test_a_page_of_diverged_trials_alone_says_so() -> None:
    page = render([record_of(config_of(), 0, [entry(50)], done=False, path="a/b/c/d/seed-0.json")], "results")
    assert "1 diverged" in page
    assert data(page)["values"] == {"test_accuracy": {"last": [None]}}


def test_a_metric_that_some_records_lack_has_no_values_for_them() -> None:
    with_ece = record_of(config_of(noise__rate=0.1), 0, [entry(100, 0.5, ece=0.25)], path="a/b/c/d/seed-0.json")
    assert data(render([trial(), with_ece], "results", ["ece"]))["values"]["ece"]["last"] == [25, None]


def test_curves_are_left_out_of_pages_of_many_cells() -> None:
    one = trial()
    many = [one | {"key": f"{number:012}", "method": f"method_{number}"} for number in range(MOST_CURVES + 1)]
    page = render(many, "results")
    assert data(page)["curves"] == {}
    assert "The page has no curves, because it has more than 2,000 cells" in page


def test_the_shipped_page_is_what_the_shipped_records_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = shlex.split(COMMAND)
    file = command[command.index("--html") + 1]
    assert report.main([word if word != file else str(tmp_path / "page.html") for word in command]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert unpacked(page) == unpacked(Path(file).read_text(encoding="utf-8"))
    trials = len(list((ROOT / "results" / "reference").rglob("seed-*.json")))
    assert len(page.encode()) < min(250 * trials, 1_000_000)
