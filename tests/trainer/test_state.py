"""A saved state comes back where the optimiser looks for it; whole runs are in `test_loop`, on a GPU in `tests/gpu`."""

import pytest
import torch
from torch import nn

from finetune_trainer.state import Counters, LoopState, restore, snapshot


def state_of(model: nn.Module) -> LoopState:
    """The state after a step."""
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return snapshot(Counters(step=1, plan_digest="plan"), model, optimizer)


@pytest.mark.parametrize(("fused", "where"), [(True, "meta"), (None, "cpu")])
def test_the_fused_optimiser_finds_its_count_of_steps_on_the_device(fused: bool | None, where: str) -> None:
    """Read by a kernel of the device, an address of the host would end the process."""
    state = state_of(nn.Linear(3, 2))
    elsewhere = nn.Linear(3, 2, device="meta")
    optimizer = torch.optim.AdamW(elsewhere.parameters())
    optimizer.param_groups[0]["fused"] = fused
    restore(state, elsewhere, optimizer)
    assert {held["step"].device.type for held in optimizer.state.values()} == {where}
    assert {held["exp_avg"].device.type for held in optimizer.state.values()} == {"meta"}
