"""What metrics, models and numbers are called on the page and in the model card."""

import math
from typing import Final

from finetune_api.report import RivalName, Verdict

METRIC_TITLES: Final = {
    "exact_match": "Exact match",
    "token_f1": "Token F1",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "pair_accuracy": "Pair accuracy",
    "loss": "Loss",
    "perplexity": "Perplexity",
}
RIVAL_TITLES: Final[dict[RivalName, str]] = {
    "few_shot": "base with worked examples",
    "majority": "most frequent label",
    "parent": "parent adapter",
}
VERDICT_TITLES: Final[dict[Verdict, str]] = {
    "better": "better",
    "worse": "worse",
    "inconclusive": "inconclusive",
}
INTERVAL_TITLES: Final = {
    "tango": "Tango's score interval for paired proportions",
    "bootstrap": "bootstrap over rows",
}


def metric_title(name: str) -> str:
    """A metric's name for people; a benchmark keeps the name of its task."""
    return METRIC_TITLES.get(name, name)


def score(value: float, *, signed: bool = False) -> str:
    """A score with so many decimals that three or four digits are seen."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e6:
        return f"{value:{'+' if signed else ''}.2e}"
    decimals = 3 if size < 10 else 2 if size < 100 else 1
    return f"{value:{'+' if signed else ''},.{decimals}f}"


def file_size(size: float) -> str:
    """Bytes in the largest decimal unit that leaves one digit before the point."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def rows(number: int) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {'row' if number == 1 else 'rows'}"
