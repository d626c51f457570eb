"""Composed configurations that change without composing them again, which would take a hundred times as long."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.options import RunConfig
from benchmark.overrides import option_of

Plain = bool | int | float | str | None


class Unfit(Exception):
    """The overrides are not plain values of this configuration; composing them also gives the error."""


class Template:
    """Makes objects of a typed configuration with some leaves changed; OmegaConf checks each value once."""

    def __init__(self, typed: DictConfig) -> None:
        self._typed = copy.deepcopy(typed)
        OmegaConf.set_struct(self._typed, True)
        self._object = OmegaConf.to_object(typed)
        self._text = OmegaConf.to_yaml(typed)
        self._leaves: dict[str, tuple[list[str], Any]] = {}
        self.checked: set[str] = set()  # overrides whose values are known to be valid

    def make(self, overrides: Sequence[str]) -> Any:
        """Return the configuration with these overrides, as a separate object. Raises Unfit."""
        made = copy.deepcopy(self._object)
        for override in overrides:
            if override not in self._leaves:
                self._leaves[override] = self._leaf(override)
            (*path, name), value = self._leaves[override]
            node = made
            for part in path:
                node = node[part] if isinstance(node, dict) else getattr(node, part)
            if isinstance(node, dict):
                node[name] = copy.copy(value)
            else:
                setattr(node, name, copy.copy(value))
        return made

    def _leaf(self, override: str) -> tuple[list[str], Any]:
        """Return the place of the override's value, and the value in its type."""
        try:
            (parsed,) = OverridesParser.create().parse_overrides([override])
            key, value = parsed.get_key_element(), parsed.value()
            if not _is_plain(value) or f"${{{key.partition('.')[0]}" in self._text or OmegaConf.is_dict(OmegaConf.select(self._typed, key)):
                raise Unfit(override)
            OmegaConf.update(self._typed, key, value)
            value = OmegaConf.select(self._typed, key)
        except (HydraException, OmegaConfBaseException) as error:
            raise Unfit(override) from error
        return key.split("."), OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


class Product:
    """Configurations of methods times settings, each method and each setting composed once; the rest are put together from these parts.

    A part counts only if the comparison with the first configuration shows that method and setting do not depend on each other.
    """

    def __init__(self) -> None:
        self._first: tuple[tuple[str, ...], tuple[str, ...], RunConfig] | None = None
        self._methods: dict[tuple[str, ...], Any] = {}
        self._settings: dict[tuple[str, ...], RunConfig] = {}

    def made(self, overrides: Sequence[str]) -> RunConfig | None:
        """Return the configuration as a separate object, or None if it must be composed."""
        method, setting = _parts(overrides)
        if method not in self._methods or setting not in self._settings:
            return None
        return replace(copy.deepcopy(self._settings[setting]), method=copy.deepcopy(self._methods[method]))

    def keep(self, overrides: Sequence[str], typed: DictConfig, config: RunConfig) -> None:
        """Keep the parts of a composed configuration, given with and without interpolations."""
        method, setting = _parts(overrides)
        text = OmegaConf.to_yaml(typed)
        if "${method" in text or "${" in OmegaConf.to_yaml(typed.method):
            return
        self._first = self._first or (method, setting, copy.deepcopy(config))
        first_method, first_setting, first = self._first
        if setting == first_setting and replace(config, method=first.method) == first:
            self._methods[method] = copy.deepcopy(config.method)
        if method == first_method and config.method == first.method:
            self._settings[setting] = copy.deepcopy(config)


def _parts(overrides: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the overrides of the method, and all others."""
    method = tuple(override for override in overrides if option_of(override).partition(".")[0] == "method")
    return method, tuple(override for override in overrides if override not in method)


def _is_plain(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, Plain) and "${" not in str(each) for each in values)
