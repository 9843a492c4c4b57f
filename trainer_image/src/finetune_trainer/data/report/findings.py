"""What in the numbers a person should look at before training, with the remedy."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from finetune_trainer.data.report.content import DataReport, Finding, OddityKind, PiiKind, Severity, Volume
from finetune_trainer.data.split import Side

SIDE_NAMES: Final[dict[Side, str]] = {"train": "training", "validation": "validation", "test": "test"}
ODDITY_NAMES: Final[dict[OddityKind, str]] = {
    "replacement": "the replacement character U+FFFD",
    "mojibake": "UTF-8 that was read as another encoding (“Ã¼” for “ü”)",
    "control": "control characters",
    "invisible": "invisible characters (zero-width, tags)",
    "bidi": "characters that turn the reading direction",
    "not_nfc": "letters and accents as separate characters (not NFC)",
    "mixed_script": "words that mix Latin and Cyrillic letters",
}
_ODDITY_ADVICE: Final[dict[OddityKind, str]] = {
    "replacement": "text was lost when the files were decoded; export them again as UTF-8",
    "mojibake": "export the files again as UTF-8, or mend them with ftfy",
    "control": "remove them unless the model is to write them",
    "invisible": "remove them; they split words into other tokens and may hide text from reviewers",
    "bidi": "look at these rows in an editor that shows such characters; they may hide text from reviewers",
    "not_nfc": "normalise all text to NFC: the same word must not become different tokens",
    "mixed_script": "replace look-alike letters: the same word must not become different tokens",
}
PII_NAMES: Final[dict[PiiKind, str]] = {
    "email": "e-mail addresses",
    "phone": "phone numbers",
    "iban": "IBANs (check digits right)",
    "credit_card": "card numbers (check digit right)",
    "national_id": "national identity or tax numbers",
    "ip_address": "IPv4 addresses",
    "api_key": "API keys or access tokens",
    "private_key": "private keys",
}
_SECRETS: Final[frozenset[PiiKind]] = frozenset({"api_key", "private_key"})

_MANY_DUPLICATES: Final = 0.01
_MANY_CUT: Final = 0.05
_LITTLE_SUPERVISED: Final = 0.05
_MUCH_ODD: Final = 0.01
_UNBALANCED: Final = 10
_FEW_TEST_ROWS: Final = 30


def find(report: DataReport) -> list[Finding]:
    """Warnings first, then notes."""
    found = [finding for check in _CHECKS for finding in check(report)]
    return sorted(found, key=lambda finding: finding.severity != "warning")


def _finding(message: str, advice: str, *, serious: bool) -> Finding:
    severity: Severity = "warning" if serious else "note"
    return Finding(severity=severity, message=message, advice=advice)


def _volume(report: DataReport, side: Side) -> Volume | None:
    return next((volume for volume in report.sides if volume.side == side), None)


def _bad(report: DataReport) -> Iterator[Finding]:
    if report.bad.total and report.refusal is None:
        yield _finding(
            f"rows that cannot be used and go into quarantine: {report.bad.total:,}",
            "repair them; they are listed above",
            serious=True,
        )


def _leaks(report: DataReport) -> Iterator[Finding]:
    copies = report.near.test
    if copies.found:
        yield _finding(
            f"near copies of training rows among the test rows: {copies.found:,} of {copies.compared:,} looked at",
            "keep variants of one row on one side, or the comparison shows what was learnt by heart",
            serious=True,
        )
    repeats = report.repeats
    for count, what, other in (
        (repeats.train_test, "training", "test"),
        (repeats.train_validation, "training", "validation"),
        (repeats.validation_test, "validation", "test"),
    ):
        if count:
            message = f"{what} rows left out because they are {other} rows too: {count:,}"
            yield _finding(message, "nothing to do, unless the files were mixed up", serious=False)


def _duplicates(report: DataReport) -> Iterator[Finding]:
    train = _volume(report, "train")
    again = report.repeats.duplicates.get("train", 0)
    advice = "remove them unless the repetition is meant: repeated rows are learnt by heart"
    if train and again:
        message = f"exact copies among the training rows: {again:,} of {train.rows:,}"
        yield _finding(message, advice, serious=again > _MANY_DUPLICATES * train.rows)
    near = report.near.train
    if near.found:
        message = f"near copies among the training rows: {near.found:,} of {near.compared:,} looked at"
        yield _finding(message, advice, serious=near.found > _MANY_DUPLICATES * near.compared)


def _cuts(report: DataReport) -> Iterator[Finding]:
    for volume in report.sides:
        if volume.cut_rows:
            yield _finding(
                f"{SIDE_NAMES[volume.side]} rows that lost the start of their prompt: "
                f"{volume.cut_rows:,} of {volume.rows:,}",
                "raise data.maxTokens, or shorten these rows",
                serious=volume.cut_rows > _MANY_CUT * volume.rows,
            )


def _supervision(report: DataReport) -> Iterator[Finding]:
    train = _volume(report, "train")
    if train and not report.labels and train.supervised < _LITTLE_SUPERVISED * train.tokens:
        yield _finding(
            f"only {train.supervised / train.tokens:.1%} of the training tokens are learnt from",
            "most of the work goes into prompts: shorten them, or look at the rows shown below for a wrong column",
            serious=True,
        )


def _labels(report: DataReport) -> Iterator[Finding]:
    counts = [label.train for label in report.labels]
    for label in report.labels:
        if not label.train:
            yield _finding(f"no training row has the label {label.label}", "add rows or remove the label", serious=True)
        elif not label.test:
            yield _finding(f"no test row has the label {label.label}", "add test rows for it", serious=False)
    present = [count for count in counts if count]
    if present and max(present) >= _UNBALANCED * min(present):
        yield _finding(
            f"the most frequent label has {max(present) / min(present):.0f} times the rows of the rarest",
            "judge by macro F1, not by accuracy; add rows of the rare labels if they matter",
            serious=True,
        )


def _few_tests(report: DataReport) -> Iterator[Finding]:
    test = _volume(report, "test")
    if test and test.rows < _FEW_TEST_ROWS:
        yield _finding(
            f"few test rows to compare base and tuned model on: {test.rows:,}",
            "with fewer than about a hundred, only large differences can be told from chance",
            serious=False,
        )


def _odd(report: DataReport) -> Iterator[Finding]:
    total = sum(volume.rows for volume in report.sides)
    many = [odd for odd in report.oddities if odd.rows > _MUCH_ODD * total]
    for odd in many:
        yield _finding(f"rows with {ODDITY_NAMES[odd.kind]}: {odd.rows:,}", _ODDITY_ADVICE[odd.kind], serious=True)
    if len(many) < len(report.oddities):
        advice = "look at the first of each kind, listed under Language and characters"
        yield _finding("a few rows with odd characters", advice, serious=False)


def _private(report: DataReport) -> Iterator[Finding]:
    for pii in report.pii:
        if pii.kind in _SECRETS:
            message = f"rows with strings that look like {PII_NAMES[pii.kind]}: {pii.rows:,}"
            yield _finding(message, "revoke and remove them: a model repeats what it learnt", serious=True)
    kinds = [f"{PII_NAMES[pii.kind]} ({pii.rows:,})" for pii in report.pii if pii.kind not in _SECRETS]
    if kinds:
        advice = "check that the model may learn them; replace them with invented ones if not"
        yield _finding(f"rows with strings that look like {', '.join(kinds)}", advice, serious=False)


_CHECKS: Final[Sequence[Callable[[DataReport], Iterator[Finding]]]] = (
    _bad, _leaks, _duplicates, _cuts, _supervision, _labels, _few_tests, _private, _odd
)  # fmt: skip
