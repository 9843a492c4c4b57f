"""Steps as TensorBoard's event files, by TensorBoard's own writer; neither torch nor TensorFlow is needed."""

import time
from pathlib import Path

from finetune_trainer.metrics_file import StepRecord
from finetune_trainer.trackers.sink import asking, values


class TensorBoardSink:
    """An event file in a directory that `tensorboard --logdir` shows."""

    def __init__(self, directory: Path) -> None:
        with asking("TensorBoard"):
            from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415  optional

            self._writer = EventFileWriter(str(directory))

    def step(self, record: StepRecord) -> None:
        """Write a step's scalars."""
        with asking("TensorBoard"):
            from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415  optional
            from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415  optional

            scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values(record).items()]
            self._writer.add_event(Event(wall_time=time.time(), step=record.step, summary=Summary(value=scalars)))

    def flush(self) -> None:
        """Write to disk."""
        with asking("TensorBoard"):
            self._writer.flush()

    def close(self) -> None:
        """End the file."""
        with asking("TensorBoard"):
            self._writer.close()
