"""Steps as a run of MLflow: its server, or a database file on this machine."""

import time
from typing import Any

from finetune_trainer.metrics_file import StepRecord
from finetune_trainer.trackers.sink import asking, values


class MlflowSink:
    """A run; steps go in batches, because each call is a request."""

    def __init__(self, tracking_uri: str | None, experiment: str, name: str) -> None:
        """`tracking_uri` None: MLFLOW_TRACKING_URI, or MLflow's default."""
        self._unsent: list[Any] = []
        with asking("MLflow"):
            from mlflow.tracking import MlflowClient  # noqa: PLC0415  optional

            self._client = MlflowClient(tracking_uri)
            found = self._client.get_experiment_by_name(experiment)
            number = found.experiment_id if found else self._client.create_experiment(experiment)
            self._run = self._client.create_run(number, run_name=name).info.run_id

    def step(self, record: StepRecord) -> None:
        """Keep a step for the next batch."""
        with asking("MLflow"):
            from mlflow.entities import Metric  # noqa: PLC0415  optional

            now = int(time.time() * 1000)
            self._unsent += [Metric(name, value, now, record.step) for name, value in values(record).items()]
            if len(self._unsent) >= 500:
                self.flush()

    def flush(self) -> None:
        """Send what was kept."""
        with asking("MLflow"):
            if self._unsent:
                self._client.log_batch(self._run, metrics=self._unsent)
            self._unsent = []

    def close(self) -> None:
        """Mark the run as finished."""
        self.flush()
        with asking("MLflow"):
            self._client.set_terminated(self._run)
