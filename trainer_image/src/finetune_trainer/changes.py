"""What differs between two versions of the same settings, in words: `training.learningRate was 0.0002 and is 0.001`."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from finetune_api.text import ellipsis

Settings = Mapping[str, object]
"""Settings as JSON has them; those left at their default may be missing."""

_LONGEST: Final = 80
"""Bytes of a value that are shown."""
_NAMED: Final = 5
"""Changes that are named; the rest is counted."""


def changed_settings(was: Settings, now: Settings) -> str:
    """The differences as one phrase, empty where there are none."""
    before, after = dict(_leaves(was)), dict(_leaves(now))
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    found = [f"{name} was {_shown(before.get(name))} and is {_shown(after.get(name))}" for name in names[:_NAMED]]
    if len(names) > _NAMED:
        found.append(f"{len(names) - _NAMED} more")
    return ", ".join(found)


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every value that holds no others, by its path as the spec writes it; a list of plain values is one value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{index}]")
    else:
        yield name, value


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    return ellipsis(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _LONGEST)
