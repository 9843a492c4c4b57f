"""Settings that the spec leaves open, resolved from data and model, each with its reason.

They are rules of thumb from published experience, simple enough to be explained in a sentence to whoever wonders why a
job ran as it did. What the spec sets is never touched.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from finetune_api.report import ResolvedSetting
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.methods.settings import WHOLE_MODEL
from finetune_trainer.parent import AdapterConfig

_LORA_RATE: Final = 2e-4
_RATE_WIDTH: Final = 4096
"""Width of the hidden states that the rates below are meant for: an 8B model's."""
_RATES: Final = {"full": 2e-5, "last-layers": 5e-5}
"""The other methods are LoRA's kin."""
_OBJECTIVE_FACTORS: Final = {"preference": 0.1, "reward": 0.5}
_NEW_HEAD_FACTOR: Final = 2.0
_WANTED_STEPS: Final = 100
_TOKENS_PER_STEP: Final = (512, 65536)
_SHORTEST: Final = 16

Value = TypeVar("Value", int, float)


@dataclass(frozen=True, slots=True)
class DataStats:
    """What the rules look at."""

    items: int
    """Rows to train on; pairs count one."""
    tokens: int
    """Tokens that one epoch goes through."""
    supervised_tokens: int
    """Those of them that the loss is on; of objectives that decide per row, all of them."""
    longest_row: int
    """Tokens of the longest sequence, before any cut."""
    hidden: int
    """Width of the base's hidden states."""
    limit: int
    """Tokens that sequences were cut to."""
    sequences_per_item: int = 1
    """2 for pairs."""


def resolve(
    spec: FinetuneJobSpec, stats: DataStats, parent: AdapterConfig | None = None
) -> tuple[Hyperparameters, list[ResolvedSetting]]:
    """The numbers that training runs by, and of those that the spec left open, why.

    Args:
        spec: What was asked for.
        stats: Data and base model.
        parent: The adapter that training goes on from; its rank and scale are kept.

    """
    training, lora = spec.training, spec.method.lora
    open_ = _Open()
    max_tokens = open_.take("data.maxTokens", spec.data.max_tokens, lambda: _max_tokens(spec, stats))
    epochs = open_.take("training.epochs", training.epochs, lambda: _epochs(stats.items))
    tokens_per_step = open_.take(
        "training.tokensPerStep",
        training.tokens_per_step,
        lambda: _tokens_per_step(stats, epochs, max_tokens, training.micro_batch_tokens or 0),
    )
    learning_rate = open_.take("training.learningRate", training.learning_rate, lambda: _learning_rate(spec, stats))
    # Methods without adapters have no rank to explain.
    adapters = _Open() if spec.method.type in WHOLE_MODEL else open_
    rank = adapters.take("method.lora.rank", lora.rank, lambda: _rank(stats, parent))
    alpha = adapters.take("method.lora.alpha", lora.alpha, lambda: _alpha(rank, parent))
    settings = Hyperparameters(
        learning_rate=learning_rate,
        epochs=epochs,
        max_steps=training.max_steps,
        tokens_per_step=tokens_per_step,
        micro_batch_tokens=training.micro_batch_tokens,
        schedule=training.schedule,
        warmup_ratio=training.warmup_ratio,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        precision=training.precision,
        packing=training.packing,
        compile=training.compile,
        seed=training.seed,
        max_tokens=max_tokens,
        rank=rank,
        alpha=alpha,
    )
    return settings, open_.resolved


@dataclass
class _Open:
    """Collects what was resolved."""

    resolved: list[ResolvedSetting] = field(default_factory=list)

    def take(self, name: str, given: Value | None, rule: Callable[[], tuple[Value, str]]) -> Value:
        """The spec's value, or else what the rule says, with its reason noted."""
        if given is not None:
            return given
        value, why = rule()
        self.resolved.append(ResolvedSetting(name=name, value=f"{value:g}" if value < 1 else f"{value:.10g}", why=why))
        return value


def _learning_rate(spec: FinetuneJobSpec, stats: DataStats) -> tuple[float, str]:
    """By method, width and objective.

    LoRA wants about ten times the rate of full tuning, whatever its rank, and smaller models more: the rates measured
    by Schulman and Thinking Machines Lab ("LoRA Without Regret", 2025, https://thinkingmachines.ai/blog/lora/) and
    published as a formula (https://tinker-docs.thinkingmachines.ai/supervised-learning/sl-hyperparams) fall with the
    hidden width to the power of 0.78 for Llama and 0.08 for Qwen; the square root lies between. 2e-4 at 7B is QLoRA's
    (arXiv:2305.14314, appendix B). DPO was published with a tenth and less of the usual rates (arXiv:2305.18290,
    appendix B: 1e-6; Zephyr, arXiv:2310.16944: 5e-7). A new head starts from noise: LoRA's own GLUE runs took 4e-4 and
    more (arXiv:2106.09685, appendix D).
    """
    method, objective = spec.method.type, spec.objective
    width = min(2.5, max(0.5, (_RATE_WIDTH / stats.hidden) ** 0.5))
    factor, kind = _OBJECTIVE_FACTORS.get(objective.type, 1.0), f"{objective.type}"
    if objective.classification is not None and objective.classification.variant == "head":
        factor, kind = _NEW_HEAD_FACTOR, "classification with a new head"
    rate = float(f"{_RATES.get(method, _LORA_RATE) * width * factor:.2g}")
    return rate, f"usual for {method} and {kind} at a hidden width of {stats.hidden}; smaller models take more"


def _epochs(items: int) -> tuple[float, str]:
    """Three passes of few rows, one of many.

    Repeating data up to four times is nearly as good as new data (Muennighoff et al. 2023, arXiv:2305.16264); Alpaca
    and most tuning since took three epochs over some thousand rows and one over more.
    """
    if items < 1000:
        return 3.0, f"{items} rows are few, so they are gone through three times"
    if items < 10000:
        return 2.0, f"{items} rows are gone through twice"
    return 1.0, f"{items} rows are enough to be gone through once"


def _max_tokens(spec: FinetuneJobSpec, stats: DataStats) -> tuple[int, str]:
    """As long as the longest row, if the base model takes it; raw text is cut into pieces instead."""
    if spec.objective.type == "continued-pretraining":
        return stats.limit, f"raw text is cut into pieces of {stats.limit} tokens"
    if stats.longest_row > stats.limit:
        return stats.limit, f"what the base model takes at once; the longest row has {stats.longest_row} tokens"
    return max(_SHORTEST, stats.longest_row), f"the longest row has {stats.longest_row} tokens, so nothing is cut"


def _tokens_per_step(stats: DataStats, epochs: float, max_tokens: int, micro_batch: int) -> tuple[int, str]:
    """A power of two that gives about 100 steps: enough for warm-up and decay to mean something.

    Bounded on both sides: below 512 tokens a gradient is mostly noise, and LoRA tolerates large batches less than full
    tuning does ("LoRA Without Regret", see above). Never less than the longest item, which is one step's least.
    """
    low, high = _TOKENS_PER_STEP
    wanted = min(high, max(low, _power_of_two(stats.tokens * epochs / _WANTED_STEPS)))
    longest = min(stats.longest_row, max_tokens) * stats.sequences_per_item
    value = wanted
    while value < max(longest, micro_batch):
        value *= 2
    if value > wanted:
        return value, f"the least power of two that holds the longest row ({longest} tokens) and a micro-batch"
    steps = max(1, round(stats.tokens * epochs / value))
    return value, f"gives about {steps} steps; about {_WANTED_STEPS} are aimed at, with {low} to {high} tokens each"


def _rank(stats: DataStats, parent: AdapterConfig | None) -> tuple[int, str]:
    """More for more to learn.

    An adapter learns like full tuning until it runs out of capacity, which falls behind where the data holds more than
    its weights can ("LoRA Without Regret", see above: a weight takes about 2 bits, a token to learn about 1). Rank 8 of
    a 1B model has 5.6 million weights, so the steps here are on the generous side.
    """
    if parent is not None:
        return parent.r, "kept from the adapter of model.adapterUri"
    tokens = stats.supervised_tokens
    for bound, rank in ((100_000, 8), (1_000_000, 16), (10_000_000, 32)):
        if tokens < bound:
            return rank, f"enough for {tokens} supervised tokens"
    return 64, f"there is much to learn in {tokens} supervised tokens"


def _alpha(rank: int, parent: AdapterConfig | None) -> tuple[int, str]:
    if parent is not None:
        return parent.lora_alpha, "kept from the adapter of model.adapterUri"
    return 2 * rank, "twice the rank"


def _power_of_two(value: float) -> int:
    """The largest power of two that is not above `value`; at least 1."""
    return 1 << max(0, int(value).bit_length() - 1)
