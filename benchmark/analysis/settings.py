"""The options that distinguish settings, in words, and the split of settings into tables."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from benchmark.identity import ADDED
from benchmark.records.store import Record, canonical

FIRST = (
    "dataset.name",
    "imbalance.name",
    "imbalance.rho",
    "noise.name",
    "noise.rate",
    "noise.ratio",
    "split.clean_per_class",
    "split.clean_total",
    "model.name",
)
OMITTED = {name: value for name, value in ADDED.items() if name.partition(".")[0] in ("scale", "precision", "trainer", "split")}
ALWAYS = ("dataset.name", "imbalance.name", "noise.name")

Words = tuple[str, ...]  # of one setting; an index belongs to the same option in all settings of a table


class Group(NamedTuple):
    """The settings of one table, in order, with the words that they share. heading: '' for a single table"""

    heading: str
    settings: list[Words]

    def column(self, setting: Words) -> str:
        """The words of a setting that the heading lacks, or all words if the heading has all of them."""
        if not self.heading:
            return text_of(setting)
        places = zip(setting, zip(*self.settings, strict=True), strict=True)
        return text_of(word for word, place in places if len(set(place)) > 1) or text_of(setting)


def settings_of(records: Sequence[Record]) -> list[str]:
    """For each record, the fewest words that distinguish its setting. Options of the method do not count."""
    return [text_of(words) for words in words_of([record["config"] for record in records])]


def text_of(words: Iterable[str]) -> str:
    """The words as one text."""
    return " ".join(filter(None, words))


def words_of(configs: Sequence[Mapping[str, Any]]) -> list[Words]:
    """Like `settings_of`, as separate words; '' if a setting lacks the option."""
    return [words(options) for options in setting_options(configs)]


def words(options: Mapping[str, Any]) -> Words:
    """The word of each option."""
    return tuple(word(name, value) for name, value in options.items())


def setting_options(configs: Sequence[Mapping[str, Any]], without: str = "", always: Collection[str] = ALWAYS) -> list[dict[str, Any]]:
    """For each configuration, the fewest options that distinguish its setting, and the options in `always`, with their values.

    All results have the same options in the same order; None if a setting lacks one. They exclude the method's options and `without`.
    """
    texts = _texts(configs)
    distinct = list(dict.fromkeys(texts))
    flat = [flatten(msgspec.json.decode(text)) for text in distinct]
    names = {name for leaves in flat for name in leaves} - {without}
    settings = dict(zip(distinct, distinguishing(flat, names, always), strict=True))
    return [settings[text] for text in texts]


def distinguishing(
    flat: Sequence[Mapping[str, Any]], names: Iterable[str], always: Collection[str] = (), given: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """For each mapping, the fewest options in `names` that distinguish it from the others, with their values.

    always: options that the result always contains
    given: options that already distinguish mappings, and that the result omits
    """
    found: list[dict[str, Any]] = [{} for _ in flat]
    parts = [0] * len(flat)  # mappings with the same values so far have the same number; an option is used only if it splits a part
    for name in given:
        parts = _finer(parts, flat, name)
    for name in sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        finer = _finer(parts, flat, name)
        if name in always or len(set(finer)) > len(set(parts)):
            parts = finer
            for mine, leaves in zip(found, flat, strict=True):
                mine[name] = leaves.get(name)
    return found


def _finer(parts: Sequence[int], flat: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    numbers: dict[tuple[int, str], int] = {}
    return [numbers.setdefault((part, str(leaves.get(name))), len(numbers)) for part, leaves in zip(parts, flat, strict=True)]


def _texts(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The canonical JSON of each configuration without its method. Equal parts are usually one object, so each is encoded once."""
    written: dict[tuple[tuple[str, int], ...], str] = {}
    texts = []
    for config in configs:
        parts = tuple((name, id(part)) for name, part in config.items() if name != "method")
        if parts not in written:
            written[parts] = canonical({name: part for name, part in config.items() if name != "method"})
        texts.append(written[parts])
    return texts


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name.

    >>> flatten({"noise": {"rate": 0.4}})
    {'noise.rate': 0.4}
    """
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def leaves_of(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The options of each configuration by dotted name, by the configuration's key.

    A configuration omits options that are newer than the first records, at the value that reproduces the earlier behaviour. If one of
    `configs` has such an option, the others get this value.

    >>> leaves_of({"a": {"split": {}}, "b": {"split": {"clean_noise_rate": 0.1}}})
    {'a': {'split.clean_noise_rate': 0.0}, 'b': {'split.clean_noise_rate': 0.1}}
    """
    flat = {key: flatten(config) for key, config in configs.items()}
    omitted = {name: value for name, value in OMITTED.items() if any(name in leaves for leaves in flat.values())}
    return {key: leaves | {name: value for name, value in omitted.items() if name not in leaves} for key, leaves in flat.items()}


def word(name: str, value: Any) -> str:
    """The value of an option in the text of a setting.

    >>> word("noise.name", "bgflip"), word("noise.rate", 0.4), word("noise.background", None)
    ('bgflip', 'rate=0.4', '')
    """
    if value is None:
        return ""
    return str(value) if name.endswith(".name") else f"{name.rpartition('.')[2]}={value}"


def in_order(settings: Iterable[Words]) -> list[Words]:
    """The distinct settings, sorted by their text and its numbers."""
    return sorted(set(settings), key=lambda words: natural(text_of(words)))


def natural(setting: str) -> tuple[tuple[float, str], ...]:
    """Sort key that puts rate=0.05 before rate=0.4, and 5 before 10."""
    return tuple((float(part), "") if part[:1].isdecimal() else (math.inf, part) for part in re.split(r"(\d+\.?\d*)", setting))


def groups(settings: Iterable[Words], most: int | None) -> list[Group]:
    """The settings of each table, split by their first word, then by the second, and so on. most: settings of a table; None for no limit"""
    distinct = in_order(settings)
    parts = _split(distinct, most)
    if len(parts) == 1:
        return [Group("", distinct)]
    shared = [text_of(place[0] for place in zip(*part, strict=True) if len(set(place)) == 1) for part in parts]
    several, so_far = Counter(shared), Counter[str]()
    found = []
    for words, part in zip(shared, parts, strict=True):
        so_far[words] += 1
        number = f"({so_far[words]} of {several[words]})" if several[words] > 1 else ""
        found.append(Group(text_of([words, number]), part))
    return found


def _split(settings: list[Words], most: int | None, place: int = 0) -> list[list[Words]]:
    """Parts that share their words before `place`. If the next word distinguishes all settings, the parts are slices of them."""
    if most is None or len(settings) <= most:
        return [settings]
    by_word: dict[str, list[Words]] = {}
    for words in settings:
        by_word.setdefault(words[place], []).append(words)
    if len(by_word) == len(settings):
        return [settings[start : start + most] for start in range(0, len(settings), most)]
    return [part for same in by_word.values() for part in _split(same, most, place + 1)]
