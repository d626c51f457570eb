"""One look a method, and options, values and settings in words."""

from __future__ import annotations

from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.analysis.style import COLOURS, DASHES, MARKERS, USUAL, looks, method_looks
from benchmark.analysis.words import option_words, setting_words, value_words
from benchmark.names import choices
from tests.records import config_of, record_of

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ rgb.clip(0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_colours_differ_for_the_colour_blind_too(vision: str) -> None:
    seen = [lab(np.array(VISIONS[vision]) @ linear(colour)) for colour in COLOURS]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) >= 16


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_has_a_contrast_of_3_to_white(colour: str) -> None:
    assert 1.05 / (linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05) >= 3


def test_neighbouring_looks_differ_in_colour_and_shape_and_the_first_520_are_all_different() -> None:
    found = list(looks([f"method {place}" for place in range(520)]).values())
    assert len(set(found)) == 520
    assert all(one[part] != other[part] for one, other in pairwise(found) for part in range(3))
    assert len({look[1:] for look in found[:40]}) == len(MARKERS) * len(DASHES)  # so that in grey 40 methods have their own shapes


def test_usual_methods_come_first_then_those_in_most_cells_and_equal_ones_go_by_name() -> None:
    cells = {"rare": 1, "often": 3, "b": 2, "a": 2, "baseline": 1, "l2rw": 1}
    records = [
        record_of(config_of(method__name=method, noise__rate=rate / 10), seed)
        for (method, rates), seed in product(cells.items(), (0, 1))
        for rate in range(rates)
    ]
    assert list(method_looks(records)) == ["l2rw", "baseline", "often", "a", "b", "rare"]


def test_each_usual_method_has_a_colour_of_its_own() -> None:
    assert len({look.colour for look in looks(USUAL).values()}) == len(USUAL) == len(COLOURS)
    assert set(USUAL) <= set(choices().values())


@settings(deadline=None)
@given(st.permutations(range(12)))
def test_the_looks_do_not_depend_on_the_order_of_the_records(order: list[int]) -> None:
    records = [record_of(config_of(method__name=f"m{place % 5}", noise__rate=place / 20)) for place in range(12)]
    assert method_looks([records[place] for place in order]) == method_looks(records)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("noise.rate", "Noise rate"),
        ("noise.ratio", "Class ratio"),
        ("split.clean_per_class", "Clean images per class"),
        ("method.beta", "Method beta"),
        ("method.base.warm_up", "Base warm up"),
        ("precision", "Precision"),
    ],
)
def test_an_option_has_words(option: str, words: str) -> None:
    assert option_words(option) == words


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("noise.rate", 0.4, "40 %"),
        ("noise.rate", 0, "0 %"),
        ("noise.rate", 0.125, "12.5 %"),
        ("noise.ratio", 0.9, "9:1"),
        ("noise.ratio", 0.995, "199:1"),
        ("imbalance.rho", 100.0, "100:1"),
        ("split.clean_total", 1000, "1,000"),
        ("trainer.lr", 0.001, "0.001"),
        ("split.stratified", True, "True"),
        ("noise.background", [0, 3], "0/3"),
        ("noise.name", "bgflip", "background flip"),
        ("noise.name", "their_noise", "their noise"),
    ],
)
def test_a_value_has_words(option: str, value: Any, words: str) -> None:
    assert value_words(option, value) == words


def test_settings_are_setting_options_in_words_with_the_rate_beside_its_noise() -> None:
    records = [record_of(config_of(noise__rate=rate, split__clean_per_class=size)) for rate, size in product((0.2, 0.4), (1, 10))]
    assert setting_words(records) == [
        "Digits, background flip 20 %, clean images per class 1",
        "Digits, background flip 20 %, clean images per class 10",
        "Digits, background flip 40 %, clean images per class 1",
        "Digits, background flip 40 %, clean images per class 10",
    ]
    assert setting_words(records[:1]) == ["Digits, background flip 20 %"]
    assert set(setting_words(records, without="noise.rate")) == {
        "Digits, background flip, clean images per class 1",
        "Digits, background flip, clean images per class 10",
    }


def test_a_setting_without_noise_says_so() -> None:
    assert setting_words([record_of(config_of(noise={"name": "none"}))]) == ["Digits, no noise"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.4]), min_size=1, max_size=4), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_two_settings_never_have_the_same_words(rates: list[float], sizes: list[int]) -> None:
    configs = [config_of(noise__rate=rate, split__clean_total=size) for rate, size in product(set(rates), set(sizes))]
    words = setting_words([record_of(config) for config in configs])
    assert len(set(words)) == len(configs)
