"""A run before it begins: its open settings resolved, its length counted, its memory estimated; without torch."""

from dataclasses import dataclass

from finetune_api.report import Estimate, ResolvedSetting
from finetune_api.request import TrainerRequest
from finetune_trainer.base_model import BaseModel
from finetune_trainer.data.store_index import StoreIndex
from finetune_trainer.estimate import estimate, require_fit, run_length
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.parent import AdapterConfig
from finetune_trainer.resolve import DataStats, resolve


@dataclass(frozen=True, slots=True)
class Forecast:
    """What preflight decides beyond the data."""

    settings: Hyperparameters
    reasons: list[ResolvedSetting]
    estimate: Estimate


def forecast(request: TrainerRequest, index: StoreIndex, base: BaseModel, parent: AdapterConfig | None) -> Forecast:
    """Settings and estimate of a job on prepared data.

    Raises:
        SettingsError: it cannot fit the GPU that the cluster would give it.

    """
    spec = request.spec
    sequences = 2 if spec.objective.type in ("preference", "reward") else 1
    weights = [dataset.weight for dataset in spec.data.train]
    stats = DataStats(
        items=max(1, round(_weighted(index.train.dataset_items, weights))),
        tokens=max(1, round(_weighted(index.train.dataset_tokens, weights))),
        # A new head learns one thing from a row, but reads all of it.
        supervised_tokens=index.train.supervised or index.train.tokens,
        longest_row=index.train.longest,
        limit=index.max_tokens,
        hidden=base.hidden,
        sequences_per_item=sequences,
    )
    settings, reasons = resolve(spec, stats, parent)
    longest_item = sequences * min(index.max_tokens, index.train.longest)
    steps, tokens = run_length(settings, items=stats.items, tokens=stats.tokens)
    gpu = spec.resources.gpus.count > 0
    shards = spec.resources.world_size if spec.resources.parallelism == "fsdp" else 1
    found = estimate(
        base,
        spec.method,
        settings,
        longest_item=longest_item,
        steps=steps,
        tokens=tokens,
        gpu=gpu,
        available=request.gpu_memory_bytes if gpu else None,
        shards=shards,
    )
    require_fit(found, base, spec.method, settings, longest_item=longest_item, shards=shards)
    return Forecast(settings, reasons, found)


def _weighted(counts: list[int], weights: list[float]) -> float:
    """What an epoch takes of data sets by their weights."""
    return sum(count * weight for count, weight in zip(counts, weights, strict=False))
