"""How much memory one GPU of a job has, so that preflight can refuse what cannot fit before a GPU is taken.

The operator's setting wins, because only the platform team knows what a shared GPU really grants. Else the labels of
nodes tell: NVIDIA's GPU feature discovery writes `<resource>.memory` in MiB for whole GPUs and for MIG slices, AMD's
node labeller `amd.com/gpu.vram` in GiB (`192G`). They are listed now and then, never for a job. Without the right to
list nodes, or without such labels, nothing is known.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from finetune_api.spec.job import FinetuneJobSpec
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError, RefusedError
from finetune_operator.node_match import Labels, matches
from finetune_operator.settings import Settings

_NVIDIA, _AMD = ".memory", "amd.com/gpu.vram"
_MEBIBYTE, _GIBIBYTE = 2**20, 2**30

_log: Final = logging.getLogger(__name__)


class GpuMemory:
    """What is known of GPUs' memory."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._chosen = dict(settings.gpu_memory)
        self._pause = settings.resync_seconds
        self._nodes: tuple[Labels, ...] = ()

    def of(self, spec: FinetuneJobSpec) -> int | None:
        """Bytes of one GPU that the job can get; None if it wants none or nothing is known."""
        gpus = spec.resources.gpus
        if not gpus.count:
            return None
        nodes = (labels for labels in self._nodes if matches(spec.scheduling, labels))
        return self._chosen.get(gpus.resource_name) or smallest(nodes, gpus.resource_name)

    async def load(self) -> None:
        """List the nodes; what cannot be listed leaves what is known as it is."""
        try:
            found = [labels async for labels in self._cluster.node_labels()]
        except RefusedError:
            _log.debug("no right to list nodes: GPUs' memory is known from the setting gpu_memory only")
        except ClusterError as error:
            _log.warning("nodes cannot be listed", extra={"cause": str(error)})
        else:
            # Nodes without a GPU are most of a large cluster.
            self._nodes = tuple(labels for labels in found if any(name.endswith((_NVIDIA, _AMD)) for name in labels))

    async def run(self) -> None:
        """List the nodes anew, for ever."""
        while True:
            await asyncio.sleep(self._pause)
            await self.load()


def smallest(nodes: Iterable[Labels], resource_name: str) -> int | None:
    """Bytes of the smallest GPU that counts as `resource_name` on one of the nodes."""
    sizes = (_size(labels, resource_name) for labels in nodes)
    return min((size for size in sizes if size is not None), default=None)


def _size(labels: Labels, resource_name: str) -> int | None:
    mebibytes = labels.get(resource_name + _NVIDIA, "")
    if mebibytes.isdecimal():
        return int(mebibytes) * _MEBIBYTE
    gibibytes = labels.get(_AMD, "").removesuffix("G") if resource_name == "amd.com/gpu" else ""
    return int(gibibytes) * _GIBIBYTE if gibibytes.isdecimal() else None
