"""What a job may not ask for: the field, its value, the setting that says so, and no Job.

The order of what is told is that of the policy: what is never safe, names, places, amounts.
"""

from dataclasses import dataclass, field
from typing import Any

import cluster_objects as o
import pytest
from scenarios import COMPLETE, PASSED, VALIDATED, Known, decision, words

from finetune_api.conditions import ConditionType
from finetune_api.names import FINALIZER
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest
from finetune_operator import conditions
from finetune_operator.actions import CreateJob
from finetune_operator.admin import Admin

OWN = {"allowedBuckets": ["s3://team-data/{namespace}/", "s3://out"], "allowedSources": ["s3://models", "s3://data/"]}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a platform team allows, what a job asks for, and what is said against it: nothing where it is allowed."""

    admin: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    says: str = ""


def endpoint(url: str) -> dict[str, Any]:
    return {"storage": {"endpoint": url}}


def output(uri: str, **more: str) -> dict[str, Any]:
    return {"output": {"uri": uri, **more}}


NEVER_STORAGE = [
    "http://169.254.169.254",
    "http://169.254.169.254:80/",
    "http://2852039166",
    "http://0xA9FEA9FE",
    "http://0xa9.0xfe.0xa9fe",
    "http://0251.0376.0251.0376",
    "http://169.254.43518",
    "http://169.254.170.23",
    "http://100.100.100.200",
    "http://168.63.129.16",
    "http://127.0.0.1:9000",
    "http://127.1",
    "http://0.0.0.0",
    "http://localhost:8080",
    "http://a.localhost",
    "http://metadata.google.internal.",
    "http://Metadata",
    "https://kubernetes",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes.default:443",
]
STORAGE = [
    "https://s3.storage.svc:8333",
    "http://10.0.0.7:9000",
    "https://192.168.1.1",
    "https://kubernetes.example.com",
    "https://metadata.example.com",
    "https://1.2.3.4.5",
    "https://300.1.1.1",
    "https://08.1.1.1",
]
CASES = {
    "nothing set restricts nothing": Case(spec=output("s3://anywhere/at-all")),
    **{f"never: {url}": Case(spec=endpoint(url), says=f"spec.storage.endpoint: {url} is an") for url in NEVER_STORAGE},
    **{f"whatever its name: {url}": Case(spec=endpoint(url)) for url in STORAGE},
    "a bucket that makes a metadata service of a host": Case(
        spec={
            "storage": {"endpoint": "http://google.internal", "pathStyle": False},
            "model": {"uri": "s3://metadata/computeMetadata"},
        },
        says="spec.storage.endpoint: http://google.internal is an address",
    ),
    "a bucket that makes an address whole": Case(
        spec={"storage": {"endpoint": "http://169.254", "pathStyle": False}, **output("s3://169.254/latest")},
        says="spec.storage.endpoint: http://169.254 is an address",
    ),
    "a bucket in the path makes no host": Case(
        spec={"storage": {"endpoint": "http://google.internal"}, "model": {"uri": "s3://metadata/computeMetadata"}}
    ),
    "a listed metadata address stays refused": Case(
        admin={"allowedEndpoints": ["http://169.254.169.254"]},
        spec=endpoint("http://169.254.169.254"),
        says="spec.storage.endpoint: http://169.254.169.254 is an address of the pod",
    ),
    "steps out of a prefix": Case(
        spec=output("s3://team-data/team-a/../team-b/x"),
        says="spec.output.uri: s3://team-data/team-a/../team-b/x has a segment . or ..",
    ),
    "a step in a data set": Case(
        spec={"data": {"train": [{"uri": "s3://data/./x.jsonl"}]}}, says="spec.data.train[0].uri: s3://data/./x.jsonl"
    ),
    "dots in a name are no steps": Case(spec=output("s3://team-data/..a/b../v1.2")),
    "another endpoint": Case(
        admin={"allowedEndpoints": ["https://s3.example.com", "https://minio.test:9000/"]},
        spec=endpoint("https://evil.example.com"),
        says="spec.storage.endpoint: https://evil.example.com is none of https://s3.example.com, "
        "https://minio.test:9000 (admin.allowedEndpoints)",
    ),
    "an allowed endpoint, written otherwise": Case(
        admin={"allowedEndpoints": ["https://S3.example.com/"]}, spec=endpoint("https://s3.EXAMPLE.com")
    ),
    "no endpoint where one is asked for": Case(
        admin={"allowedEndpoints": ["https://s3.example.com"]},
        says="spec.storage.endpoint: aws is none of https://s3.example.com (admin.allowedEndpoints)",
    ),
    "no endpoint where Amazon's is allowed": Case(admin={"allowedEndpoints": ["aws"]}),
    "no endpoint where one is the default": Case(
        admin={"allowedEndpoints": ["https://s3.example.com"], "defaults": {"endpoint": "https://s3.example.com"}}
    ),
    "own places and shared sources": Case(admin=OWN, spec=output("s3://team-data/team-a/tune")),
    "another team's prefix": Case(
        admin=OWN,
        spec=output("s3://team-data/team-b/tune"),
        says="spec.output.uri: s3://team-data/team-b/tune may not be written, for it lies in none of "
        "s3://team-data/team-a/, s3://out/ (admin.allowedBuckets)",
    ),
    "another team whose name begins like one's own": Case(
        admin=OWN, spec=output("s3://team-data/team-a2/tune"), says="s3://team-data/team-a2/tune may not be written"
    ),
    "another team's data": Case(
        admin=OWN,
        spec={"data": {"train": [{"uri": "s3://data/t.jsonl"}], "test": [{"uri": "s3://team-data/team-b/t.jsonl"}]}},
        says="spec.data.test[0].uri: s3://team-data/team-b/t.jsonl may not be read",
    ),
    "a shared source is not written": Case(
        admin=OWN, spec=output("s3://data/x"), says="spec.output.uri: s3://data/x may not be written"
    ),
    "a pointer elsewhere": Case(
        admin=OWN,
        spec=output("s3://out/x", promoteUri="s3://team-data/team-b/serve"),
        says="spec.output.promoteUri: s3://team-data/team-b/serve",
    ),
    "checkpoints elsewhere": Case(
        admin=OWN, spec={"checkpoint": {"uri": "s3://fast/x"}}, says="spec.checkpoint.uri: s3://fast/x"
    ),
    "prepared data beside an output that is a whole place": Case(
        admin={"allowedBuckets": ["s3://lake/teams/{namespace}", "s3://models", "s3://data"]},
        spec=output("s3://lake/teams/team-a"),
        says="spec.data.preparedUri: s3://lake/teams/.prepared/ may not be written",
    ),
    "a benchmark's data elsewhere": Case(
        admin=OWN,
        spec={"evaluation": {"benchmarks": [{"task": "arc_easy", "uri": "s3://hidden/arc"}]}},
        says="spec.evaluation.benchmarks[0].uri: s3://hidden/arc",
    ),
    "an adapter elsewhere": Case(
        admin=OWN,
        spec={"model": {"uri": "s3://models/base", "adapterUri": "s3://team-data/team-b/a"}},
        says="spec.model.adapterUri: s3://team-data/team-b/a may not be read",
    ),
    "a model that is not among the chosen": Case(
        admin={"allowedModels": ["s3://models/approved/"]},
        says="spec.model.uri: s3://models/base may not be read, for it lies in none of s3://models/approved/ "
        "(admin.allowedModels)",
    ),
    "a chosen model": Case(admin={"allowedModels": ["s3://models/base"]}),
    "another service account": Case(
        admin={"allowedServiceAccounts": ["trainer"]},
        spec={"storage": {"serviceAccountName": "admin"}},
        says="spec.storage.serviceAccountName: admin is none of trainer (admin.allowedServiceAccounts)",
    ),
    "the namespace's own service account": Case(admin={"allowedServiceAccounts": ["trainer"]}),
    "another kind of GPU": Case(
        admin={"allowedGpuResources": ["nvidia.com/mig-1g.10gb"]},
        says="spec.resources.gpus.resourceName: nvidia.com/gpu is none of nvidia.com/mig-1g.10gb",
    ),
    "no GPU is of no kind": Case(
        admin={"allowedGpuResources": ["nvidia.com/mig-1g.10gb"]}, spec={"resources": {"gpus": {"count": 0}}}
    ),
    "another priority": Case(
        admin={"allowedPriorityClasses": ["batch"]},
        spec={
            "scheduling": {"priorityClassName": "system-node-critical", "queue": "q", "workloadPriorityClass": "vip"}
        },
        says="spec.scheduling.workloadPriorityClass: vip is none of batch (admin.allowedPriorityClasses)",
    ),
    "too many nodes and GPUs": Case(
        admin={"maxNodes": 2, "maxGpus": 8},
        spec={"resources": {"nodes": 3, "gpus": {"count": 4}}},
        says="spec.resources.nodes: 3 is more than 2 (admin.maxNodes); spec.resources.gpus.count: 12 for all pods "
        "together is more than 8 (admin.maxGpus)",
    ),
    "as many GPUs as allowed": Case(admin={"maxGpus": 8}, spec={"resources": {"nodes": 2, "gpus": {"count": 4}}}),
    "too much memory": Case(
        admin={"maxMemory": "64Gi"},
        spec={"resources": {"memory": "65Gi"}},
        says="spec.resources.memory: 65Gi is more than 64Gi (admin.maxMemory)",
    ),
    "memory in thousandths": Case(admin={"maxMemory": "64Gi"}, spec={"resources": {"memory": "500m"}}),
    "too long a run": Case(
        admin={"maxRunSeconds": 3600},
        spec={"limits": {"maxRunSeconds": 3601}},
        says="spec.limits.maxRunSeconds: 3601 is more than 3600 (admin.maxRunSeconds)",
    ),
}


def known(case: Case, **more: Any) -> Known:
    return Known(spec=case.spec, admin=Admin.model_validate(case.admin), **more)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_job_gets_its_first_pod_or_is_told_why_not(case: Case) -> None:
    made = decision(known(case))
    validated = conditions.find(made.status.conditions, ConditionType.VALIDATED)
    assert validated is not None
    if not case.says:
        assert tuple(map(words, made.actions)) == ("create preflight",)
        assert validated.status == "Unknown"
        return
    assert made.actions == ()
    assert case.says in validated.message
    assert (validated.status, validated.reason) == ("False", "NotAllowed")
    assert made.status.failure is not None
    assert made.status.failure.failure_class == "Settings"
    asked_of = "ask the platform team to change admin." in made.status.failure.advice
    assert asked_of == ("(admin." in validated.message)


def test_a_setting_that_has_changed_since_preflight_keeps_training_from_beginning() -> None:
    case = Case(admin={"allowedModels": ["s3://approved"]})
    jobs = (o.child_job("preflight", COMPLETE),)
    made = decision(known(case, status=VALIDATED, jobs=jobs, pods=(PASSED,)))
    assert made.actions == ()
    assert (made.status.phase, made.status.failure and made.status.failure.reason) == ("Failed", "NotAllowed")


def test_a_setting_that_has_changed_stops_no_training() -> None:
    case = Case(admin={"allowedModels": ["s3://approved"]})
    made = decision(known(case, status=VALIDATED, jobs=(o.child_job("train"),), pods=(o.running("train"),)))
    assert (made.status.phase, made.actions) == ("Running", ())


def test_a_refused_job_is_let_go_without_a_pod_that_removes_what_it_names() -> None:
    spec = output("s3://team-data/team-b/tune", onDelete="delete")
    deleted = {"deletionTimestamp": o.END, "finalizers": [FINALIZER]}
    made = decision(known(Case(admin=OWN, spec=spec), metadata=deleted))
    assert tuple(map(words, made.actions)) == ("hold by ",)
    assert [milestone.reason for milestone in made.milestones] == ["ArtifactsLeft"]
    assert "may not be written" in made.milestones[0].note


def created(case: Case) -> tuple[TrainerRequest, dict[str, Any]]:
    (action,) = decision(known(case, status=VALIDATED)).actions
    assert isinstance(action, CreateJob)
    pod = action.manifest["spec"]["template"]["spec"]
    text = next(item["value"] for item in pod["containers"][0]["env"] if item["name"] == ENVIRONMENT_VARIABLE)
    return TrainerRequest.model_validate_json(text), action.manifest


DEFAULTS = {"endpoint": "https://s3.example.com", "queue": "shared", "priorityClass": "batch"}


def test_defaults_are_what_a_job_gets_that_asks_for_nothing() -> None:
    request, manifest = created(Case(admin={"defaults": DEFAULTS}))
    assert request.spec.storage.endpoint == "https://s3.example.com"
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "shared"
    assert manifest["spec"]["template"]["spec"]["priorityClassName"] == "batch"


def test_what_a_job_asks_for_wins() -> None:
    spec = endpoint("https://other.example.com") | {"scheduling": {"queue": "own", "priorityClassName": "high"}}
    request, manifest = created(Case(admin={"defaults": DEFAULTS}, spec=spec))
    assert request.spec.storage.endpoint == "https://other.example.com"
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "own"
    assert manifest["spec"]["template"]["spec"]["priorityClassName"] == "high"


def test_defaults_leave_the_identity_of_a_job_as_it_is() -> None:
    with_defaults, without = (created(Case(admin=admin))[0] for admin in ({"defaults": DEFAULTS}, {}))
    assert with_defaults.spec_digest == without.spec_digest == o.DIGEST


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"allowedBucket": []}, "allowedBucket"),
        ({"allowedSources": ["s3://shared"]}, "allowedSources adds to allowedBuckets"),
        ({"allowedBuckets": ["s3://team-{team}/"]}, "another placeholder than {namespace}"),
        ({"allowedBuckets": ["team-data"]}, "allowedBuckets.0"),
        ({"maxMemory": "64GB"}, "maxMemory"),
        ({"maxGpus": -1}, "maxGpus"),
    ],
)
def test_wrong_settings_are_refused_and_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match="validation error") as error:
        Admin.model_validate(wrong)
    assert says in str(error.value)
