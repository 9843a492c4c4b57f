"""Strings that look like personal data or secrets, counted by kind and never kept.

They are found by form, with checksums where the form has one. So a count is a hint where to look and no proof:
names and addresses have no form, and an order number may look like a phone number.

Speed: a pattern is tried only where a substring search says that it may match, and what stands before a match is
looked at afterwards, because a pattern that starts with a look behind is tried at every character.
"""

import re
from collections.abc import Iterator
from typing import Final

from finetune_trainer.data.report.content import PiiKind
from finetune_trainer.data.report.outline import Outline

_END: Final = r"(?![\w-])"

_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}(?![A-Za-z0-9])")
_IPV4: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.?\w)")
_IPV4_SHAPE: Final = re.compile(rb"0{1,3}(?:\.0{1,3}){3}")
_NO_HOST: Final = frozenset({"0.0.0.0", "127.0.0.1"})  # noqa: S104  nothing is bound to it
_CARD: Final = re.compile(
    r"[2-6](?:[0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}|(?<=3)[47][0-9]{2}([ -]?)[0-9]{6}\2[0-9]{5})" + _END
)
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_SSN: Final = re.compile(r"[0-8](?:(?<!0)|(?!00))(?:(?<!6)|(?!66))[0-9]{2}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}" + _END)
_NINO: Final = re.compile(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]" + _END)
_DNI: Final = re.compile(r"([0-9]{8})-?([A-Z])" + _END)
_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
_CODICE_FISCALE: Final = re.compile(r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]" + _END)
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")

_PHONES: Final[dict[re.Pattern[str], tuple[bytes, ...]]] = {
    # +49 (0) 171 1234567
    re.compile(r"\+[1-9][0-9]{0,3}(?:[ ./()-]{0,2}[0-9]){6,13}" + _END): (b"+0",),
    # (555) 234-5678
    re.compile(r"\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[-.][0-9]{4}" + _END): (b"(000)",),
    # 555-234-5678
    re.compile(r"[2-9][0-9]{2}([-.])[2-9][0-9]{2}\1[0-9]{4}" + _END): (b"000-000-0000", b"000.000.0000"),
    # 01 23 45 67 89
    re.compile(r"0[1-9](?:[ .][0-9]{2}){4}" + _END): (b"00 00 00 00 00", b"00.00.00.00.00"),
    # 0171 1234567
    re.compile(r"0[1-9][0-9]{1,3}[ /-][0-9]{3}(?:[ -]?[0-9]){3,5}" + _END): (b"000 000", b"000/000", b"000-000"),
}
"""Phone numbers, each with shapes in the outline of which one stands wherever it matches."""

_API_KEYS: Final[dict[str, re.Pattern[str]]] = {
    mark: re.compile(pattern + r"(?![\w-])")
    for mark, pattern in {
        "AKIA": "AKIA[0-9A-Z]{16}",  # AWS
        "ASIA": "ASIA[0-9A-Z]{16}",
        "AIza": r"AIza[\w-]{35}",  # Google
        "eyJ": r"eyJ[\w-]{10,4096}\.eyJ[\w-]{10,4096}\.[\w-]{1,4096}",  # JSON web tokens
        "xox": r"xox[abprs]-[\w-]{10,255}",  # Slack
        "sk-": r"sk-[\w-]{20,255}",  # OpenAI, Anthropic
        "glpat-": r"glpat-[\w-]{20,255}",  # GitLab
    }.items()
}
_API_KEYS_WITH_UNDERSCORE: Final[dict[str, re.Pattern[str]]] = {
    mark: re.compile(pattern + r"(?![\w-])")
    for mark, pattern in {
        "gh": r"gh[pousr]_[A-Za-z0-9]{36}",  # GitHub
        "github_pat_": r"github_pat_\w{22,255}",
        "k_live_": r"[rs]k_live_\w{16,255}",  # Stripe
        "hf_": "hf_[A-Za-z0-9]{30,255}",  # Hugging Face
    }.items()
}

_MARKS_OF_SHORT_KEYS: Final = ("eyJ", "xox")
"""Of the keys above that may have fewer than `LONG_WORD` letters, digits, dashes and underscores in a row."""

_CARD_SHAPES: Final = (b"0" * 13, b"0000 0000 0000", b"0000-0000-0000", b"0000 000000 0", b"0000-000000-0")


def count_pii(text: str, outline: Outline) -> dict[PiiKind, int]:
    """How many strings of each kind the text, whose outline is given, holds; kinds without any are left out."""
    shape = outline.shape
    found: dict[PiiKind, int] = {}
    if outline.has_long_word or any(mark in text for mark in _MARKS_OF_SHORT_KEYS):
        found["api_key"] = _count_api_keys(text)
    if "@" in text:
        found["email"] = len(_EMAIL.findall(text))
    if "PRIVATE KEY-----" in text:
        found["private_key"] = len(_PRIVATE_KEY.findall(text))
    digits = shape.count(b"0")
    if digits >= 4 and b"0.0" in shape and _IPV4_SHAPE.search(shape):
        found["ip_address"] = _count_addresses(text)
    if digits >= 6:
        found["national_id"] = _count_national_ids(text, shape)
        found["iban"] = _count_ibans(text) if b"AA00" in shape else 0
        found["credit_card"] = _count_cards(text) if _has(shape, _CARD_SHAPES) else 0
        found["phone"] = sum(_count(phone, text) for phone, shapes in _PHONES.items() if _has(shape, shapes))
    return {kind: count for kind, count in found.items() if count}


def _alone(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches that are not the end of a longer word or number."""
    for match in pattern.finditer(text):
        before = text[match.start() - 1] if match.start() else " "
        if not (before.isalnum() or before in "_.+-"):
            yield match


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in _alone(pattern, text))


def _has(shape: bytes, parts: tuple[bytes, ...]) -> bool:
    for part in parts:  # noqa: SIM110  any() with a generator takes three times as long
        if part in shape:
            return True
    return False


def _count_api_keys(text: str) -> int:
    count = 0
    for forms in (_API_KEYS, _API_KEYS_WITH_UNDERSCORE) if "_" in text else (_API_KEYS,):
        for mark, form in forms.items():
            if mark in text:
                count += _count(form, text)
    return count


def _count_national_ids(text: str, shape: bytes) -> int:
    """US social security, UK insurance, Spanish and Italian tax numbers: the common ones that have a form of their own.

    Those that are plain digits cannot be told from any other number.
    """
    count = _count(_SSN, text) if b"000-00-0000" in shape else 0
    if b"AA00" in shape or b"AA 00" in shape:
        count += _count(_NINO, text)
    if b"00000000A" in shape or b"00000000-A" in shape:
        count += sum(_DNI_LETTERS[int(match[1]) % 23] == match[2] for match in _alone(_DNI, text))
    if b"AAAAAA00A00A000A" in shape:
        count += _count(_CODICE_FISCALE, text)
    return count


def _count_addresses(text: str) -> int:
    found = (match[0] for match in _alone(_IPV4, text))
    return sum(address not in _NO_HOST and all(int(part) <= 255 for part in address.split(".")) for address in found)


def _count_cards(text: str) -> int:
    return sum(is_card(match[0]) for match in _alone(_CARD, text))


def _count_ibans(text: str) -> int:
    """A word in capitals may follow a number, so shorter ones are tried too."""
    count = 0
    for match in _alone(_IBAN, text):
        groups = match[0].split(" ")
        count += any(is_iban("".join(groups[:upto])) for upto in range(len(groups), 0, -1))
    return count


def is_card(number: str) -> bool:
    """Whether digits (blanks and dashes between them are fine) have a card number's length and Luhn check digit."""
    digits = [int(char) for char in number if char.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether an IBAN without blanks has the check digits that ISO 7064 wants."""
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1
