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
MI300X = {"amd.com/gpu.vram": "192G", "pool": "amd"}


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


def spec(
    *, count: int = 1, resource: str = "nvidia.com/gpu", affinity: tuple[str, ...] = (), **selector: str
) -> FinetuneJobSpec:
    """`affinity` is of the form ("pool NotIn large", ...)."""
    gpus = {"count": count, "resourceName": resource}
    parts = [each.split() for each in affinity]
    required = [{"key": key, "operator": operator, "values": values} for key, operator, *values in parts]
    scheduling = {"nodeSelector": selector, "nodeAffinity": required}
    return FinetuneJobSpec.model_validate({**o.SPEC, "resources": {"gpus": gpus}, "scheduling": scheduling})


@pytest.mark.parametrize(
    ("wanted", "gibibytes"),
    [
        (spec(), 15),
        (spec(pool="large"), 80),
        (spec(zone="a", pool="small"), 15),
        (spec(resource="nvidia.com/mig-1g.10gb"), 9.5),
        (spec(resource="amd.com/gpu"), 192),
        (spec(affinity=("pool In large other",)), 80),
        (spec(affinity=("pool NotIn small",)), 80),
        (spec(affinity=("zone Exists",)), 15),
        (spec(affinity=("zone DoesNotExist",)), None),
        (spec(affinity=("nvidia.com/gpu.memory Gt 20000",)), 80),
        (spec(affinity=("nvidia.com/gpu.memory Lt 20000",)), 15),
        (spec(affinity=("pool Gt 1",)), None),
        (spec(affinity=("zone Exists", "pool In large")), 80),
        (spec(pool="cpu"), None),
        (spec(pool="unknown"), None),
        (spec(resource="example.com/gpu"), None),
        (spec(count=0), None),
    ],
)
async def test_the_smallest_gpu_that_the_job_can_land_on_counts(
    wanted: FinetuneJobSpec, gibibytes: float | None
) -> None:
    memory = known(Nodes(A100, CPU, T4, SLICED, MI300X))
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
