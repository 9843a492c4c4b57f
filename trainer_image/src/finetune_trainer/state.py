"""What exact resume needs, as tensors and plain numbers: safetensors and JSON hold all of it, nothing is pickled.

No random state is kept: every step seeds the generators from (seed, step, rank). Nor is the scheduler's: the learning
rate is a function of the step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_trainer.divergence import LossTrend
from finetune_trainer.errors import DivergedError, InfrastructureError
from finetune_trainer.manifest import Execution
from finetune_trainer.validation import ValidationRecord

_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW knows about a parameter; its settings come from the spec."""


class Counters(Message):
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
    validation: ValidationRecord = ValidationRecord()
    trend: LossTrend = LossTrend()
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
    counters: Counters, model: torch.nn.Module, optimizer: torch.optim.Optimizer, execution: Execution | None = None
) -> LoopState:
    """A copy of the state that later steps do not change."""
    tensors = {}
    for name, parameter in trainable(model):
        tensors[f"adapter/{name}"] = parameter
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{moment}/{name}"] = value
    copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
    return LoopState(counters, copies, execution)


@torch.no_grad()
def restore(state: LoopState, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a saved state into a fresh model and optimiser.

    Raises:
        InfrastructureError: the state belongs to another adapter.

    """
    names = {name for name, _ in trainable(model)}
    saved = {name.removeprefix("adapter/") for name in state.tensors if name.startswith("adapter/")}
    if names != saved:
        raise InfrastructureError(
            reason=Reason.INTERNAL,
            message="the checkpoint holds other adapter weights than this job trains",
            advice="remove the checkpoints under output.uri and create the job again",
        )
    for name, parameter in trainable(model):
        parameter.copy_(state.tensors[f"adapter/{name}"])
    moments = [_moments(state, name) for name, _ in trainable(model)]
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": dict(enumerate(moments)) if any(moments) else {}, "param_groups": groups})


def _moments(state: LoopState, name: str) -> dict[str, Any]:
    keys = {moment: f"optimizer/{moment}/{name}" for moment in _MOMENTS}
    return {moment: state.tensors[key] for moment, key in keys.items() if key in state.tensors}
