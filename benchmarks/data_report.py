"""What the data report costs per row, beside a tokenizer on the same rows.

    python -m benchmarks.data_report [tokenizer.json]

Rows are cut from this repository's documents, which hold more digits and code than most data: a hard case. Without a
tokenizer of your own, one is trained on the same text; real ones have more merges to look up and are slower.
"""

import argparse
import os
import random
import time
from collections.abc import Iterator

import numpy as np
from report_rows import ReportedText
from tiny_model import train_tokenizer
from tokenizers import Tokenizer

from benchmarks import ROOT
from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.data.report.builder import ReportBuilder

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # compared per core
ROWS = 50_000
CHARACTERS = 1_000
TOKENS = 250


def make_rows() -> Iterator[ReportedText]:
    text = "\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    draw = random.Random(0)
    for number in range(ROWS):
        start = draw.randrange(len(text) - CHARACTERS)
        row = text[start : start + CHARACTERS]
        yield ReportedText(Source("s3://team/rows.jsonl", number + 1), row[:700], row[700:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tokenizer", nargs="?", help="a tokenizer.json; else the tests' own small one")
    options = parser.parse_args()
    rows = list(make_rows())
    ids, weights = np.arange(TOKENS, dtype=np.int32), np.repeat(np.float32([0, 1]), TOKENS // 2)
    items = [Item((Tokenized(ids, weights, rows[0].source),))]
    digests = [row.digest() for row in rows]
    builder = ReportBuilder(show_rows=True)
    start = time.process_time()
    for order, (row, digest) in enumerate(zip(rows, digests, strict=True)):
        builder.row("train", 0, row, items, order=order, digest=digest)
    report = (time.process_time() - start) / ROWS

    tokenizer = Tokenizer.from_file(options.tokenizer) if options.tokenizer else train_tokenizer()
    some = [row.asked + row.answered for row in rows[:5000]]
    start = time.process_time()
    tokenizer.encode_batch(some, add_special_tokens=False)
    bare = (time.process_time() - start) / len(some)
    print(f"report {report * 1e6:.0f} us, tokenizer {bare * 1e6:.0f} us a row of {CHARACTERS} characters")
    print(f"the report adds {report / bare:.0%} to the tokenizer's time on one core")


if __name__ == "__main__":
    main()
