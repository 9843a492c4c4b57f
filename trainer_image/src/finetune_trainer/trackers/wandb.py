"""Steps as a run of Weights & Biases; `WANDB_MODE=offline` keeps it on this machine."""

from finetune_trainer.metrics_file import StepRecord
from finetune_trainer.trackers.sink import asking, values


class WandbSink:
    """A run; the library sends in the background."""

    def __init__(self, project: str, name: str) -> None:
        with asking("W&B"):
            import wandb  # noqa: PLC0415  optional

            self._run = wandb.init(project=project, name=name)

    def step(self, record: StepRecord) -> None:
        """Hand a step over."""
        with asking("W&B"):
            self._run.log(values(record), step=record.step)

    def flush(self) -> None:
        """Nothing to do: it sends by itself."""

    def close(self) -> None:
        """Wait until everything is sent."""
        with asking("W&B"):
            self._run.finish()
