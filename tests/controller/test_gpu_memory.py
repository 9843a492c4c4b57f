"""How much memory a job's GPU has: the setting, else the smallest GPU that the job can land on, else nothing."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import cluster_objects as o
import pytest

from finetune_api.spec.job import FinetuneJobSpec
from finetune_operator.cluster import Cluster
from finetune_operator.errors import ClusterError, RefusedError, UnavailableError
from finetune_operator.gpu_memory import GpuMemory
from finetune_operator.settings import Settings

GIB = 2**30
A100 = {"nvidia.com/gpu.memory": "81920", "pool": "large", "zone": "a"}
T4 = {"nvidia.com/gpu.memory": "15360", "pool": "small", "zone": "a"}
SLICED = {"nvidia.com/mig-1g.10gb.memory": "9728", "pool": "sliced"}
CPU = {"pool": "cpu"}


class Nodes:
    """A cluster that has nothing but nodes."""

    def __init__(self, *labels: Mapping[str, str]) -> None:
        self.labels = labels
        self.error: ClusterError | None = None

    async def node_labels(self) -> AsyncIterator[Mapping[str, str]]:
        if self.error is not None:
            raise self.error
        for labels in self.labels:
            yield labels


def known(nodes: Nodes, **settings: Any) -> GpuMemory:
    return GpuMemory(cast("Cluster", nodes), Settings(trainer_image="any", **settings))


def spec(*, count: int = 1, resource: str = "nvidia.com/gpu", **selector: str) -> FinetuneJobSpec:
    gpus = {"count": count, "resourceName": resource}
    return FinetuneJobSpec.model_validate(
        {**o.SPEC, "resources": {"gpus": gpus}, "scheduling": {"nodeSelector": selector}}
    )


@pytest.mark.parametrize(
    ("wanted", "gibibytes"),
    [
        (spec(), 15),
        (spec(pool="large"), 80),
        (spec(zone="a", pool="small"), 15),
        (spec(resource="nvidia.com/mig-1g.10gb"), 9.5),
        (spec(pool="cpu"), None),
        (spec(pool="unknown"), None),
        (spec(resource="example.com/gpu"), None),
        (spec(count=0), None),
    ],
)
async def test_the_smallest_gpu_that_the_job_can_land_on_counts(
    wanted: FinetuneJobSpec, gibibytes: float | None
) -> None:
    memory = known(Nodes(A100, CPU, T4, SLICED))
    await memory.load()
    assert memory.of(wanted) == (gibibytes * GIB if gibibytes is not None else None)


async def test_the_setting_wins_over_labels_because_a_shared_gpu_grants_less_than_it_has() -> None:
    memory = known(Nodes(A100), gpu_memory=(("nvidia.com/gpu", 20 * GIB),))
    await memory.load()
    assert memory.of(spec(pool="large")) == 20 * GIB
    assert memory.of(spec(count=0)) is None


@pytest.mark.parametrize("label", ["", "unknown", "-1", "81920MiB"])
async def test_a_label_that_is_no_number_tells_nothing(label: str) -> None:
    memory = known(Nodes({"nvidia.com/gpu.memory": label}))
    await memory.load()
    assert memory.of(spec()) is None


async def test_without_the_right_to_list_nodes_nothing_is_known_and_nothing_breaks() -> None:
    nodes = Nodes(A100)
    nodes.error = RefusedError("nodes is forbidden")
    memory = known(nodes)
    await memory.load()
    assert memory.of(spec()) is None


async def test_a_failed_listing_leaves_what_is_known() -> None:
    nodes = Nodes(A100)
    memory = known(nodes)
    await memory.load()
    nodes.error = UnavailableError("no answer")
    await memory.load()
    assert memory.of(spec()) == 80 * GIB
