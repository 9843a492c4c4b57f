"""The trainer's `/metrics`, where the platform asks for it: the newest progress, read when Prometheus asks.

Training sets nothing and waits for nothing. Labels for job, namespace and pod are the scraper's.
"""

import logging
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Final, get_args

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from finetune_api.names import METRICS_PORT_VARIABLE
from finetune_api.progress import Progress, Stage
from finetune_trainer.progress_lines import ProgressLines

LOG: Final = logging.getLogger(__name__)


def serve_metrics(lines: ProgressLines) -> None:
    """Answer scrapes for as long as the process lives, on the port that the environment names, if it names one."""
    port = os.environ.get(METRICS_PORT_VARIABLE)
    if port is None:
        return
    try:
        start_http_server(int(port), registry=registry(lines))
    except OSError as error:  # no reason not to train
        LOG.warning("there are no metrics: port %s: %s", port, error)


def registry(lines: ProgressLines) -> CollectorRegistry:
    """All that is exported."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    made.register(_Trainer(lines))
    return made


class _Trainer(Collector):
    def __init__(self, lines: ProgressLines) -> None:
        self._lines = lines

    def collect(self) -> Iterator[Metric]:
        now = self._lines.progress
        stage = GaugeMetricFamily("finetune_trainer_stage", "1 for the stage that the trainer is in", labels=["stage"])
        for each in get_args(Stage):
            stage.add_metric([each], float(each == now.stage))
        yield stage
        spent = "Time that this attempt has spent in optimiser steps"
        yield CounterMetricFamily("finetune_trainer_step_seconds", spent, value=now.step_seconds)
        for name, meaning, value in _values(now):
            yield GaugeMetricFamily(f"finetune_trainer_{name}", meaning, value=value)


def _values(now: Progress) -> Iterator[tuple[str, str, float]]:
    """Name, meaning and value of all that is known."""
    saved = now.checkpoint
    told: tuple[tuple[str, str, float | None], ...] = (
        ("step", "Optimiser steps done", now.step),
        ("planned_steps", "Optimiser steps of the whole run", now.total_steps),
        ("loss", "Mean training loss per supervised token of the newest step read", now.loss),
        ("tokens_per_second", "Real tokens a second, padding not counted", now.tokens_per_second),
        (
            "supervised_tokens_per_second",
            "Tokens a second that the loss is on; rows or pairs where these are judged",
            now.supervised_tokens_per_second,
        ),
        ("mfu_ratio", "Share of the GPUs' rated operations that the tokens need", now.mfu),
        ("input_stall_ratio", "Share of the time in steps that making batches took", now.input_stall),
        (
            "peak_memory_bytes",
            "The most that tensors took on the first GPU; without one, the process",
            now.peak_memory_bytes,
        ),
        ("checkpoint_step", "Step of the newest saved state", saved.step if saved else None),
        ("checkpoint_timestamp_seconds", "When that was saved", _moment(saved.saved_at) if saved else None),
    )
    return ((name, meaning, value) for name, meaning, value in told if value is not None)


def _moment(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
