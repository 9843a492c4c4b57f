"""Amounts of memory as Kubernetes writes them, to bytes and back."""

import re
from typing import Final

_FACTORS: Final = {
    "m": 0.001,
    **dict(zip(("", "k", "M", "G", "T"), (1000**power for power in range(5)), strict=True)),
    **dict(zip(("Ki", "Mi", "Gi", "Ti"), (1024**power for power in range(1, 5)), strict=True)),
}
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(|m|k|M|G|T|Ki|Mi|Gi|Ti)")
_READABLE: Final = ("Ti", "Gi", "Mi", "Ki")


def parse(text: str) -> int:
    """Bytes of `80Gi` or `24G`.

    Raises:
        ValueError: it is no amount of memory.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no amount of memory such as 80Gi")
    return int(float(found[1]) * _FACTORS[found[2]])


def readable(count: int) -> str:
    """Bytes with at most one decimal, itself a quantity: `5.2Gi`."""
    unit = next((unit for unit in _READABLE if count >= _FACTORS[unit]), "")
    return f"{count / _FACTORS[unit]:.1f}".removesuffix(".0") + unit
