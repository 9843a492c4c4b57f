"""The processes that train one model together (data parallel): each learns from its share of every step.

All hold the same weights. Gradients are summed once a step, after the last micro-batch, so ranks may cut their shares
into different numbers of micro-batches; the weight of the whole step is known to every rank from the plan, without
asking. What the host has to agree on goes over gloo, so the device is never waited for.

A single process is one rank and pays nothing: no process group is made, no tensor is copied.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.tensor import DTensor, distribute_tensor

from finetune_api.conditions import Reason
from finetune_trainer.errors import InfrastructureError
from finetune_trainer.place import Place

_BUCKET: Final = 1 << 24
"""Gradient elements that are summed by one call: 64 MB of float32."""


class Ranks:
    """Where this process stands among those that train together, and what they do in common."""

    def __init__(self, index: int = 0, count: int = 1, timeout: timedelta | None = None) -> None:
        """Of several ranks the default process group is there already (`join`, or accelerate, makes it).

        What one of them leaves out fails after `timeout`.
        """
        self.index, self.count = index, count
        self._host: Any = dist.new_group(backend="gloo", timeout=timeout) if count > 1 else None

    @classmethod
    def join(cls, place: Place, store: Store, stall_seconds: float) -> "Ranks":
        """Make the process group of a run; a collective that one rank leaves out fails after `stall_seconds`."""
        timeout = timedelta(seconds=stall_seconds)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=place.rank,
            world_size=place.count,
            timeout=timeout,
        )
        return cls(place.rank, place.count, timeout)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that tells and saves."""
        return self.index == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on one of the ranks; they wait for each other."""
        return flag if self.count == 1 else self.sum(float(flag))[0] > 0

    def sum(self, *numbers: float) -> list[float]:
        """Each number summed over the ranks, in float64, the same on all."""
        if self.count == 1:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total, group=self._host)
        return list(total.tolist())

    def tell(self, value: Any) -> Any:
        """The first rank's `value`, small, on all of them; they wait for it."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._host)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value`, small, in the order of ranks, on all of them."""
        if self.count == 1:
            return [value]
        told: list[Any] = [None] * self.count
        dist.all_gather_object(told, value, group=self._host)
        return told

    def spread(self, tensor: Tensor, value: Tensor | None) -> None:
        """Put the first rank's `value` into `tensor` on every rank, or into each its part, if the tensor is divided.

        The others' value is not looked at.
        """
        if isinstance(tensor, DTensor):
            full = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
            if self.is_first and value is not None:
                full.copy_(value)
            tensor.copy_(distribute_tensor(full, tensor.device_mesh, tensor.placements))
            return
        if self.is_first and value is not None:
            tensor.copy_(value)
        if self.count > 1:
            dist.broadcast(tensor, src=0, group=self._group(tensor))

    def start_alike(self, parameters: Iterable[Tensor], what: str) -> None:
        """Give all ranks the first one's weights, and make sure that they are about to do the same.

        Args:
            parameters: What is trained.
            what: Describes the work; equal on every rank.

        Raises:
            InfrastructureError: it is not.

        """
        if self.count == 1:
            return
        if len(set(self.gather(what))) > 1:
            raise InfrastructureError(
                reason=Reason.INTERNAL,
                message="the processes of this run would not train the same steps",
                advice="start all of them from the same data, spec and checkpoint; another attempt does",
            )
        for parameter in parameters:
            dist.broadcast(parameter.detach(), src=0)

    def sum_gradients(self, parameters: Sequence[Tensor], loss: Tensor) -> None:
        """Sum the gradients of `parameters`, and `loss`, over the ranks, in place.

        A parameter that got a gradient on one rank has one on all of them afterwards.
        """
        if self.count == 1:
            return
        used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
        dist.all_reduce(used, dist.ReduceOp.MAX, group=self._host)
        tensors = [loss]
        for parameter, is_used in zip(parameters, used.tolist(), strict=True):
            if not is_used:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            tensors.append(parameter.grad)
        for bucket in _buckets(tensors):
            _sum_in_float32(bucket)

    def _group(self, tensor: Tensor) -> Any:
        return self._host if tensor.device.type == "cpu" else None


ALONE: Final = Ranks()


def _buckets(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """The tensors in order, some together; none of several has more than `_BUCKET` elements."""
    buckets: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if buckets[-1] and size + tensor.numel() > _BUCKET:
            buckets.append([])
            size = 0
        buckets[-1].append(tensor)
        size += tensor.numel()
    return buckets


def _sum_in_float32(tensors: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    dist.all_reduce(flat)
    totals = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, total in zip(tensors, totals, strict=True):
        tensor.copy_(total.view_as(tensor))
