"""The HTML page in headless Chromium: its numbers are those of benchmark.analysis, and everything works by keyboard, without a network."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from records import config_of, entry, record_of

from benchmark import ROOT
from benchmark.analysis.rows import rows_of
from benchmark.analysis.significance import against, best
from benchmark.metrics import METRICS
from benchmark.page.render import render
from benchmark.records.store import Record, read_all

HOSTILE = "<img src=x onerror=alert(1)>&\"'"
NUMBERS = """([metric, selection, reference]) => {
  Object.assign(state, { metric, selection, reference });
  compute();
  const finite = (value) => (value === undefined || Number.isNaN(value) ? null : value);
  return cells.filter((cell) => isShown(cell.id)).map(({ id, setting }) => {
    const found = reference ? toReference(setting).get(id) : undefined;
    return [D.keys[id], nameOf(id), rows[id].n, finite(rows[id].mean), finite(rows[id].half), bestOf(setting).has(id),
      found ? [finite(found.mean), finite(found.half), finite(found.p), found.wins, found.n] : null];
  });
}"""
Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page from a file. At the end of the test, no page may have written to the console or requested anything else."""
    trouble: list[str] = []
    contexts = []

    def open_page(text: str, before: str = "", ready: bool = True, **options: Any) -> Any:
        file = tmp_path / f"page-{len(contexts)}.html"
        file.write_text(text, encoding="utf-8")
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(("file:", "blob:")) else trouble.append(request.url))
        if before:
            page.add_init_script(before)
        page.goto(file.as_uri())
        if ready:
            page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture(scope="module")
def shipped() -> list[Record]:
    return read_all(ROOT / "results" / "reference")[0]


@pytest.fixture(scope="module")
def text(shipped: list[Record]) -> str:
    return render(shipped, "results/reference")


def trials(method: str, accuracies: list[float], **options: Any) -> list[Record]:
    """Of one cell, each with two evaluations."""
    config = config_of(**options) | {"method": {"name": method}}
    path = {"path": "results/runs/digits/bgflip/cell/seed-0.json"}
    return [record_of(config, seed, [entry(50, each / 2), entry(100, each)], **path) for seed, each in enumerate(accuracies)]


def small() -> list[Record]:
    """Two settings, three methods, five trials."""
    return [
        record
        for rate in (0.4, 0.48)
        for method, first, step in (("good", 0.9, 1), ("middling", 0.8, 3), ("poor", 0.5, 2))
        for record in trials(method, [first - rate / 10 + step * each % 7 / 100 for each in range(5)], noise__rate=rate)
    ]


def field(page: Any, label: str) -> Any:
    return page.locator(f"[data-key='{label}']")


def column(page: Any, section: str, number: int) -> list[str]:
    return page.locator(f"#{section} tbody tr > :nth-child({number})").all_inner_texts()


@pytest.mark.parametrize(
    ("metric", "selection", "reference"),
    [
        ("test_accuracy", "last", "baseline"),
        ("test_accuracy", "noisy_validation", "l2rw"),
        ("ece", "oracle", "baseline"),
        ("weights_auroc", "last", "l2rw"),
        ("wrong_labels_memorised", "noisy_validation", "weighted"),
    ],
)
def test_numbers_intervals_marks_and_tests_are_those_of_the_analysis(
    opened: Open, shipped: list[Record], text: str, metric: str, selection: str, reference: str
) -> None:
    found = {(key, name): rest for key, name, *rest in opened(text).evaluate(NUMBERS, [metric, selection, reference])}
    rows = rows_of(shipped, METRICS[metric], [selection])
    marked = best(rows, METRICS[metric])
    assert found.keys() == {(row.key, row.method) for row in rows}
    for row in rows:
        n, mean, half, mark, _ = found[row.key, row.method]
        assert (n, mark) == (row.trials, row.place in marked)
        assert mean == pytest.approx(row.mean, abs=1e-4)
        assert math.isnan(row.half_width) if half is None else half == pytest.approx(row.half_width, abs=2e-4)
    expected = {(row.key, row.method): (difference, p) for row, difference, p in against(rows, reference, METRICS[metric])}
    assert {place for place, each in found.items() if each[-1]} == expected.keys()
    for place, (difference, p) in expected.items():
        mean, half, adjusted, wins, n = found[place][-1]
        assert (wins, n) == (difference.wins, difference.trials)
        assert mean == pytest.approx(difference.mean, abs=2e-4)
        assert math.isnan(difference.half_width) if half is None else half == pytest.approx(difference.half_width, abs=1e-3)
        assert math.isnan(p) if adjusted is None else adjusted == pytest.approx(p, rel=1e-2, abs=1e-9)


def test_the_first_sight_is_the_table_of_last_step_accuracies(opened: Open) -> None:
    page = opened(render(small(), "results"))
    assert column(page, "wide", 2) == ["poor", "middling", "good"]
    assert column(page, "wide", 3)[-1].startswith("88.00 ± ")
    assert column(page, "wide", 3)[-1].endswith(" *")
    assert "Test accuracy (%), the last step" in page.locator("#wide").inner_text()


def test_a_head_sorts_and_sorts_back_and_says_so_by_keyboard(opened: Open) -> None:
    page = opened(render(small(), "results"))
    page.locator("#wide thead button").nth(2).focus()
    page.keyboard.press("Enter")
    assert column(page, "wide", 2) == ["good", "middling", "poor"]
    assert page.locator("#wide th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")  # the focus is still there
    assert column(page, "wide", 2) == ["poor", "middling", "good"]
    page.locator("#long thead button", has_text="Method").click()
    assert column(page, "long", 1) == ["good", "good", "middling", "middling", "poor", "poor"]


def test_each_option_has_a_filter_of_its_own_so_that_40_percent_is_not_48(opened: Open) -> None:
    page = opened(render(small(), "results"))
    page.locator("#controls summary").click()
    field(page, "Noise rate").select_option(label="40 %")
    assert len(column(page, "long", 1)) == 3
    assert column(page, "wide", 3)[-1].startswith("88.00")
    field(page, "find").type("mid")
    assert column(page, "long", 1) == ["middling"]
    assert "2 in use: 1 of 6 cells" in page.locator("#filters").inner_text()
    field(page, "find").fill("no such method")
    assert "No cell matches the filters." in page.locator("#wide").inner_text()
    page.get_by_role("button", name="Show all").click()
    assert len(column(page, "long", 1)) == 6


def test_a_column_can_be_hidden_and_comes_back(opened: Open) -> None:
    page = opened(render(small(), "results"))
    page.locator("#long summary").click()
    assert "Noise rate" in page.locator("#long thead").inner_text()
    field(page, "show Noise rate").uncheck()
    assert "Noise rate" not in page.locator("#long thead").inner_text()
    field(page, "show Noise rate").check()
    assert "Noise rate" in page.locator("#long thead").inner_text()


def test_the_switches_change_metric_evaluation_and_reference(opened: Open, text: str) -> None:
    page = opened(text)

    def numbers() -> list[str]:
        return page.locator("#long tbody td.number").all_inner_texts()

    before = numbers()
    field(page, "Evaluation that counts").select_option("oracle")
    oracle = numbers()
    assert oracle != before
    assert all(float(one[:5]) >= float(other[:5]) for one, other in zip(oracle, before, strict=True))
    field(page, "Metric").select_option("ece")
    assert "Expected calibration error (%)" in page.locator("#long thead").inner_text()
    assert "trials without this number" in page.locator("#wide").inner_text()
    field(page, "Metric").select_option("test_accuracy")
    field(page, "Difference to").select_option("baseline")
    assert "p (Holm)" in page.locator("#long thead").inner_text()
    assert any(" of 5) *" in each for each in numbers())


def test_a_number_opens_its_trials_configuration_and_command_and_the_focus_comes_back(opened: Open, text: str) -> None:
    page = opened(text, permissions=["clipboard-read", "clipboard-write"])
    page.locator("#wide td button").nth(1).focus()  # on digits
    page.keyboard.press("Enter")
    text = page.locator("dialog").inner_text()
    for words in ("Trials", "All trials come from today's code", "Revision", "trainer.steps=1500", "python -m benchmark.run method="):
        assert words in text
    page.locator("dialog").get_by_role("button", name="Copy").click()
    page.locator("dialog [role=status]", has_text="copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("dialog pre").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.evaluate("document.activeElement.dataset.key").startswith("cell ")


def test_curves_are_read_by_arrow_keys_and_by_the_pointer(opened: Open) -> None:
    page = opened(render(small(), "results"))
    slider = field(page, "step")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "step 50"
    assert page.locator("#curves [aria-live]").inner_text().startswith("Step 50: good 44.00 ± ")
    box = page.locator("#curves svg").first.bounding_box()
    page.locator("#curves svg").first.hover(position={"x": box["width"] - 15, "y": box["height"] / 2})
    assert slider.get_attribute("aria-valuetext") == "step 100"
    assert "Values at step 100" in page.locator("#curves").inner_text()
    assert page.locator("#curves polygon").count() == 3


def test_a_method_that_trains_for_fewer_steps_keeps_its_last_value_and_its_step_is_named(opened: Open) -> None:
    short = [record_of(config_of() | {"method": {"name": "short"}}, 0, [entry(50, 0.9)])]
    page = opened(render([*trials("long", [0.6]), *short], "results"))
    assert sorted(page.locator("#curves td.number").all_inner_texts()) == ["60.00", "90.00 (step 50)"]


def test_there_is_no_band_below_three_trials_and_the_values_are_shown(opened: Open) -> None:
    page = opened(render([*trials("two", [0.5, 0.6]), *trials("one", [0.7])], "results"))
    assert page.locator("#curves polygon").count() == 0
    assert sorted(column(page, "wide", 3)) == ["50.00, 60.00", "70.00"]
    assert "Values of the trials; an interval needs 3 trials." in page.locator("#wide").inner_text()


def test_what_is_shown_is_downloaded_as_csv_and_as_latex(opened: Open, tmp_path: Path) -> None:
    hostile = trials(HOSTILE, [0.5, 0.6, 0.55])
    page = opened(render([*small(), *hostile], "results"))
    saved = {}
    for kind, ending in (("CSV", "csv"), ("LaTeX", "tex")):
        with page.expect_download() as download:
            page.locator("#long").get_by_role("button", name=f"Download {kind}").click()
        download.value.save_as(tmp_path / f"cells.{ending}")
        saved[kind] = (tmp_path / f"cells.{ending}").read_text(encoding="utf-8")
    lines = list(csv.reader(saved["CSV"].splitlines()))
    assert lines[0][0] == "Method"
    assert [line[0] for line in lines[1:]] == column(page, "long", 1)
    assert "\\toprule" in saved["LaTeX"]
    assert "88.00 $\\pm$ " in saved["LaTeX"]
    assert "$<$img src=x onerror=alert(1)$>$\\&" in saved["LaTeX"]


def test_names_with_html_in_them_are_text(opened: Open) -> None:
    page = opened(render(trials(HOSTILE, [0.5, 0.6, 0.55]), HOSTILE, remarks=[HOSTILE]))
    assert column(page, "wide", 2) == [HOSTILE]
    page.locator("#wide td button").click()
    assert page.locator("dialog h2").inner_text().startswith(HOSTILE)
    assert page.locator("img").count() == 0


def test_diverged_trials_and_cells_of_other_installations_say_so(opened: Open) -> None:
    done = trials("mine", [0.5, 0.6, 0.55, 0.7])
    lost = record_of(done[0]["config"], 4, [entry(50)], done=False)
    page = opened(render([*(each | {"overrides": ["method=mine", "noise=bgflip"]} for each in done), lost], "results"))
    assert column(page, "wide", 3)[0].endswith("(1 diverged)")
    page.locator("#wide td button").click()
    text = page.locator("dialog").inner_text()
    assert "diverged" in text
    assert "This installation cannot compose the configuration: this installation has no method 'mine'" in text
    assert "method=mine noise=bgflip" in text
    assert "a comparison is not possible" in text


def with_costs(records: list[Record], costs: dict[str, float]) -> list[Record]:
    """Like benchmark.analysis.cost.join: diverged trials also have the cost."""
    known = [record for record in records if record["method"] in costs]
    return [record | {"metrics": record["metrics"] | {"relative_seconds": costs[record["method"]]}} for record in known]


def test_a_cost_is_one_measurement_of_a_cell_also_if_its_first_trial_diverged(opened: Open) -> None:
    reed = trials("reed", [0.5, 0.6, 0.7])
    lost = record_of(reed[0]["config"], 0, [entry(50)], done=False)
    measured = with_costs([lost, *reed[1:], *trials("l2rw", [0.5, 0.6, 0.7])], {"reed": 1.25, "l2rw": 2.75})
    page = opened(render(measured, "results", ["relative_seconds", "test_accuracy"]))
    assert sorted(column(page, "long", 3)) == ["1.250 (1 diverged)", "2.750"]
    assert "omits" not in page.locator("#wide").inner_text()
    assert "One measurement for each method." in page.locator("#wide").inner_text()
    field(page, "Difference to").select_option("reed")
    assert sorted(column(page, "long", 3)) == ["+1.500", "1.250 (1 diverged)"]
    assert "p < 0.05" not in page.locator("#wide").inner_text()


def test_a_cell_without_a_measured_cost_counts_once(opened: Open) -> None:
    measured = [*with_costs(trials("reed", [0.5, 0.6]), {"reed": 1.25}), *trials("l2rw", [0.5, 0.6, 0.7])]
    page = opened(render(measured, "results", ["relative_seconds"]))
    assert "The table omits 1 cell without this number" in page.locator("#wide").inner_text()


def test_differences_are_sorted_as_differences_and_the_reference_as_zero(opened: Open) -> None:
    page = opened(render([record for record in small() if record["config"]["noise"]["rate"] == 0.4], "results", reference="middling"))
    page.locator("#long thead button", has_text="Test accuracy").click()
    assert column(page, "long", 1) == ["good", "middling", "poor"]


def test_a_cell_without_a_difference_is_sorted_last(opened: Open) -> None:
    page = opened(render([*small(), *trials("middling", [0.1], noise__rate=0.9), *trials("alone", [0.99], noise__rate=0.8)], "results"))
    field(page, "Difference to").select_option("middling")
    for _ in range(2):  # both directions
        page.locator("#long thead button", has_text="Test accuracy").click()
        assert column(page, "long", 1)[-1] == "alone"


def test_a_diverged_trial_does_not_count_in_curves(opened: Open) -> None:
    done = trials("reed", [0.5, 0.6, 0.7])
    lost = record_of(done[0]["config"], 3, [entry(50, 0.01), entry(100)], done=False)
    page = opened(render([*done, lost], "results"))
    slider = field(page, "step")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#curves [aria-live]").inner_text().startswith("Step 50: reed 30.00 ± ")


def test_the_commands_of_a_cell_train_its_seeds_and_no_others(opened: Open) -> None:
    gaps = [record_of(config_of(), seed, [entry(100, 0.5)]) for seed in (0, 5, 6)]
    page = opened(render(gaps, "results"))
    page.locator("#wide td button").click()
    commands = page.locator("dialog pre").inner_text().splitlines()
    assert [command.partition(" seed=")[2] for command in commands] == ["0 trials=1", "5 trials=2"]
    assert len({command.partition(" seed=")[0] for command in commands}) == 1


def test_thousands_of_methods_are_paged(opened: Open) -> None:
    (one,) = trials("method", [0.5])
    configs = [one["config"] | {"method": {"name": f"method_{number:04}"}} for number in range(2500)]
    many = [one | {"config": config, "key": f"{number:012}", "method": config["method"]["name"]} for number, config in enumerate(configs)]
    page = opened(render(many, "results"))
    assert page.locator("#wide tbody tr").count() == 100
    page.locator("#wide").get_by_role("button", name="Next methods").click()
    assert "Methods 101 to 200 of 2,500" in page.locator("#wide").inner_text()
    assert page.evaluate("document.activeElement.dataset.key") == "Next Methods"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_is_no_accessibility_violation_with_the_dialog_closed_and_open(opened: Open, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: pip install -e '.[test]'").Axe()
    page = opened(render(small(), "results"), color_scheme=scheme, viewport={"width": 1280, "height": 900})
    page.locator("#controls summary").click()
    assert axe.run(page).generate_report().startswith("Found 0")
    page.locator("#wide td button").first.click()
    assert axe.run(page).generate_report().startswith("Found 0")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_phone_scrolls_tables_and_not_the_page(opened: Open, text: str) -> None:
    page = opened(text, viewport={"width": 360, "height": 740})
    page.locator("#controls summary").click()
    page.locator("#wide td button").first.click()
    page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every((each) => each.tabIndex === 0)")


def test_printing_leaves_out_the_controls_and_keeps_the_numbers(opened: Open, text: str) -> None:
    page = opened(text)
    page.emulate_media(media="print")
    assert not page.locator("#controls").is_visible()
    assert page.locator("#wide td").first.is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_a_browser_without_decompression_says_so_and_shows_the_first_table(opened: Open) -> None:
    page = opened(render(small(), "results"), before="delete globalThis.DecompressionStream", ready=False)
    page.wait_for_selector("#trouble:not([hidden])")
    assert "lacks DecompressionStream" in page.locator("#trouble").inner_text()
    assert column(page, "wide", 2) == ["poor", "middling", "good"]
    assert not page.locator("#controls").is_visible()


def test_damaged_data_is_said_in_a_sentence(opened: Open) -> None:
    text = render(small(), "results")
    start = text.index('id="data">') + len('id="data">')
    page = opened(text[:start] + "AAAA" + text[start + 4 :], ready=False)
    page.wait_for_selector("#trouble:not([hidden])")
    assert "is damaged" in page.locator("#trouble").inner_text()


def test_without_a_script_the_first_table_and_the_commands_are_there(opened: Open) -> None:
    lacking = [*trials("good", [0.9, 0.8, 0.85]), *trials("reed", [0.5])]
    page = opened(render(lacking, "results"), ready=False, java_script_enabled=False)
    assert column(page, "wide", 2) == ["reed", "good"]
    assert "Without JavaScript" in page.locator("main").inner_text()
    page.locator("main summary", has_text="Cells and commands").click()
    assert "Missing seeds 1, 2." in page.locator("main").inner_text()
