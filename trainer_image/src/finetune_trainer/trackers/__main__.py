"""Show a run in an experiment tracker.

    python -m finetune_trainer.trackers s3://team-a/adapters/desk --to tensorboard --log-dir runs/desk --follow

It runs where its user is, never in a training pod: no tracker's credentials get there, and a tracker that is down stops
no run.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from finetune_api.layout import OutputLayout
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.errors import TrainerError
from finetune_trainer.storage import Storage
from finetune_trainer.trackers.feed import Feed, FileFeed, OutputFeed
from finetune_trainer.trackers.mlflow import MlflowSink
from finetune_trainer.trackers.sink import Sink, TrackerError
from finetune_trainer.trackers.tensorboard import TensorBoardSink
from finetune_trainer.trackers.wandb import WandbSink

POLL_SECONDS: Final = 15.0
_NO_MOUNT: Final = Path("/nonexistent")
"""Outside a pod boto3 finds the identity: environment, ~/.aws and so on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Send a run to a tracker; the process's exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        sent = send(_feed(options), _sink(options), pause=_pause if options.follow else None)
    except (TrainerError, TrackerError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{sent} steps sent\n")
    return 0


def send(feed: Feed, sink: Sink, *, pause: Callable[[], None] | None) -> int:
    """Send every step once, in order.

    Args:
        feed: Where steps come from.
        sink: Where they go.
        pause: Called before the feed is read again, until it says that it is finished; None reads it once.

    Returns:
        How many steps were sent.

    """
    last, sent = 0, 0
    while True:
        reading = feed.read()
        for record in reading.steps:
            if record.step > last:
                sink.step(record)
                last, sent = record.step, sent + 1
        sink.flush()
        if reading.finished or pause is None:
            sink.close()
            return sent
        pause()


def _pause() -> None:
    time.sleep(POLL_SECONDS)


def _feed(options: argparse.Namespace) -> Feed:
    if not options.source.startswith("s3://"):
        return FileFeed(Path(options.source))
    spec = StorageSpec(endpoint=options.endpoint, region=options.region)
    storage = Storage.connect(spec, credentials_dir=_NO_MOUNT, ca_file=options.ca_file, check=lambda: None)
    return OutputFeed(storage, OutputLayout.of(options.source, checkpoint_uri=options.checkpoints))


def _sink(options: argparse.Namespace) -> Sink:
    name = options.name or options.source.rstrip("/").rpartition("/")[2]
    if options.to == "tensorboard":
        return TensorBoardSink(options.log_dir)
    if options.to == "mlflow":
        return MlflowSink(options.tracking_uri, options.project, name)
    return WandbSink(options.project, name)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m finetune_trainer.trackers", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("source", help="spec.output.uri of a job, or a metrics.jsonl file")
    add("--to", required=True, choices=("tensorboard", "mlflow", "wandb"))
    add("--follow", action="store_true", help="go on until the run is finished")
    add("--name", help="of the run in the tracker (default: the last part of the source)")
    add("--project", default="finetune", help="MLflow's experiment, W&B's project (default: %(default)s)")
    add("--log-dir", type=Path, default=Path("runs"), help="TensorBoard's directory (default: %(default)s)")
    add("--tracking-uri", help="MLflow's (default: MLFLOW_TRACKING_URI)")
    add("--endpoint", help="spec.storage.endpoint of the job; empty for AWS")
    add("--region", default="us-east-1", help="of the S3 service (default: %(default)s)")
    add("--ca-file", type=Path, default=_NO_MOUNT, help="certificate authority of the S3 service")
    add("--checkpoints", help="spec.checkpoint.uri, where the job has one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
