"""Characters that point at a wrong encoding, at hidden text or at letters that only look right."""

import re
import unicodedata
from typing import Final

from finetune_trainer.data.report.content import OddityKind
from finetune_trainer.data.report.outline import CONTROL, Outline

REPLACEMENT: Final = "\ufffd"
C1: Final = frozenset(map(chr, [*range(0x80, 0x85), *range(0x86, 0xA0)]))
"""Control characters beyond ASCII, but for NEL, which is a line end."""
INVISIBLE: Final = frozenset(map(chr, [0x200B, 0x2060, 0xFEFF, *range(0xE0000, 0xE0080)]))
"""Zero-width characters and tags. Joiners (U+200C, U+200D) belong to scripts and emoji and are left alone."""
BIDI: Final = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
"""Embeddings, overrides and isolates: text that is read in another order than it stands in."""

# What cp1252 makes of the second and later bytes of UTF-8; undefined bytes come through as C1 controls.
_LATER: Final = "[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"  # noqa: RUF001  they are the point
_MOJIBAKE: Final = re.compile(
    f"Ã{_LATER}|Â[\xa0-\xbf]|â€{_LATER}|â[‚„†ˆ]{_LATER}|ðŸ{_LATER}|ï»¿|(?:[ÐÑ]{_LATER}){{2}}"  # noqa: RUF001
)
_MOJIBAKE_STARTS: Final = frozenset("ÃÂâðïÐÑ")
_CYRILLIC: Final = frozenset(map(chr, range(0x400, 0x500)))
_MIXED: Final = re.compile("[A-Za-z][\u0400-\u04ff]|[\u0400-\u04ff][A-Za-z]")


def find_oddities(text: str, outline: Outline) -> list[OddityKind]:
    """The kinds that stand in a text, whose outline is given."""
    found: list[OddityKind] = ["control"] if CONTROL in outline.shape else []
    if not outline.beyond_ascii:
        return found
    return found + _beyond_ascii(text, set(outline.beyond_ascii), has_control=bool(found))


def _beyond_ascii(text: str, chars: set[str], *, has_control: bool) -> list[OddityKind]:
    mojibake = not _MOJIBAKE_STARTS.isdisjoint(chars) and _MOJIBAKE.search(text) is not None
    found: dict[OddityKind, bool] = {
        "replacement": REPLACEMENT in chars,
        "mojibake": mojibake,
        "control": not has_control and not mojibake and not C1.isdisjoint(chars),
        "invisible": not INVISIBLE.isdisjoint(chars),
        "bidi": not BIDI.isdisjoint(chars),
        "not_nfc": not unicodedata.is_normalized("NFC", text),
        "mixed_script": not _CYRILLIC.isdisjoint(chars) and _MIXED.search(text) is not None,
    }
    return [kind for kind, present in found.items() if present]
