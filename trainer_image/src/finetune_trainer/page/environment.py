"""What every HTML page of ours is made with: templates that escape, readable numbers, and a policy that seals a page.

A page is one file that opens from S3 or a mail. It fetches nothing, and of what users or models wrote a browser can
take nothing for markup, and nobody can hide or turn a part of the text.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup, escape

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)
_STYLE: Final = Path(__file__).parent / "base.css"


def environment(directory: Path) -> jinja2.Environment:
    """Templates of a directory, with `base_style` for all pages."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,  # Markup is a str of its own type
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"count": count, "share": share, "lines": lines, "sentence": sentence}
    made.globals["base_style"] = Markup(base_style())  # noqa: S704  our own file
    return made


def base_style() -> str:
    """The style sheet that all pages start from."""
    return _STYLE.read_text()


def source_hash(content: str) -> str:
    """How a Content-Security-Policy names an inline style or script (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def visible(text: str) -> str:
    """Characters that would hide, turn the reading direction or not encode, as `[U+202E]`."""
    return _UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def count(number: float) -> str:
    """A number with a comma between thousands."""
    return f"{number:,}"


def share(part: float, whole: float) -> str:
    """A percentage; what is not quite nothing, or not quite everything, is not rounded to it."""
    if not whole:
        return "–"  # noqa: RUF001  a dash, as tables have it
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def sentence(text: str) -> str:
    """With a capital at its start."""
    return text[:1].upper() + text[1:]


def lines(text: str) -> Markup:
    """Text in which line ends can be seen too."""
    return Markup('<span class="end" aria-hidden="true">↵</span>\n').join(map(escape, visible(text).split("\n")))
