"""What the data report says: the content of `data_report.json`, of which `data_report.html` is a picture.

It holds counts and places. Text of rows stands in `shown` alone, and only where the spec lets it.
"""

from typing import Literal

from pydantic import Field

from finetune_api.base import Message
from finetune_api.report import Failure
from finetune_trainer.data.split import Repeats, Side

Severity = Literal["warning", "note"]


class Finding(Message):
    """Something about the data that a person should know before training on it."""

    severity: Severity
    message: str
    advice: str


class Volume(Message):
    """How much there is, on one side or in one data set of it."""

    side: Side
    name: str
    """Of the data set; empty for the whole side."""
    rows: int
    tokens: int
    supervised: int
    """Tokens that the loss is on."""
    cut_rows: int
    """Rows that lost tokens to data.maxTokens."""
    cut_tokens: int


class Bin(Message):
    """One bar of the histogram: sequences of `low` to `high` tokens, both included."""

    low: int
    high: int
    count: int


class Lengths(Message):
    """Tokens per sequence, as training sees them. A row is one sequence, a preference pair two, raw text several."""

    side: Side
    sequences: int
    mean: float
    p50: int
    p90: int
    p95: int
    p99: int
    longest: int
    bins: list[Bin]


class NearPair(Message):
    """Two rows with nearly the same text."""

    first: str
    """Its place."""
    second: str
    similarity: float
    """Estimated share of shared text, 0 to 1."""


class NearSearch(Message):
    """Rows with nearly the same text, looked for in a sample that hashes of the rows chose."""

    rows: int
    """Different rows there are."""
    compared: int
    """Those of them that were compared."""
    found: int
    """Compared rows that have a near copy: among training rows each but the first, of test rows each that is nearly
    a training row."""
    pairs: list[NearPair]
    """The first of them."""


class NearDuplicates(Message):
    """Near copies within the training rows, and of training rows in the test rows."""

    threshold: float
    """Estimated similarity from which two rows count as near copies."""
    train: NearSearch
    test: NearSearch
    """Test rows compared with the sample of training rows; `train.compared` says how many those are."""


class LabelCount(Message):
    """Rows with one label, by side."""

    label: str
    train: int
    validation: int
    test: int


OddityKind = Literal["replacement", "mojibake", "control", "invisible", "bidi", "not_nfc", "mixed_script"]

PiiKind = Literal["email", "phone", "iban", "credit_card", "national_id", "ip_address", "api_key", "private_key"]


class Oddity(Message):
    """Characters that seldom stand in text on purpose."""

    kind: OddityKind
    rows: int
    first: str
    """Place of the first such row."""


class Pii(Message):
    """Strings that look like personal data or secrets: counted, never shown."""

    kind: PiiKind
    rows: int
    matches: int
    first: str
    """Place of the first such row."""


class LanguageShare(Message):
    """Rows guessed to be in one language."""

    language: str
    """ISO 639-1 code; `other` for the rest."""
    rows: int


class Languages(Message):
    """A guess, on rows that hashes chose."""

    guessed: int
    too_short: int
    """Rows of the sample with too little text for a guess."""
    shares: list[LanguageShare]


class LongRow(Message):
    """One of the longest rows."""

    side: Side
    place: str
    tokens: int
    """Before any cut."""


class Run(Message):
    """Neighbouring tokens that count the same."""

    text: str
    weight: float
    """What the loss on each of them counts; 0: masked."""
    tokens: int


class ShownRow(Message):
    """A training row as the model sees it."""

    place: str
    sequences: list[list[Run]]
    """One; for a preference pair the preferred and the other answer; for raw text its first piece."""
    pieces: int
    """Items made from the row; the first is shown."""
    label: str = ""
    """What a classifier is to answer; empty for other objectives."""


class BadRow(Message):
    """A row that cannot be used."""

    place: str
    problem: str
    remedy: str


class BadRows(Message):
    """All of them, spelled out up to a bound."""

    total: int
    rows: list[BadRow]


class DataReport(Message):
    """Everything that preflight found in the data."""

    schema_version: Literal["1"] = "1"
    about: dict[str, str] = Field(default={})
    """What the report is on: digest, model, template and the like."""
    refusal: Failure | None = None
    """Why the data cannot be used; none: it can."""
    findings: list[Finding] = Field(default=[])
    sides: list[Volume]
    datasets: list[Volume]
    max_tokens: int | None
    lengths: list[Lengths]
    repeats: Repeats
    near: NearDuplicates
    labels: list[LabelCount]
    oddities: list[Oddity]
    pii: list[Pii]
    languages: Languages | None
    longest: list[LongRow]
    shown: list[ShownRow] | None
    """None: the spec of this job, or of the one that prepared the data, forbids it (data.showRows)."""
    bad: BadRows
