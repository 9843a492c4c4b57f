"""A reading of kube-state-metrics' CustomResourceState configuration, for what ours uses of it.

The real one cannot be compiled here (its Go module is not on the proxy), so this follows its registry_factory.go: a
path is followed key by key, a Gauge over a list gives a series for each item, a string is a truth value, a time or a
number, a StateSet gives a series for each state, and what is not there gives none. An unknown key raises.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

Raw = dict[str, Any]
Series = tuple[str, dict[str, str], float]

_TRUTH: Final = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0, "unknown": 0.0}


def series(resource: Raw, item: Raw) -> Iterator[Series]:
    """Name, labels and value of every series that a resource of the configuration makes of an object."""
    _known(resource, "groupVersionKind", "metricNamePrefix", "labelsFromPath", "errorLogV", "metrics")
    common = _labels(resource["labelsFromPath"], item)
    for metric in resource["metrics"]:
        _known(metric, "name", "help", "each")
        name = f"{resource['metricNamePrefix']}_{metric['name']}"
        for labels, value in _each(metric["each"], item):
            yield name, {**common, **labels}, value


def paths(resource: Raw) -> Iterator[tuple[list[str], list[str]]]:
    """Every path that is read: where it starts, and how it goes on from there, inside a list's items."""
    yield from (([], path) for path in resource["labelsFromPath"].values())
    for metric in resource["metrics"]:
        (meta,) = (value for key, value in metric["each"].items() if key != "type")
        values = [meta.get("valueFrom", [])] if "path" in meta else []
        yield from ((meta.get("path", []), path) for path in [*meta.get("labelsFromPath", {}).values(), *values])


def _each(each: Raw, item: Raw) -> Iterator[tuple[dict[str, str], float]]:
    kind = each["type"]
    _known(each, "type", kind[0].lower() + kind[1:])
    match kind:
        case "Gauge":
            yield from _gauge(each["gauge"], item)
        case "Info":
            _known(each["info"], "labelsFromPath")
            yield _labels(each["info"]["labelsFromPath"], item), 1.0
        case "StateSet":
            _known(each["stateSet"], "path", "labelName", "list")
            state, name = _follow(each["stateSet"]["path"], item), each["stateSet"]["labelName"]
            states = each["stateSet"]["list"] if isinstance(state, str) else []
            yield from (({name: known}, float(known == state)) for known in states)
        case _:
            raise ValueError(f"unknown type {kind}")


def _gauge(gauge: Raw, item: Raw) -> Iterator[tuple[dict[str, str], float]]:
    _known(gauge, "path", "labelsFromPath", "valueFrom")
    found = _follow(gauge["path"], item)
    for each in found if isinstance(found, list) else [found]:
        value = _follow(gauge.get("valueFrom", []), each)
        if value is not None:
            yield _labels(gauge.get("labelsFromPath", {}), each), _number(value)


def _labels(wanted: dict[str, list[str]], item: Any) -> dict[str, str]:
    found = {name: _follow(path, item) for name, path in wanted.items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def _follow(path: list[str], item: Any) -> Any:
    for key in path:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _number(value: Any) -> float:
    if not isinstance(value, str):
        return float(value)
    if value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return float(value)


def _known(mapping: Raw, *keys: str) -> None:
    if unknown := mapping.keys() - set(keys):
        raise ValueError(f"unknown keys {sorted(unknown)}")
