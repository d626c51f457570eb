"""Tables become the features of scikit-learn and pandas, equally from every file format, and an error is one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import datasets as sklearn_datasets
from sklearn.preprocessing import StandardScaler

from benchmark import ROOT, run, trial
from benchmark.artifacts import load_model
from benchmark.config import cells
from benchmark.training.evaluation import logits_on
from datasets import arrays, table_files
from datasets.encoding import Encoding
from datasets.source import UNKNOWN, Source
from methods.base import Method, Phase
from methods.schedules import Schedules
from robust_benchmark.errors import UserError
from tests.conftest import kept_in, records


def a_table(rows: int = 90) -> pd.DataFrame:
    """Three classes in turn; columns of numbers, of text, and of true and false; the last three of any nine rows are tested on."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 3
    return pd.DataFrame(
        {
            "height": labels * 3.0 + rng.normal(size=rows),
            "age": rng.integers(0, 90, rows),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "member": rng.random(rows) < 0.5,
            "label": np.array(["ant", "bee", "cat"])[labels],
            "part": np.where(np.arange(rows) // 3 % 3 == 2, "test", "train"),
        }
    )


def source(table: pd.DataFrame, tmp_path: Path, **options: Any) -> Source:
    """Return the source of the table through a .csv file, with its column `part` as the default split."""
    table.to_csv(tmp_path / "table.csv", index=False)
    return arrays.load(str(tmp_path / "table.csv"), **{"split": "part" if "part" in table else None, **options})


def encoding(found: Source) -> Encoding:
    assert found.encoding is not None
    return Encoding.from_json(found.encoding)


# --- features


def test_numbers_are_standardised_as_scikit_learn_does_on_training_rows(tmp_path: Path) -> None:
    table = a_table()
    found = source(table, tmp_path, features=["height", "age"])
    train, test = (table[table["part"] == part][["height", "age"]] for part in ("train", "test"))
    scaler = StandardScaler().fit(train)
    assert found.train_images.dtype == torch.float32
    np.testing.assert_allclose(found.train_images, scaler.transform(train), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.test_images, scaler.transform(test), rtol=1e-5, atol=1e-6)


def test_categories_are_one_hot_as_pandas_makes_them(tmp_path: Path) -> None:
    table = a_table()
    found = source(table, tmp_path, features=["colour", "member"])
    expected = pd.get_dummies(table[["colour", "member"]].astype(str), prefix_sep="=")
    assert encoding(found).features == tuple(expected.columns)
    np.testing.assert_array_equal(found.train_images, expected[table["part"] == "train"].to_numpy(dtype=np.float32))
    np.testing.assert_array_equal(found.test_images, expected[table["part"] == "test"].to_numpy(dtype=np.float32))


def test_an_unknown_or_missing_category_is_zero_in_all(tmp_path: Path) -> None:
    table = a_table()
    tested = np.flatnonzero(table["part"] == "test")
    table.loc[tested[0], "colour"] = "violet"
    table.loc[tested[1], "colour"] = None
    table.loc[0, "colour"] = None
    found = source(table, tmp_path, features=["colour"])
    assert encoding(found).features == ("colour=blue", "colour=green", "colour=red")
    assert found.test_images.sum(dim=1)[:2].tolist() == [0, 0]
    assert (found.test_images.sum(dim=1)[2:] == 1).all()
    assert found.train_images[0].tolist() == [0, 0, 0]


def test_missing_numbers_are_the_training_mean_and_an_indicator_says_so(tmp_path: Path) -> None:
    table = a_table().astype({"age": float})
    table.loc[[0, 1, 8], "age"] = None  # rows 0 and 1 are trained on, row 8 is tested on
    table.loc[6, "height"] = None  # tested on; no training row lacks a height
    found = source(table, tmp_path, features=["height", "age"])
    train, test = (table[table["part"] == part][["height", "age"]] for part in ("train", "test"))
    scaler = StandardScaler().fit(train)  # leaves missing values out of its statistics
    assert encoding(found).features == ("height", "age", "age is missing")
    for images, rows in ((found.train_images, train), (found.test_images, test)):
        np.testing.assert_allclose(images[:, :2], np.nan_to_num(scaler.transform(rows)), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(images[:, 2], rows["age"].isna())


@pytest.mark.parametrize("value", [0.1, 7.0, None, 1e300, 3e-320])
def test_a_constant_column_is_zero_in_training_and_in_tests(value: float | None, tmp_path: Path) -> None:
    table = a_table().assign(same=value)
    table.loc[8, "same"] = 5.0  # tested on
    found = source(table, tmp_path, features=["same"])
    assert (found.train_images[:, 0] == 0).all()
    assert (found.test_images[:, 0] == 0).all()


def test_test_rows_do_not_touch_the_statistics(tmp_path: Path) -> None:
    table = a_table()
    before = source(table, tmp_path)
    table.loc[table["part"] == "test", "height"] *= 100
    after = source(table, tmp_path)
    assert torch.equal(before.train_images, after.train_images)
    assert before.encoding == after.encoding


def test_all_other_columns_are_features_unless_they_are_named(tmp_path: Path) -> None:
    names = encoding(source(a_table().drop(columns="part"), tmp_path)).features
    assert names == ("height", "age", "colour=blue", "colour=green", "colour=red", "member=False", "member=True")
    assert encoding(source(a_table(), tmp_path, features=["age"])).features == ("age",)


def test_columns_of_any_numeric_type_are_numbers() -> None:
    values = [1, 2, 3, 4]
    for dtype in ("int8", "uint16", "int64", "float32", "Int64", "Float64", "int64[pyarrow]", "object"):
        table = pd.DataFrame({"x": pd.Series(values, dtype=dtype)})
        np.testing.assert_allclose(Encoding.fit(table).encode(table), StandardScaler().fit_transform(np.array(values)[:, None]), rtol=1e-6)


def test_an_encoding_survives_as_text(tmp_path: Path) -> None:
    table = a_table().astype({"age": float})
    table.loc[0, "age"] = None
    found = encoding(source(table, tmp_path))
    assert Encoding.from_json(found.to_json()) == found


# --- files


def write_npz(table: pd.DataFrame, path: Path) -> None:
    np.savez(path, X=table[["height", "age"]].to_numpy(), y=table["label"].to_numpy(dtype=str), part=table["part"].to_numpy(dtype=str))


def write_npz_in_two_parts(table: pd.DataFrame, path: Path) -> None:
    parts = {}
    for part, ending in (("train", ""), ("test", "_test")):
        rows = table[table["part"] == part]
        parts |= {f"x{ending}": rows[["height", "age"]].to_numpy(), f"y{ending}": rows["label"].to_numpy(dtype=str)}
    np.savez(path, **parts)


FILES: dict[str, tuple[str, Callable[[pd.DataFrame, Path], None]]] = {
    "csv": (".csv", lambda table, path: table.to_csv(path, index=False)),
    "parquet": (".parquet", lambda table, path: table.to_parquet(path)),
    "npz": (".npz", write_npz),
    "npz with tests": (".npz", write_npz_in_two_parts),
}


def test_every_form_of_file_makes_the_same_source(tmp_path: Path) -> None:
    table, digests = a_table()[["height", "age", "label", "part"]], {}
    for form, (suffix, write) in FILES.items():
        path = tmp_path / f"table{suffix}"
        write(table, path)
        digests[form] = arrays.load(str(path), split=None if form == "npz with tests" else "part").digest
    assert len(set(digests.values())) == 1, digests


def test_parquet_and_csv_agree_on_categories_blanks_and_true_labels(tmp_path: Path) -> None:
    table = a_table().assign(true=lambda all: all["label"].to_numpy()[::-1]).astype({"colour": "category", "age": "Int64"})
    table.loc[[0, 8], "age"] = None
    table.loc[[1, 4], "colour"] = None
    table.to_parquet(tmp_path / "table.parquet")
    by_csv = source(table, tmp_path, true_label="true")
    by_parquet = arrays.load(str(tmp_path / "table.parquet"), split="part", true_label="true")
    assert by_csv.digest == by_parquet.digest
    assert by_csv.encoding == by_parquet.encoding


def test_arrays_to_test_on_take_their_labels_as_true(tmp_path: Path) -> None:
    x, y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1])
    file = tmp_path / "table.npz"
    np.savez(file, X=x, y=y, truth=1 - y, sure=y == y, X_test=x, y_test=y)
    assert arrays.load(str(file), true_label="truth").test_labels.tolist() == y.tolist()
    assert arrays.load(str(file), true_label="truth").true_labels.tolist() == (1 - y).tolist()
    assert arrays.load(str(file), trusted="sure").true_labels.tolist() == y.tolist()


@pytest.mark.parametrize(("table", "read"), [("breast_cancer", "load_breast_cancer"), ("wine", "load_wine"), ("digits", "load_digits")])
def test_bundled_tables_are_scikit_learns(table: str, read: str) -> None:
    bunch = getattr(sklearn_datasets, read)()
    found = arrays.load_bundled(table)
    assert sorted(found.classes) == sorted(map(str, bunch.target_names))
    assert len(found.train_images) + len(found.test_images) == len(bunch.data)
    labels = torch.cat([found.train_labels, found.test_labels]).numpy()
    names, counts = np.unique(np.array(found.classes)[labels], return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {str(n): int((bunch.target == k).sum()) for k, n in enumerate(bunch.target_names)}
    images = found.train_images.double()
    deviations = images.std(dim=0, correction=0)
    np.testing.assert_allclose(images.mean(dim=0), 0, atol=1e-6)
    np.testing.assert_allclose(deviations[deviations > 0], 1, rtol=1e-6)


# --- labels, truth and tests


def test_classes_are_in_the_order_of_numbers_or_of_text(tmp_path: Path) -> None:
    table = a_table()
    assert source(table, tmp_path).classes == ("ant", "bee", "cat")
    numbers = table.assign(label=table["label"].map({"ant": 10, "bee": 9, "cat": -1}))
    assert source(numbers, tmp_path).classes == ("-1", "9", "10")
    floats = numbers.astype({"label": float})
    assert source(floats, tmp_path).classes == ("-1", "9", "10")
    flags = table.assign(label=table["label"] == "ant")
    assert source(flags, tmp_path).classes == ("False", "True")


def test_given_labels_are_true_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    assert source(a_table(), tmp_path).train_true_labels is None
    assert (source(a_table(), tmp_path, true_labels=False).true_labels == UNKNOWN).all()


def test_a_column_of_true_labels_is_the_truth_in_training_and_in_tests(tmp_path: Path) -> None:
    table = a_table().assign(true=lambda all: all["label"])
    table.loc[[0, 8], "label"] = "bee"  # row 0 is trained on and an ant, row 8 is tested on and a cat
    found = source(table, tmp_path, true_label="true")
    tested = table["part"] == "test"
    names = np.array(found.classes)
    assert names[found.train_labels].tolist() == table.loc[~tested, "label"].tolist()
    assert names[found.true_labels].tolist() == table.loc[~tested, "true"].tolist()
    assert names[found.test_labels].tolist() == table.loc[tested, "true"].tolist()


@pytest.mark.parametrize("kind", [bool, int, float])
def test_trusted_rows_alone_have_known_labels(kind: type, tmp_path: Path) -> None:
    table = a_table().assign(sure=(np.arange(90) < 30).astype(kind))
    found = source(table, tmp_path, trusted="sure")
    sure = table.loc[table["part"] == "train", "sure"].to_numpy(dtype=bool, copy=True)
    assert torch.equal(found.true_labels[sure], found.train_labels[sure])
    assert (found.true_labels[~sure] == UNKNOWN).all()


def test_without_a_split_tests_are_a_share_of_each_class_and_the_same_every_time(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": np.arange(150.0), "label": np.repeat([0, 1, 2], [100, 40, 10])})
    found = source(table, tmp_path, test_share=0.3)
    assert torch.bincount(found.test_labels).tolist() == [30, 12, 3]
    assert torch.bincount(found.train_labels).tolist() == [70, 28, 7]
    assert source(table, tmp_path, test_share=0.3).digest == found.digest
    assert source(table.assign(x=-table["x"]), tmp_path, test_share=0.3).test_labels.tolist() == found.test_labels.tolist()


def test_without_a_split_only_trusted_rows_are_tested_on(tmp_path: Path) -> None:
    table = a_table().drop(columns="part").assign(row=range(90), sure=np.arange(90) < 30)
    found = source(table, tmp_path, trusted="sure", features=["row"])
    (row,) = encoding(found).columns
    tested = found.test_images[:, 0] * row.std + row.mean
    assert len(tested) == 6
    assert (tested < 29.5).all()
    assert (found.true_labels != UNKNOWN).sum() == 24


# --- an error is one sentence


def with_value(column: str, row: int, value: object) -> pd.DataFrame:
    table = a_table().astype({column: object})
    table.loc[row, column] = value
    return table


def sure(rows: int) -> pd.DataFrame:
    return a_table().assign(sure=(np.arange(90) % 3 == 0) & (np.arange(90) < rows))


WRONG: dict[str, tuple[pd.DataFrame, dict[str, Any], str]] = {
    "label is missing": (a_table(), {"label": "lable"}, r"dataset\.label: no column 'lable'; nearest: label \(6 known: "),
    "true label is missing": (a_table(), {"true_label": "truth"}, r"dataset\.true_label: no column 'truth'; nearest"),
    "feature is missing": (a_table(), {"features": ["hight"]}, r"dataset\.features: no column 'hight'; nearest: height"),
    "a feature that is no list": (a_table(), {"features": "height"}, r"must be a list of columns, such as \[age, height\], not height"),
    "no feature": (a_table(), {"features": []}, "at least one column"),
    "a feature twice": (a_table(), {"features": ["age", "age"]}, "each of them once"),
    "the label as a feature": (a_table(), {"features": ["label"]}, "column 'label' cannot be a feature"),
    "one column, two parts": (a_table(), {"true_label": "label"}, "dataset.label and dataset.true_label are both the column 'label'"),
    "no given labels": (a_table(), {"label": None, "true_label": "label"}, "true labels need given ones"),
    "true and trusted": (sure(30), {"true_label": "colour", "trusted": "sure"}, "give one of both"),
    "true and unknown": (a_table(), {"true_label": "colour", "true_labels": False}, r"dataset\.true_labels=false that they are not"),
    "nothing to test against": (a_table(), {"true_labels": False, "split": None}, r"give dataset\.split"),
    "a blank label": (with_value("label", 3, None), {}, "column 'label' is blank in row 4"),
    "labels of numbers and text": (with_value("label", 3, 7), {}, "'label' mixes numbers and text, such as 7 and 'ant'"),
    "labels that are no classes": (a_table().assign(label=np.arange(90) / 4), {}, "column 'label' holds 0.25: labels are text or whole"),
    "infinite labels": (a_table().assign(label=np.inf), {}, "column 'label' holds inf"),
    "given and true of two kinds": (a_table().assign(true=[0, 1, 2] * 30), {"true_label": "true"}, "numbers in one of the columns"),
    "one class": (a_table().assign(label="ant"), {}, "holds 1 class; at least 2 are needed"),
    "a class without training rows": (with_value("label", 8, "dog"), {}, "class 'dog' has no training row"),
    "a class without trusted rows": (sure(30), {"trusted": "sure"}, "no training row of class 'bee' is trusted"),
    "trust that is not yes or no": (sure(30).assign(sure="maybe"), {"trusted": "sure"}, "holds 'maybe' in row 1; allowed: true, false"),
    "trust with blanks": (with_value("member", 4, None), {"trusted": "member"}, "holds a blank in row 5; allowed: true, false"),
    "another part": (with_value("part", 4, "val"), {}, "column 'part' holds 'val' in row 5; allowed: train, test"),
    "a part with blanks": (with_value("part", 4, None), {}, "column 'part' holds a blank in row 5"),
    "no test rows": (a_table().assign(part="train"), {}, "says 'train' in all rows; both train and test are needed"),
    "a share above 1": (a_table().drop(columns="part"), {"test_share": 1.5}, r"test_share 1\.5 is not in \[0, 1\]"),
    "no row to spare": (a_table(3).drop(columns="part"), {}, "no class has a row to spare for tests among 3 rows"),
    "features of numbers and text": (with_value("age", 4, "?"), {}, r"'age' mixes numbers and text, such as \d+ and '\?'"),
    "infinite features": (with_value("height", 4, np.inf), {}, "column 'height' is infinite in row 5"),
    "infinite features in tests": (with_value("height", 8, -np.inf), {}, "column 'height' is infinite in row 9"),
    "enormous features": (with_value("height", 4, 1e300), {}, "'height' holds numbers too large to be standardised"),
    "far away in tests": (with_value("height", 8, 1e300), {}, "'height' holds a number that is too far"),
    "too many categories": (a_table(3000).assign(id=lambda all: "id" + all.index.astype(str)), {}, "'id' has 2001 categories"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_table_that_is_wrong_is_one_sentence(case: str, tmp_path: Path) -> None:
    table, options, sentence = WRONG[case]
    with pytest.raises(UserError, match=sentence) as raised:
        source(table, tmp_path, **options)
    assert "\n" not in str(raised.value)


UNFIT = {
    "times": pd.Series(pd.date_range("2020-01-01", periods=90)),
    "bytes": pd.Series([b"a"] * 90),
    "complex numbers": pd.Series(np.full(90, 1 + 2j)),
    "lists": pd.Series([[1, 2]] * 90),
    "numbers and text": pd.Series([1.5, "a"] * 45, dtype=object),
    "true, false and numbers": pd.Series([True, 3] * 45, dtype=object),
    "numbers, and text in tests": pd.Series(["a" if part == "test" else 1.5 for part in a_table()["part"]], dtype=object),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_column_of_another_type_is_one_sentence(case: str) -> None:
    with pytest.raises(UserError, match=r"column 'odd' (holds|mixes)") as raised:
        arrays.source_of(a_table().assign(odd=UNFIT[case]), table_files.Roles("label", split="part"))
    assert "\n" not in str(raised.value)


def save(path: Path, **parts: np.ndarray) -> None:
    np.savez(path, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_a_table_that_cannot_fit_in_memory_is_refused_before_it_is_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"large{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, X=np.zeros((2**17, 4)), y=np.arange(2**17) % 2)  # 5 MiB, and a hundredth of it in the file
    else:
        path.write_text("a,label\n" + "1,0\n2,1\n" * 700_000)
    monkeypatch.setattr(table_files, "available_memory", lambda: 2**23)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("read"))
    monkeypatch.setattr(pd, "read_csv", lambda *_, **__: pytest.fail("read"))
    words = r"large\.\w+ holds 0\.\d\d GiB, and reading a table takes at least 2 times its size, but 0\.01 GiB of memory is available"
    with pytest.raises(UserError, match=words):
        arrays.load(str(path))


def test_the_memory_that_is_available_is_part_of_what_the_machine_has() -> None:
    assert 0 < table_files.available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
BROKEN: dict[str, tuple[str, Callable[[Path], object], dict[str, Any], str]] = {
    "missing": ("t.csv", lambda path: None, {}, r"no file .*t\.csv"),
    "a directory": ("t.csv", Path.mkdir, {}, r"t\.csv is a directory, but a file is needed"),
    "another suffix": ("t.xlsx", Path.touch, {}, r"no form of a table '\.xlsx'; nearest: .*\.csv, \.npz, \.parquet"),
    "an empty csv": ("t.csv", Path.touch, {}, r"t\.csv is not a readable table"),
    "a csv of bytes": ("t.csv", lambda path: path.write_bytes(b"\xff\xfe\x00\x81,\n\x81"), {}, r"t\.csv is not a readable table"),
    "no parquet": ("t.parquet", lambda path: path.write_text("x"), {}, r"t\.parquet is not a readable table"),
    "no npz": ("t.npz", lambda path: path.write_text("x"), {}, r"t\.npz is not a readable table"),
    "objects": ("t.npz", lambda path: save(path, X=X.astype(object), y=Y), {}, "is not a readable table"),
    "no labels": ("t.npz", lambda path: save(path, X=X), {}, "no array 'label'"),
    "no features": ("t.npz", lambda path: save(path, Z=X, y=Y), {}, "no array 'X'; nearest"),
    "images": ("t.npz", lambda path: save(path, X=X[..., None], y=Y), {}, r"X must be \(rows, columns\), not of the shape \(6, 2, 1\)"),
    "other lengths": ("t.npz", lambda path: save(path, X=X, y=Y[:5]), {}, r"X has 6 rows, and the label beside it has the shape \(5,\)"),
    "other trust": ("t.npz", lambda path: save(path, X=X, y=Y, sure=Y[:5]), {"trusted": "sure"}, "the trusted beside it"),
    "no trust": ("t.npz", lambda path: save(path, X=X, y=Y), {"trusted": "sure"}, "no array 'sure'"),
    "half a test": ("t.npz", lambda path: save(path, X=X, y=Y, y_test=Y), {}, "no array 'X_test'"),
    "other columns": ("t.npz", lambda path: save(path, X=X, y=Y, X_test=X[:, :1], y_test=Y), {}, "differ in their numbers of columns"),
    "two splits": ("t.npz", lambda path: save(path, X=X, y=Y, X_test=X, y_test=Y, s=Y), {"split": "s"}, "dataset.split=s contradicts"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_wrong_is_one_sentence(case: str, tmp_path: Path) -> None:
    name, make, options, sentence = BROKEN[case]
    make(tmp_path / name)
    with pytest.raises(UserError, match=sentence) as raised:
        arrays.load(str(tmp_path / name), **options)
    assert "\n" not in str(raised.value)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_table().to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(table_files, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"t\.parquet is a Parquet file, which needs pyarrow: pip install pyarrow"):
        arrays.load(str(tmp_path / "t.parquet"))


# --- from the command line


def test_the_python_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "arrays.load" in block]
    monkeypatch.chdir(tmp_path)
    a_table().assign(checked=True).drop(columns="part").to_csv("table.csv", index=False)
    exec(code, {})
    assert capsys.readouterr().out.startswith("('height', 'age', 'colour=blue'")


def command(root: Path, *more: str) -> list[str]:
    return ["trials=1", "trainer.steps=100", *kept_in(root), *more]


def test_methods_train_on_a_bundled_table(tmp_path: Path) -> None:
    assert run.main(command(tmp_path, "dataset=breast_cancer", "noise=uniflip", "noise.rate=0.2", "method=baseline,l2rw")) == 0
    found = {record["method"]: record for record in records(tmp_path)}
    assert found.keys() == {"baseline", "l2rw"}
    for record in found.values():
        assert record["data"]["image_shape"] == [30]
        assert record["data"]["classes"] == ["benign", "malignant"]
        assert record["data"]["sizes"] == {"train": 436, "clean": 20, "hyper_validation": 0, "test": 113}
        assert record["data"]["wrong_labels"]["train"] == round(0.2 * 436)
        assert record["metrics"]["test_accuracy"] > 0.75


def test_a_csv_with_trusted_rows_trains_without_metrics_that_need_the_truth(tmp_path: Path) -> None:
    table = a_table(150).assign(sure=np.arange(150) < 45)
    wrong = np.flatnonzero((table["part"] == "train") & ~table["sure"])[::3]
    table.loc[wrong, "label"] = "ant"
    table.to_csv(tmp_path / "mine.csv", index=False)
    options = ["dataset=arrays", f"dataset.path={tmp_path}/mine.csv", "dataset.trusted=sure", "dataset.split=part", "noise=none"]
    assert run.main(command(tmp_path, *options, "trainer.batch_size=1000", "method=baseline,l2rw")) == 0
    for record in records(tmp_path):
        assert record["data"]["sizes"] == {"train": 72, "clean": 30, "hyper_validation": 0, "test": 48}
        assert record["data"]["wrong_labels"]["train"] is None
        assert record["metrics"]["test_accuracy"] > 0.7
        assert "train_accuracy_on_given_labels" in record["metrics"]
        assert not {"train_accuracy", "wrong_labels_memorised", "weights_auroc", "weights_precision"} & record["metrics"].keys()


@pytest.mark.parametrize("method", ["clean_only", "coteaching", "resample", "elr", "baseline_ft"])
def test_tiny_tables_and_batches_larger_than_them_work(method: str, tmp_path: Path) -> None:
    a_table(30).drop(columns="part").to_csv(tmp_path / "mine.csv", index=False)
    options = ["dataset=arrays", f"dataset.path={tmp_path}/mine.csv", "split.clean_per_class=2", "noise=uniflip", "trainer.steps=10"]
    assert run.main([*command(tmp_path, *options), f"method={method}"]) == 0
    assert len(records(tmp_path)) == 1


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        ("convnet", 30),
        ("lenet", 30),
        ("lenet", 3),
        ("resnet32", 30),
        ("preact_resnet18", 3),
        ("fastnet", 30),
        ("torchvision", 30),
        ("torchvision", 3),
    ],
)
def test_a_model_for_images_is_refused_in_one_sentence(
    model: str, columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, columns))).assign(label=[0, 1] * 30)
    table.to_csv(tmp_path / "mine.csv", index=False)
    assert run.main(command(tmp_path, "dataset=arrays", f"dataset.path={tmp_path}/mine.csv", f"model={model}", "method=baseline")) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "images" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["method=dividemix"], "needs different views of an image, and the data set's augmentation is none"),
        (["dataset.preprocessing.pad=2"], "pad and flip move the pixels of images, but this data set is a table"),
        (["dataset.preprocessing.flip=true", "method=dividemix"], "pad and flip move the pixels of images"),
        (
            ["dataset=arrays", "dataset.path=unknown.npz", "dataset.true_labels=false", "noise=none"],
            "L2RW needs a clean set, and this data set knows",
        ),
        (["dataset.label=lable", "dataset=arrays", "dataset.path=/none/such.csv"], "no file /none/such.csv"),
    ],
)
def test_what_tables_cannot_do_is_one_sentence(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("unknown.npz"), X=X, y=Y, X_test=X, y_test=Y)
    chosen = [] if "dataset=arrays" in options else ["dataset=wine"]
    assert run.main(command(tmp_path, *chosen, *options)) == 2
    message = capsys.readouterr().err
    assert sentence in message
    assert message.count("\n") == 1


def test_strong_views_of_a_table_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from methods.baseline import Baseline

    def strong(self: Method, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, views=("weak", "strong"))]

    monkeypatch.setattr(Baseline, "phases", strong)
    (cell,) = cells(["dataset=wine", "method=baseline"])
    with pytest.raises(UserError, match="baseline needs strong views of images, but this data set is a table"):
        trial.prepare(cell, 0)


# --- kept models


def test_a_kept_model_takes_rows_as_they_stand_in_the_file(tmp_path: Path) -> None:
    table = a_table()
    table.to_csv(tmp_path / "mine.csv", index=False)
    options = ["dataset=arrays", f"dataset.path={tmp_path}/mine.csv", "dataset.split=part", "noise=none", "split.clean_per_class=5"]
    assert run.main(command(tmp_path, *options, "method=baseline", "keep=[weights]")) == 0
    (record,) = records(tmp_path)
    model = load_model(record["path"], tmp_path / "checkpoints")
    rows = table[table["part"] == "test"]
    (cell,) = cells([*command(tmp_path, *options), "method=baseline"])
    task = trial.prepare(cell, 0).task
    expected = torch.from_numpy(logits_on(task.test, model.method, task.preprocessing, len(task.classes))).softmax(dim=1)
    model.method.eval()
    np.testing.assert_allclose(model.predict_proba(rows), expected, atol=1e-6)
    values = rows[["height", "age", "colour", "member"]].to_numpy()
    np.testing.assert_allclose(model.predict_proba(values), expected, atol=1e-6)
    assert (model.predict_proba(rows).argmax(axis=1) == task.test.labels.numpy()).mean() == record["metrics"]["test_accuracy"]
    assert model.predict_proba(rows[:0]).shape == (0, 3)
    with pytest.raises(UserError, match="no column 'colour' in the rows"):
        model.predict_proba(rows.drop(columns="colour"))
    with pytest.raises(UserError, match="rows must have 4 columns"):
        model.predict_proba(np.zeros((2, 3)))
    with pytest.raises(UserError, match=re.escape("column 'age' holds categories here, and other values in training rows")):
        model.predict_proba(rows.assign(age="old"))
