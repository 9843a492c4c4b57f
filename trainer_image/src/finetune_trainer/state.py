"""What exact resume needs, as tensors and plain numbers: safetensors and JSON hold all of it, nothing is pickled.

No random state is kept: every step seeds the generators from (seed, step, rank). Nor is the scheduler's: the learning
rate is a function of the step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from finetune_api.conditions import Reason
from finetune_trainer.divergence import LossTrend
from finetune_trainer.errors import DivergedError, InfrastructureError
from finetune_trainer.execution import Execution
from finetune_trainer.ranks import ALONE, Ranks
from finetune_trainer.sharding import whole
from finetune_trainer.validation import ValidationRecord

_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW knows about a parameter; its settings come from the spec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """How far a run has come."""

    step: int = 0
    """Steps of the plan that are behind: done, or left out by a rollback."""
    plan_digest: str
    tokens: int = 0
    """Real tokens learnt from, padding not counted."""
    weight: float = 0.0
    """Summed weight of what was learnt from: supervised tokens, rows or pairs."""
    loss: float | None = None
    """Mean loss of the last step."""
    validation_loss: float | None = None
    """Mean loss on the validation rows when it was last measured."""
    validation: ValidationRecord = field(default_factory=ValidationRecord)
    trend: LossTrend = field(default_factory=LossTrend)
    rollbacks: int = 0


@dataclass(frozen=True, slots=True)
class LoopState:
    """The training loop between two steps."""

    counters: Counters
    tensors: dict[str, Tensor]
    """On the CPU: `adapter/<parameter>` and `optimizer/<moment>/<parameter>`; and `best/<parameter>`, where the best
    state is kept and one was found."""
    execution: Execution | None = None
    """How the steps up to here were computed; None where an earlier version did not say."""

    def require_finite(self) -> None:
        """Check every number of every tensor: a finite loss does not mean that all of them are.

        Raises:
            DivergedError: naming the tensor.

        """
        for name, tensor in self.tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise DivergedError(
                    reason=Reason.DIVERGED,
                    message=f"training diverged: {name} is not finite after step {self.counters.step}",
                    advice="lower training.learningRate, raise training.warmupRatio or lower method.lora.alpha",
                )


def trainable(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Names and parameters of the adapter."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def snapshot(
    counters: Counters,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    execution: Execution | None = None,
    *,
    is_first: bool = True,
) -> LoopState:
    """A copy of the state that later steps do not change; of several processes, the first alone keeps its tensors."""
    tensors = {}
    for name, parameter in trainable(model):
        tensors[f"adapter/{name}"] = parameter
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{moment}/{name}"] = value
    copies = {}
    for name, tensor in tensors.items():
        put_together = whole(tensor.detach())
        if is_first:
            copies[name] = put_together.to("cpu", copy=True)
    return LoopState(counters, copies, execution)


@torch.no_grad()
def restore(state: LoopState, model: torch.nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks = ALONE) -> None:
    """Put a saved state into a fresh model and optimiser; of several processes, the state of the first.

    Raises:
        InfrastructureError: the state belongs to another adapter.

    """
    names = {name for name, _ in trainable(model)}
    saved = {name.removeprefix("adapter/") for name in state.tensors if name.startswith("adapter/")}
    if ranks.any(names != saved and ranks.is_first):
        raise InfrastructureError(
            reason=Reason.INTERNAL,
            message="the checkpoint holds other adapter weights than this job trains",
            advice="remove the checkpoints under output.uri and create the job again",
        )
    known = ranks.tell({key for key in state.tensors if key.startswith("optimizer/")})
    fused = {each for group in optimizer.param_groups if group.get("fused") for each in group["params"]}
    for name, parameter in trainable(model):
        ranks.spread(parameter, state.tensors.get(f"adapter/{name}"))
        optimizer.state[parameter] = {}
        for moment in _MOMENTS:
            key = f"optimizer/{moment}/{name}"
            if key in known:
                # AdamW counts steps on the CPU, but for its fused kernel, which would read a host's address there.
                counter = torch.zeros((), device=parameter.device if parameter in fused else "cpu")
                held = counter if moment == "step" else torch.empty_like(parameter)
                ranks.spread(held, state.tensors.get(key))
                optimizer.state[parameter][moment] = held
        if not optimizer.state[parameter]:
            del optimizer.state[parameter]
