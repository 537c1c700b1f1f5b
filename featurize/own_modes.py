"""Modes of one's own, read from tables of settings.

Conventions
-----------
A table is what ``[modes.NAME]`` in a TOML file gives. It holds all settings of a mode, or names with ``base`` a mode
that gives the others. Every message begins with the mode's name.
"""

import dataclasses
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from cache.errors import InputError
from featurize.modes import MODES, FeatureMode


def read_modes(tables: object) -> dict[str, FeatureMode]:
    """Build the modes that a user defines.

    Parameters
    ----------
    tables : mapping of {str: mapping}
        Name → settings, as ``[modes.NAME]`` in a TOML file gives them. ``base`` names the mode of this version whose
        settings hold where the table has none; dashes in names of settings count as underscores.

    Returns
    -------
    dict of {str: FeatureMode}

    Raises
    ------
    InputError
        If a name is taken, or a setting is unknown, missing or breaks its rule.
    """
    if not isinstance(tables, Mapping):
        message = f"modes must be tables of settings, [modes.NAME]; got {tables!r}"
        raise InputError(message)
    return {name: _read_mode(name, table) for name, table in tables.items()}


def _read_mode(name: str, table: object) -> FeatureMode:
    if name in (*MODES, "all"):
        message = f"mode {name!r}: the name is taken by a mode of this version; give yours another"
        raise InputError(message)
    if not isinstance(table, Mapping):
        message = f"mode {name!r}: must be a table of settings, [modes.{name}]; got {table!r}"
        raise InputError(message)
    fields = {field.name: field for field in dataclasses.fields(FeatureMode) if field.name != "name"}
    values = _underscored(name, table)
    _check_settings(name, values, [*fields, "base"])
    values = _base_settings(name, values) | values
    needed = [key for key, field in fields.items() if field.default is dataclasses.MISSING]
    if missing := [key for key in needed if key not in values]:
        message = f"mode {name!r}: lacks {', '.join(missing)}; give them, or base = {next(iter(MODES))!r} to start from"
        raise InputError(message)
    return FeatureMode(name=name, **values)


def _underscored(name: str, table: Mapping[Any, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in table.items():
        setting = str(key).replace("-", "_")
        if setting in values:
            message = f"mode {name!r}: {setting!r} is given twice, with dashes and with underscores; give it once"
            raise InputError(message)
        values[setting] = value
    return values


def _check_settings(name: str, values: Mapping[str, Any], known: Collection[str]) -> None:
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            message = f"mode {name!r}: {key!r} is not a setting of a mode; {hint}"
            raise InputError(message)


def _base_settings(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Take ``base`` out of the values, and give the settings of the mode that it names."""
    if "base" not in values:
        return {}
    base = values.pop("base")
    if base not in tuple(MODES):
        message = f"mode {name!r}: base must be one of {', '.join(MODES)}; got {base!r}"
        raise InputError(message)
    settings = dataclasses.asdict(MODES[base])
    del settings["name"]
    return settings
