"""The contact sheet of an audit in headless Chromium: every control, marks by keyboard, and the saved marks in the next commands."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.audit.__main__ import main

HOSTILE = '</script><img src=x onerror="alert(1)">&"'.replace("/", "∕")  # a slash cannot be in a folder's name
TINY = ["device=cpu", "trainer.steps=6", "trainer.batch_size=16", "model.width=2", "--methods", "gce", "elr", "--folds", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished audit of 90 pictures of three classes, one with a hostile name."""
    directory, rng = tmp_path_factory.mktemp("sheet"), np.random.default_rng(0)
    for place, name in enumerate(("cat", "dog, big", HOSTILE)):
        (directory / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 120, (8, 8, 3), dtype=np.uint8)
            pixels[..., place] += 100
            Image.fromarray(pixels).save(directory / "pictures" / name / f"{number:02}.png")
    assert main([str(directory / "pictures"), *TINY, "--top", "70", "--out", str(directory / "out")]) == 0
    return directory


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    """The sheet, in a new profile. At the end, it may have neither written to the console nor requested anything else."""
    trouble: list[str] = []
    context = browser.new_context(accept_downloads=True)
    opened = context.new_page()
    opened.on("console", lambda message: trouble.append(message.text))
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda request: None if request.url.startswith(("file:", "blob:", "data:")) else trouble.append(request.url))
    opened.goto((folder / "out" / "suspects.html").as_uri())
    opened.wait_for_selector("html[data-ready]")
    yield opened
    context.close()
    assert trouble == []


def names(page: Any) -> list[str]:
    return page.locator(".card .name").all_inner_texts()


def listed(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "out" / "suspects.csv").head(70)


def saved(page: Any) -> tuple[str, list[dict[str, str]]]:
    with page.expect_download() as waiting:
        page.locator("#export").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    return text, list(csv.DictReader(io.StringIO(text)))


def test_the_page_shows_the_head_of_the_list_with_its_pictures_and_says_how_much_it_shows(page: Any, folder: Path) -> None:
    assert names(page) == listed(folder)["name"].tolist()[:60]
    page.locator("#next").click()
    assert names(page) == listed(folder)["name"].tolist()[60:]
    assert "61 to 70 of 70" in page.locator("#place").inner_text()
    assert "70 most suspicious ones" in page.locator("header").inner_text()
    sizes = page.locator(".card img").evaluate_all("all => all.map((each) => each.naturalWidth)")
    assert sizes == [8] * 10


def test_filters_show_one_pair_of_classes_and_the_orders_are_complete(page: Any, folder: Path) -> None:
    rows = listed(folder)
    given, suggested = rows.groupby(["given", "suggested"]).size().idxmax()
    page.locator("#given").select_option(label=given)
    page.locator("#suggested").select_option(label=suggested)
    assert names(page) == rows[(rows["given"] == given) & (rows["suggested"] == suggested)]["name"].tolist()[:60]
    page.locator("#given").select_option("")
    page.locator("#suggested").select_option("")
    page.locator("#order").select_option("sample")
    first = names(page)
    page.locator("#next").click()
    assert sorted(first + names(page)) == sorted(rows["name"])
    assert first != rows["name"].tolist()[:60]


def test_marks_by_keyboard_are_saved_and_clean_the_data(page: Any, folder: Path, tmp_path: Path) -> None:
    page.locator(".card").first.focus()
    shown = names(page)
    for key in ("w", "r", "d", "u", "w"):
        page.keyboard.press(key)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Backspace")  # no mark for the fifth
    text, rows = saved(page)
    assert text.splitlines()[0] == "name,given,mark,label"
    assert [(row["name"], row["mark"]) for row in rows] == list(zip(shown, ["wrong", "right", "wrong", "unsure"], strict=False))
    assert rows[0]["label"] not in ("", rows[0]["given"])
    assert [row["label"] for row in rows[1:]] == ["", "", ""]
    (tmp_path / "marks.csv").write_text(text, encoding="utf-8", newline="")
    arguments = [str(folder / "pictures"), "--apply", str(tmp_path / "marks.csv"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    cleaned = pd.read_csv(tmp_path / "out" / "cleaned.csv").set_index("path")["label"]
    assert len(cleaned) == 89
    assert cleaned[shown[0]] == rows[0]["label"]
    assert shown[2] not in cleaned.index


def test_a_label_from_the_menu_is_the_right_one_and_marks_survive_a_reload(page: Any, folder: Path) -> None:
    card = page.locator(".card").nth(1)
    name = names(page)[1]
    card.locator("select").select_option(label=HOSTILE)
    assert card.get_attribute("data-mark") == "wrong"
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.locator("#marked").select_option("yes")
    assert names(page) == [name]
    assert saved(page)[1] == [{"name": name, "given": listed(folder)["given"][1], "mark": "wrong", "label": HOSTILE}]
    page.locator(".card button", has_text="wrong").click()
    assert saved(page)[1] == []


def test_marks_given_to_the_command_are_in_its_page_and_measure_the_precision(browser: Any, folder: Path, page: Any) -> None:
    page.locator("#order").select_option("sample")
    page.locator(".card").first.focus()
    for key in ("r", "r", "w", "r"):
        page.keyboard.press(key)
    assert "4 marks; the random sample has 4 of them, 1 wrong" in page.locator("#status").inner_text()
    (folder / "marks.csv").write_text(saved(page)[0], encoding="utf-8", newline="")
    before = (folder / "out" / "suspects.html").read_text(encoding="utf-8")
    try:
        command = [str(folder / "pictures"), *TINY, "--top", "70", "--out", str(folder / "out"), "--marks", str(folder / "marks.csv")]
        assert main(command) == 0
        context = browser.new_context()
        again = context.new_page()
        again.goto((folder / "out" / "suspects.html").as_uri())
        again.wait_for_selector("html[data-ready]")
        assert "4 marks; the random sample has 4 of them, 1 wrong" in again.locator("#status").inner_text()
        assert "1 wrong, 3 right, 0 unsure" in again.locator("#estimate").inner_text()
        assert again.locator("#trust tbody tr:last-child td").last.inner_text() == "25 (1 to 81) of 4 marks"
        context.close()
    finally:
        (folder / "out" / "suspects.html").write_text(before, encoding="utf-8")


def test_rows_of_a_table_show_their_columns(browser: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((30, 9)), columns=[f"c{number}" for number in range(9)]).assign(label=["a", "b"] * 15)
    frame.to_csv(tmp_path / "t.csv", index=False)
    tiny = [each for each in TINY if not each.startswith("model")]
    assert main([str(tmp_path / "t.csv"), *tiny, "--out", str(tmp_path / "out")]) == 0
    page = browser.new_context().new_page()
    page.goto((tmp_path / "out" / "suspects.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    card = page.locator(".card").first
    row = int(card.locator(".name").inner_text()) - 1
    assert float(card.locator("dd").first.inner_text()) == pytest.approx(frame.iloc[row, 0])
    card.locator("summary").click()
    assert "elr aum" in card.inner_text()
    assert "c8" in card.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_is_no_accessibility_violation(browser: Any, folder: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: pip install -e '.[test]'").Axe()
    page = browser.new_context(color_scheme=scheme).new_page()
    page.goto((folder / "out" / "suspects.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    report = axe.run(page).generate_report()
    assert report.startswith("Found 0"), report
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_a_script_the_first_suspects_are_in_a_table(browser: Any, folder: Path) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((folder / "out" / "suspects.html").as_uri())
    assert page.locator("noscript table tbody tr").count() == 70
