"""What an audit reads: three forms of data, with and without trusted examples; a mistake is one sentence, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.audit import reading
from benchmark.audit.__main__ import main
from benchmark.audit.data import Audited
from benchmark.audit.plan import plan
from robust_benchmark.errors import UserError

TINY = ["device=cpu", "trainer.steps=4", "trainer.batch_size=8", "--methods", "gce", "--folds", "2"]
PICTURES = [*TINY, "model.width=2"]


def pictures(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 12, side: int = 8) -> Path:
    rng = np.random.default_rng(len(root.name))
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(root / name / f"{number:02}.png")
    return root


def table(file: Path, n: int = 40, **columns: object) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"height": rng.random(n), "label": ["a", "b"] * (n // 2)}).assign(**columns)
    frame.to_parquet(file) if file.suffix == ".parquet" else frame.to_csv(file, index=False)
    return file


def load(path: Path, clean: Path | None = None, label: str = "label", skip: bool = False) -> Audited:
    return reading.load(path, reading.kind_of(path), {}, label, clean, path.parent / "cache", skip)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, out: Path) -> str:
    """Run the command, which must end with status 2 and one line, and write no result."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--out", str(out)]) == 2
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert text.startswith("error: ")
    assert not list(out.glob("*.csv")) + list(out.glob("*.html"))
    return text


# --- the three forms


def test_a_folder_and_a_list_of_its_pictures_are_the_same_data(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data")
    rows = [f"data/{file.relative_to(root)},{file.parent.name}" for file in sorted(root.rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    one, two = load(root), load(tmp_path / "list.csv")
    assert one.digest == two.digest
    assert (one.labels == two.labels).all()
    assert one.classes == two.classes == ("cat", "dog")
    assert one.names[0] == "cat/00.png"
    assert two.names[0] == "data/cat/00.png"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_has_all_its_rows_as_examples_in_their_order(tmp_path: Path, suffix: str) -> None:
    data = load(table(tmp_path / f"t{suffix}"))
    assert data.labels.tolist() == [0, 1] * 20
    heights = pd.read_csv(table(tmp_path / "again.csv"))["height"].to_numpy()
    np.testing.assert_allclose(data.images[:][:, 0].numpy(), (heights - heights.mean()) / heights.std(), rtol=1e-4, atol=1e-5)


def test_arrays_with_a_test_part_are_audited_as_a_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", X=rng.random((10, 3)), y=np.arange(10) % 2, X_test=rng.random((6, 3)), y_test=np.arange(6) % 2)
    assert len(load(tmp_path / "a.npz")) == 16


def test_trusted_examples_are_apart_and_have_the_codes_of_the_classes(tmp_path: Path) -> None:
    data = load(pictures(tmp_path / "data"), pictures(tmp_path / "trusted", classes=("dog",), count=3))
    assert len(data) == 24
    assert data.trusted is not None
    assert data.trusted.labels.tolist() == [1, 1, 1]
    rows = load(table(tmp_path / "t.csv"), table(tmp_path / "good.csv", n=6))
    assert rows.trusted is not None
    assert len(rows.trusted) == 6
    assert rows.images.shape[1] == rows.trusted.images.shape[1] == 1


def test_with_trusted_examples_a_method_with_a_clean_set_judges_too(tmp_path: Path) -> None:
    rows = load(table(tmp_path / "t.csv"), table(tmp_path / "good.csv", n=6))
    choices = ["dataset=arrays", "noise=none", f"dataset.path={tmp_path / 't.csv'}"]
    assert "l2rw" in [cell.choice for cell in plan(rows, choices, [], [])[0]]
    assert "l2rw" not in [cell.choice for cell in plan(load(tmp_path / "t.csv"), choices, [], [])[0]]


def test_a_method_that_needs_the_noise_rate_is_replaced_by_the_variant_that_estimates_it(tmp_path: Path) -> None:
    data = load(table(tmp_path / "t.csv"))
    cells, notes = plan(data, ["dataset=arrays", "noise=none", "dataset.path=t.csv"], [], ["small_loss", "gce"])
    assert [cell.choice for cell in cells] == ["small_loss_estimated", "gce"]
    assert notes == ["small_loss needs the noise rate, which is unknown here: small_loss_estimated replaces it"]


def test_the_schedule_grows_with_the_data_unless_it_is_given(tmp_path: Path) -> None:
    choices = ["dataset=arrays", "noise=none", "dataset.path=t.csv"]
    small = plan(load(table(tmp_path / "t.csv")), choices, [], ["gce"])[0][0].config.trainer
    large = plan(load(table(tmp_path / "u.csv", n=3000)), choices, [], ["gce"])[0][0].config.trainer
    given = plan(load(table(tmp_path / "t.csv")), choices, ["trainer.steps=37"], ["gce"])[0][0].config.trainer
    assert (small.steps, large.steps, given.steps) == (200, 600, 37)
    assert small.evaluate_every == 20


def test_pictures_train_and_give_a_list_with_their_paths(tmp_path: Path) -> None:
    assert main([str(pictures(tmp_path / "data")), *PICTURES, "--out", str(tmp_path / "out")]) == 0
    found = pd.read_csv(tmp_path / "out" / "suspects.csv")
    assert sorted(found["name"]) == [f"{name}/{number:02}.png" for name in ("cat", "dog") for number in range(12)]


@pytest.mark.parametrize("name", ["Zoë (1)", "a,b", "it's a=b"])
def test_data_and_labels_of_any_name_are_audited(name: str, tmp_path: Path) -> None:
    assert main([str(pictures(tmp_path / name)), *PICTURES, "--out", str(tmp_path / "one")]) == 0
    file = tmp_path / f"{name}.csv"
    pd.read_csv(table(tmp_path / "t.csv")).rename(columns={"label": name}).to_csv(file, index=False)
    assert main([str(file), "--label", name, *TINY, "--out", str(tmp_path / "two")]) == 0


def test_pictures_of_several_sizes_need_a_size_and_train_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pictures(tmp_path / "data")
    Image.new("RGB", (9, 20)).save(root / "cat" / "odd.png")
    assert "give dataset.size=SIDE" in refused(capsys, root, *PICTURES, out=tmp_path / "out")
    assert main([str(root), *PICTURES, "dataset.size=10", "--out", str(tmp_path / "out")]) == 0
    assert len(pd.read_csv(tmp_path / "out" / "suspects.csv")) == 25


def test_overrides_may_follow_the_methods_and_trusted_pictures_train_l2rw(tmp_path: Path) -> None:
    root, good = pictures(tmp_path / "data"), pictures(tmp_path / "trusted", count=3)
    arguments = [str(root), "--folds", "2", "--out", str(tmp_path / "out"), "--clean", str(good), "--methods", "l2rw", *PICTURES[:3]]
    assert main([*arguments, "model.width=2"]) == 0
    assert "l2rw.weight" in pd.read_csv(tmp_path / "out" / "suspects.csv").columns


def test_a_missing_value_is_a_sentence_and_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = table(tmp_path / "t.csv", weight=[1.0, np.nan, 3.0, 4.0] * 10)
    assert main([str(file), *TINY, "model.hidden=[4]", "--out", str(tmp_path / "out")]) == 0
    assert "column 'weight' has 10 missing values" in capsys.readouterr().err


# --- mistakes


def test_broken_pictures_are_listed_and_left_out_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pictures(tmp_path / "data")
    (root / "cat" / "03.png").write_bytes(b"no picture")
    (root / "dog" / "empty.jpg").touch()
    said = refused(capsys, root, *PICTURES, out=tmp_path / "out")
    for words in ("2 pictures cannot be read", "--skip-unreadable", "03.png", "empty.jpg"):
        assert words in said
    assert main([str(root), *PICTURES, "--out", str(tmp_path / "out"), "--skip-unreadable"]) == 0
    assert "left out: " in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "out" / "suspects.csv")) == 23


def folder_without_classes(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def suite_folder(root: Path) -> Path:
    pictures(root / "both" / "train")
    pictures(root / "both" / "test")
    return root / "both"


def list_with(root: Path, *rows: str) -> Path:
    pictures(root / "data")
    (root / "list.csv").write_text("\n".join(["path,label", *rows]))
    return root / "list.csv"


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


CASES = {
    "a missing path": (lambda root: root / "nothing", "no file"),
    "an empty folder": (folder_without_classes, "has no class folders"),
    "one class folder": (lambda root: pictures(root / "one", classes=("cat",)), "has one class, 'cat'"),
    "an empty class folder": (lambda root: (pictures(root / "d") / "bird").mkdir() or root / "d", "no pictures in"),
    "a folder of the suite": (suite_folder, "audit "),
    "one class in a table": (lambda root: table(root / "t.csv", label="a"), "holds 1 class"),
    "a blank label": (lambda root: table(root / "t.csv", label=["a", None] * 20), "blank in row 2"),
    "labels of mixed types": (lambda root: table(root / "t.csv", label=["a", 1] * 20), "mixes numbers and text"),
    "fractions as labels": (lambda root: table(root / "t.csv", label=[0.5, 1.0] * 20), "labels are text or whole numbers"),
    "no label column": (lambda root: table(root / "t.csv").rename(root / "u.csv"), "nearest: labels"),
    "infinite numbers": (lambda root: table(root / "t.parquet", height=[1.0, np.inf] * 20), "infinite in row 2"),
    "a repeated path": (lambda root: list_with(root, "data/cat/00.png,cat", "data/dog/00.png,dog", "data/./cat/00.png,a"), "rows 1 and 3"),
    "a blank path": (lambda root: list_with(root, "data/cat/00.png,cat", ",dog"), "'path' is blank in row 2"),
    "a path without a picture": (lambda root: list_with(root, "data/cat/00.png,cat", "gone.png,dog"), "gone.png"),
    "an empty table": (lambda root: written(root / "e.csv", ""), "is not a readable table"),
    "too few rows": (lambda root: table(root / "t.csv", n=8), "too few to plant errors"),
    "a table without rows": (lambda root: table(root / "t.csv", n=0), "has no rows"),
    "another format": (lambda root: written(root / "notes.txt", "hello"), "nearest: "),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_in_the_data_is_one_sentence(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = CASES[case]
    path = make(tmp_path)
    if case == "no label column":
        pd.read_csv(path).rename(columns={"label": "labels"}).to_csv(path, index=False)
    assert words in refused(capsys, path, *TINY, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--folds", "50"], "50 folds need at least 50 examples, and there are 40"),
        (["--folds", "1"], "--folds must be at least 2"),
        (["--methods", "gcee"], "nearest: gce"),
        (["--methods", "l2rw"], "needs trusted examples: give --clean"),
        (["--methods", "forward_oracle"], "which derives from true labels"),
        (["--plant", "0.5"], "--plant 0.5 is not in [0, 0.1]"),
        (["--label", "lable"], "nearest: label"),
        (["trainer.stepz=3"], "nearest: trainer.steps"),
        (["trainer.steps=3,4"], "have several values"),
        (["method=elr"], "--methods names the methods"),
        (["seed=1"], "'seed=1' is not accepted: --seed is the seed of an audit"),
        (["processes=1"], "--processes is the number"),
        (["results_dir=r"], "--out is the folder"),
        (["trials=3"], "'trials=3' is not accepted: it does not apply to an audit"),
        (["keep=[evidence]"], "it does not apply to an audit"),
        (["noise=uniflip"], "'noise=uniflip' is not accepted: an audit takes your data and labels as they are"),
        (["split.clean_total=9"], "'split.clean_total=9' is not accepted"),
        (["imbalance=step"], "'imbalance=step' is not accepted"),
        (["dataset=digits"], "'dataset=digits' is not accepted"),
        (["dataset.true_label=height"], "'dataset.true_label=height' is not accepted"),
        (["dataset.label=height"], "--label names the column of labels"),
        (["--marks", "gone.csv"], "no file gone.csv"),
        (["other.csv"], "an audit has one data set"),
        (["--marks", "a.csv", "--apply", "b.csv"], "give one of them"),
    ],
)
def test_a_mistake_in_an_option_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = table(tmp_path / "t.csv")
    given = [*arguments, *(["--folds", "2"] if "--folds" not in arguments else [])]
    assert words in refused(capsys, file, *given, out=tmp_path / "out")


def test_trusted_examples_of_another_form_or_class_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, file = pictures(tmp_path / "data"), table(tmp_path / "t.csv")
    out = tmp_path / "out"
    assert "must be pictures or both tables" in refused(capsys, root, "--clean", file, out=out)
    assert "has a class that" in refused(capsys, root, "--clean", pictures(tmp_path / "trusted", classes=("cats",)), out=out)
    pd.read_csv(file).drop(columns="height").to_csv(tmp_path / "short.csv", index=False)
    assert "has no column 'height'" in refused(capsys, file, "--clean", tmp_path / "short.csv", out=out)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("name,given,mark\n1,a,right", "no column 'label'"),
        ("name,given,mark,label\n99,a,right,", "no example '99'"),
        ("name,given,mark,label\n1,b,right,", "not 'b': the marks are of other data"),
        ("name,given,mark,label\n1,a,rigth,", "nearest: right"),
        ("name,given,mark,label\n1,a,wrong,bb", "nearest: b"),
        ("name,given,mark,label\n1,a,right,\n1,a,wrong,", "an earlier row marks '1'"),
    ],
)
def test_a_mistake_in_marks_is_one_sentence(rows: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.csv").write_text(rows)
    assert words in refused(capsys, table(tmp_path / "t.csv"), "--apply", tmp_path / "m.csv", out=tmp_path / "out")


def test_applying_marks_writes_the_cleaned_table_without_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = table(tmp_path / "t.csv")
    (tmp_path / "m.csv").write_text("name,given,mark,label\n1,a,wrong,b\n2,b,wrong,\n3,a,right,\n")
    assert main([str(file), "--apply", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out")]) == 0
    before, after = pd.read_csv(file), pd.read_csv(tmp_path / "out" / "cleaned.csv")
    before.loc[0, "label"] = "b"
    pd.testing.assert_frame_equal(after, before.drop(index=1).reset_index(drop=True))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cleaned.csv"]
    assert "1 have another label, and 1 are dropped" in capsys.readouterr().out


def test_a_diverged_method_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = table(tmp_path / "t.csv")
    said = refused(
        capsys, file, "device=cpu", "trainer.steps=20", "trainer.lr=1e30", "--methods", "baseline", "--folds", "2", out=tmp_path / "out"
    )
    assert "baseline diverges on this data" in said


def test_rare_classes_are_named(tmp_path: Path) -> None:
    from benchmark.audit.data import rare

    assert rare(("a", "b"), np.array([0] * 9 + [1]), 5)[0].startswith("class 'b' has 1 examples for 5 folds")
    with pytest.raises(UserError, match="has the folders train and test"):
        load(suite_folder(tmp_path))
