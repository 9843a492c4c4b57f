"""Lengths of sequences: percentiles and a histogram with bins that a person would choose."""

from collections import Counter
from itertools import accumulate
from typing import Final

from finetune_trainer.data.report.content import Bin, Lengths
from finetune_trainer.data.split import Side

_MOST_BINS: Final = 20


def describe_lengths(side: Side, lengths: Counter[int]) -> Lengths:
    """Percentiles (nearest rank: values that occur) and bins of `{length: sequences}`, which must not be empty."""
    count = lengths.total()
    order = sorted(lengths)
    reached = list(accumulate(lengths[length] for length in order))

    def percentile(share: float) -> int:
        return next(length for length, upto in zip(order, reached, strict=True) if upto >= share * count)

    return Lengths(
        side=side,
        sequences=count,
        mean=round(sum(length * times for length, times in lengths.items()) / count, 1),
        p50=percentile(0.5),
        p90=percentile(0.9),
        p95=percentile(0.95),
        p99=percentile(0.99),
        longest=order[-1],
        bins=_bins(lengths, percentile(0.995), order[-1]),
    )


def _bins(lengths: Counter[int], usual: int, longest: int) -> list[Bin]:
    """Bins of one round width up to the usual length; a few far longer sequences share a last, wide one."""
    width = _round_width(usual)
    full = max(1, -(-usual // width))
    counts = [0] * (full + 1)
    for length, times in lengths.items():
        counts[min((max(length, 1) - 1) // width, full)] += times
    bins = [Bin(low=place * width + 1, high=(place + 1) * width, count=counts[place]) for place in range(full)]
    rest = [Bin(low=full * width + 1, high=longest, count=counts[full])] if counts[full] else []
    return bins + rest


def _round_width(usual: int) -> int:
    """The smallest of 1, 2, 4, 5, 10, 20, 25, 50, 100, ... that needs few enough bins."""
    magnitude = 1
    while True:
        for factor in (1, 2, 2.5, 4, 5):
            width = factor * magnitude
            if width == int(width) and width * _MOST_BINS >= usual:
                return int(width)
        magnitude *= 10
