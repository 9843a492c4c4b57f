"""How fast preflight gets through a data set, against its budgets: `python -m benchmarks.preflight --megabytes 1024`.

Parsing and validating must make 20 MB/s on one core, and the whole way from file to prepared data at least 80 % of
what the bare tokenizer makes of the same texts, on the same cores, in the same run; memory must not grow with the file.
Every measurement runs in a process of its own, so that its peak memory is its own. The bare tokenizer is measured as
it is installed, with glibc's allocator, and with the one that the trainer's image has, mimalloc, where this machine has
it; all else runs with mimalloc, as in the image.
"""

# ruff: noqa: PLC0415  what is imported would count for the memory of measurements that do without it
import argparse
import ctypes.util
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import ROOT

os.environ.update(TOKENIZERS_PARALLELISM="true", TRANSFORMERS_VERBOSITY="error")

MEGABYTE = 1e6
BARE_MEGABYTES = 32
"""Of the file, held in memory as texts for the bare tokenizer."""
BATCH = 1024
MIMALLOC = ctypes.util.find_library("mimalloc")
"""The image's allocator; none where this machine lacks it."""
BUDGETS = {"parse": 20.0, "ratio": 0.8, "memory": 1000.0}


class Measured(NamedTuple):
    megabytes: float
    seconds: float
    cpu: float
    """Seconds of all cores together: what a busy machine doesn't change."""
    peak: float
    """Resident memory, MB: of the process, and of as many as the largest of those it started as there are cores."""

    @property
    def rate(self) -> float:
        return self.megabytes / self.seconds

    @property
    def rate_per_core(self) -> float:
        return self.megabytes / self.cpu


class Stopwatch:
    """Runs from when it is made to `stop`."""

    def __init__(self) -> None:
        self.seconds, self.cpu = -time.perf_counter(), -time.process_time()

    def stop(self) -> "Stopwatch":
        self.seconds += time.perf_counter()
        self.cpu += time.process_time()
        return self


def generate(path: Path, megabytes: float) -> None:
    """Rows of instructions and chats, a few hundred bytes to a few kilobytes each, no two alike."""
    draw = random.Random(7)
    words = (ROOT / "docs" / "architecture.md").read_text().split()

    def text(longest: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(5, longest)))

    with path.open("w") as out:
        while out.tell() < megabytes * MEGABYTE:
            for _ in range(1000):
                if draw.random() < 0.5:
                    row: dict[str, Any] = {"instruction": text(60), "input": text(120), "response": text(150)}
                else:
                    turns = [("user", 40), ("assistant", 100)] * draw.randint(1, 3)
                    row = {"messages": [{"role": role, "content": text(longest)} for role, longest in turns]}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")


def tokenizer_directory(directory: Path) -> str:
    """The demo's tokenizer where its package is installed, else the tests'; the name of the one saved."""
    from examples.base_model import find_gguf

    try:
        gguf = find_gguf()
    except FileNotFoundError:
        from tiny_model import train_tokenizer, wrap

        wrap(train_tokenizer()).save_pretrained(directory)
        return "tests' own, 320 tokens"
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(directory)
    return "SmolLM2"


def parse(file: Path, directory: Path) -> Stopwatch:
    """Read, parse, digest and split every row, without a tokenizer."""
    from finetune_trainer.data.split import Splitter
    from finetune_trainer.data.stream import Meter, RowReader

    data, files, make_shape = _job(file, directory)
    shape, splitter = make_shape(), Splitter(data)
    watch = Stopwatch()
    rule = splitter.begin("train")
    for batch in RowReader(Meter(files.size)).batches("train", files.train):
        assert not batch.unread
        rows = [shape.parse(raw, None, source) for source, raw in zip(batch.sources, batch.raws, strict=True)]
        digests = [row.digest() for row in rows]
        splitter.take("train", digests, rule.place(digests))
    return watch.stop()


def tokenize(file: Path, directory: Path) -> Stopwatch:
    """The texts of the rows through the tokenizer alone, in batches, on all cores."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    backend = tokenizer.backend_tokenizer
    texts = list(_texts(file, tokenizer))
    watch = Stopwatch()
    for first in range(0, len(texts), BATCH):
        for encoding in backend.encode_batch_fast(texts[first : first + BATCH], add_special_tokens=False):
            encoding.ids  # noqa: B018  making Python's list of them is part of any use
    return watch.stop()


def prepare(file: Path, directory: Path) -> Stopwatch:
    """From the file to prepared data on disk, as preflight does it."""
    from finetune_trainer.data.prepare import Preparation
    from finetune_trainer.data.report.builder import ReportBuilder

    data, files, make_shape = _job(file, directory)
    target = Path(tempfile.mkdtemp(dir=file.parent))
    watch = Stopwatch()
    report = ReportBuilder(show_rows=True)
    index = Preparation(data, make_shape, target, max_tokens=8192, test_rows=500, watch=report).run(files)
    watch.stop()
    assert not index.bad.total, index.bad.shown
    shutil.rmtree(target)
    return watch


def _job(file: Path, directory: Path) -> tuple[Any, Any, Any]:
    from transformers import AutoTokenizer

    from finetune_api.spec.data import Data
    from finetune_api.spec.training import Objective
    from finetune_trainer.data.shapes import make_shape
    from finetune_trainer.data.stream import DatasetFiles

    data = Data.model_validate({"train": [{"uri": "s3://bench/rows.jsonl"}]})
    make = partial(make_shape, Objective(), data, AutoTokenizer.from_pretrained(directory), 8192)
    return data, DatasetFiles(train=[(data.train[0], [("s3://bench/rows.jsonl", file)])]), make


def _texts(file: Path, tokenizer: Any) -> Iterator[str]:
    """Rows rendered by the tokenizer's own template: the very texts that preflight encodes."""
    with file.open() as lines:
        for line in lines:
            row = json.loads(line)
            turns = row.get("messages") or [
                {"role": "user", "content": f"{row['instruction']}\n\n{row['input']}"},
                {"role": "assistant", "content": row["response"]},
            ]
            yield tokenizer.apply_chat_template(turns, tokenize=False)


def measure(
    what: Callable[[Path, Path], Stopwatch], file: Path, directory: Path, *, allocator: str | None = MIMALLOC
) -> Measured:
    """Run one measurement in a fresh process, with another allocator than glibc's if one is named."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    os.environ.update({"LD_PRELOAD": allocator} if allocator else {})
    try:
        process = context.Process(target=_measured, args=(theirs, what, file, directory))
        process.start()
    finally:
        os.environ.pop("LD_PRELOAD", None)
    theirs.close()
    seconds, cpu, peak = ours.recv()
    process.join()
    return Measured(file.stat().st_size / MEGABYTE, seconds, cpu, peak)


def _measured(told: Connection, what: Callable[[Path, Path], Stopwatch], file: Path, directory: Path) -> None:
    sys.modules["torch"] = None  # type: ignore[assignment]  # as in preflight
    watch = what(file, directory)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    # getrusage would tell the peak of the process that started this one, where that is higher.
    own = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    largest = children.ru_maxrss * (len(os.sched_getaffinity(0)) if children.ru_maxrss else 0)
    told.send((watch.seconds, watch.cpu + children.ru_utime + children.ru_stime, (own + largest) / 1000))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=64, help="size of the file (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory, whole, part = (Path(scratch, name) for name in ("tokenizer", "rows.jsonl", "part.jsonl"))
        name = tokenizer_directory(directory)
        generate(whole, options.megabytes)
        generate(part, min(options.megabytes, BARE_MEGABYTES))
        results = {
            "parse and validate": measure(parse, whole, directory),
            "bare tokenizer, as installed": measure(tokenize, part, directory, allocator=None),
            "bare tokenizer, with mimalloc": measure(tokenize, part, directory),
            "file to prepared data": measure(prepare, whole, directory),
        }
    return report(name, results)


def report(name: str, results: dict[str, Measured]) -> int:
    """Print the table; 1 if a budget is missed."""
    parsed, bare, alike, whole = results.values()
    print(f"{os.cpu_count()} cores, tokenizer {name}, allocator {MIMALLOC or 'glibc: mimalloc is not installed'}\n")
    print(f"{'':32}{'MB':>8}{'seconds':>10}{'MB/s':>8}{'MB/s a core':>14}{'peak MB':>10}")
    for what, each in results.items():
        rates = f"{each.rate:8.1f}{each.rate_per_core:14.1f}"
        print(f"{what:32}{each.megabytes:8.0f}{each.seconds:10.1f}{rates}{each.peak:10.0f}")
    ratio = whole.rate / alike.rate
    checks = [
        (
            f"parse and validate {parsed.rate_per_core:.1f} MB/s a core, at least {BUDGETS['parse']:.0f}",
            parsed.rate_per_core >= BUDGETS["parse"],
        ),
        (
            f"whole way {ratio:.0%} of the bare tokenizer with the same allocator, at least {BUDGETS['ratio']:.0%}",
            ratio >= BUDGETS["ratio"],
        ),
        (f"peak memory {whole.peak:.0f} MB, at most {BUDGETS['memory']:.0f}", whole.peak <= BUDGETS["memory"]),
    ]
    print()
    for what, met in checks:
        print(f"{'met   ' if met else 'MISSED'}  {what}")
    print(f"        whole way {whole.rate / bare.rate:.0%} of the bare tokenizer as it is installed, no budget")
    return 0 if all(met for _, met in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
