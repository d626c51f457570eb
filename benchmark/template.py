"""A composed configuration whose plain values change without composing it again, which would take a hundred times as long."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

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


def _is_plain(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, Plain) and "${" not in str(each) for each in values)
