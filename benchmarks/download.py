"""How fast a base model comes from S3, beside rclone from the same server: `python -m benchmarks.download`.

Both copy the same files of random bytes to the same disk, in turns, each time into an empty directory; of each the best
turn counts. At least 80 % of rclone's rate is asked for.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from s3_server import BUCKET, TEAM, S3Server, running

from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.fetch import fetch_model
from finetune_trainer.storage import Storage

BUDGET = 0.8
MEGABYTE = 1e6
Copy = Callable[[Path], None]


def put_model(server: S3Server, megabytes: int, files: int) -> str:
    """A model directory whose weights are random bytes; its URI."""
    server.put("model/config.json", b"{}")
    server.put("model/tokenizer.json", b"{}")
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(files):
            path = Path(scratch, f"model-{number + 1:05d}-of-{files:05d}.safetensors")
            path.write_bytes(os.urandom(int(megabytes * MEGABYTE / files)))
            server.client().upload_file(str(path), BUCKET, f"model/{path.name}")
    return f"s3://{BUCKET}/model"


def ours(server: S3Server, uri: str) -> Copy:
    spec = StorageSpec(endpoint=server.endpoint)
    storage = Storage.connect(spec, credentials_dir=server.credentials_dir, ca_file=Path("none"), check=lambda: None)
    return lambda target: void(fetch_model(storage, uri, target, weights=True))


def void(_: object) -> None:
    """Leave a result unused."""


def rclone(server: S3Server, uri: str) -> Copy:
    settings = {
        "provider": "Other",
        "endpoint": server.endpoint,
        "access_key_id": TEAM[0],
        "secret_access_key": TEAM[1],
    }
    flags = [f"--s3-{name.replace('_', '-')}={value}" for name, value in settings.items()]
    command = ["rclone", "copy", f":s3:{uri.removeprefix('s3://')}", "--config=", *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return lambda target: void(subprocess.run([*command, str(target)], check=True, env=environment))


def seconds(copy: Copy, scratch: Path) -> float:
    target = Path(tempfile.mkdtemp(dir=scratch))
    os.sync()
    start = time.perf_counter()
    copy(target)
    taken = time.perf_counter() - start
    shutil.rmtree(target)
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=800, help="of the model (default: %(default)s)")
    parser.add_argument("--files", type=int, default=2, help="that its weights lie in (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    if shutil.which("rclone") is None:
        sys.exit("rclone is not installed")
    with tempfile.TemporaryDirectory() as home, running(Path(home)) as server:
        uri = put_model(server, options.megabytes, options.files)
        copies = {"ours": ours(server, uri), "rclone": rclone(server, uri)}
        times: dict[str, list[float]] = {name: [] for name in copies}
        for _ in range(options.turns):
            for name, copy in copies.items():
                times[name].append(seconds(copy, Path(home)))
    return report(times, options.megabytes)


def report(times: dict[str, list[float]], megabytes: int) -> int:
    """Print the table; 1 if the budget is missed."""
    table = Table(title=f"{megabytes} MB, {os.cpu_count()} cores, server on the same machine")
    for name in ("", "MB/s, best turn", "all turns"):
        table.add_column(name)
    rates = {name: [megabytes / each for each in taken] for name, taken in times.items()}
    for name, each in rates.items():
        table.add_row(name, f"{max(each):.0f}", ", ".join(f"{rate:.0f}" for rate in each))
    Console().print(table)
    share = max(rates["ours"]) / max(rates["rclone"])
    print(f"{'met   ' if share >= BUDGET else 'MISSED'}  {share:.0%} of rclone's rate, at least {BUDGET:.0%}")
    return int(share < BUDGET)


if __name__ == "__main__":
    sys.exit(main())
