"""The promoted pointer on a real S3 server: which result it names whatever runs, crashes and races there are."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3_server import ADMIN, S3Server, write_credentials

from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_api.report import Artifact, EvaluationResult, MetricResult, TrainerReport
from finetune_api.spec.model import Storage as StorageSpec
from finetune_trainer.errors import CredentialsError, SettingsError
from finetune_trainer.manifest import FinalManifest
from finetune_trainer.promotion import Pointer, check_pointer, promote, service_time
from finetune_trainer.storage import Storage

NOW = "2026-01-31T12:00:00Z"
HEADLINE = MetricResult(
    name="accuracy", higher_is_better=True, baseline=0.5, tuned=0.75, low=0.1, high=0.4, interval="tango"
)


@pytest.fixture
def storage(s3: S3Server, tmp_path: Path) -> Storage:
    return connect(s3, s3.credentials_dir, tmp_path)


def connect(s3: S3Server, credentials: Path, scratch: Path) -> Storage:
    spec = StorageSpec.model_validate({"endpoint": s3.endpoint})
    return Storage.connect(spec, credentials_dir=credentials, ca_file=scratch / "ca.crt", check=lambda: None)


class Team:
    """Jobs that share one pointer, under a prefix of their own."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self.storage = storage
        self.root = f"s3://team/promotion/{prefix}"

    def layout(self, job: str) -> OutputLayout:
        return OutputLayout.of(f"{self.root}/{job}", promote_uri=f"{self.root}/served/")

    def result(self, job: str, committed: float, *, allowed: bool = True) -> FinalManifest:
        """The committed result of a job."""
        layout = self.layout(job)
        artifact = Artifact(
            uri=f"{layout.run(1)}adapter/",
            digest=f"sha256:{job}",
            size_bytes=1,
            verified=True,
            loss_difference=0.0,
            promoted_uri=layout.promoted if allowed else None,
        )
        report = TrainerReport(
            kind="train",
            outcome="succeeded",
            spec_digest=f"sha256:spec-{job}",
            artifact=artifact,
            evaluation=EvaluationResult(rows=40, metrics=[HEADLINE]),
        )
        return FinalManifest(
            spec_digest=report.spec_digest,
            data_digest="sha256:data",
            namespace="team",
            name=job,
            epoch=1,
            committed_at=service_time(committed),
            prefix=layout.run(1),
            files=[],
            report=report,
        )

    def promote(self, result: FinalManifest, storage: Storage | None = None) -> str | None:
        layout = self.layout(result.name)
        return promote(storage or self.storage, layout, result, base_model="s3://models/base", now=NOW)

    def pointer(self) -> Pointer | None:
        content = self.storage.read(f"{self.root}/served/promoted.json")
        return Pointer.model_validate_json(content) if content is not None else None

    def served(self) -> str | None:
        """The job whose artifact is to be served."""
        pointer = self.pointer()
        return pointer.name if pointer is not None else None


@pytest.fixture
def team(storage: Storage, request: pytest.FixtureRequest) -> Team:
    return Team(storage, request.node.name)


def test_the_pointer_says_what_to_serve_and_what_it_replaced(team: Team) -> None:
    first, second = team.result("first", 1.0), team.result("second", 2.0)
    assert team.promote(first) == team.promote(second) == f"{team.root}/served/promoted.json"
    assert team.pointer() == Pointer(
        uri=f"{team.root}/second/runs/0001/adapter/",
        digest="sha256:second",
        kind="adapter",
        base_model="s3://models/base",
        namespace="team",
        name="second",
        spec_digest="sha256:spec-second",
        epoch=1,
        committed_at="1970-01-01T00:00:02.000000Z",
        promoted_at=NOW,
        headline={"name": "accuracy", "baseline": 0.5, "tuned": 0.75},
        previous=f"{team.root}/first/runs/0001/adapter/",
    )


def test_a_withheld_result_leaves_the_pointer_where_it_is(team: Team) -> None:
    team.promote(team.result("good", 1.0))
    assert team.promote(team.result("bad", 2.0, allowed=False)) is None
    assert team.served() == "good"


def test_a_result_of_a_version_without_promotion_is_not_promoted(team: Team) -> None:
    assert team.promote(team.result("old", 1.0).model_copy(update={"committed_at": None})) is None
    assert team.pointer() is None


def test_promoting_again_changes_nothing(team: Team) -> None:
    result = team.result("only", 1.0)
    team.promote(result)
    before = team.storage.list_objects(team.root)
    assert team.promote(result) is not None
    assert team.storage.list_objects(team.root) == before


def test_what_a_crash_before_the_pointer_moved_left_undone_is_finished(team: Team) -> None:
    crashed = team.result("crashed", 1.0)
    assert team.served() is None
    assert team.promote(crashed) is not None
    assert team.served() == "crashed"


def test_what_a_crash_after_the_pointer_moved_left_undone_is_finished_without_moving_it_again(team: Team) -> None:
    crashed = team.result("crashed", 1.0)
    team.promote(crashed)
    team.storage.delete([team.layout("crashed").promotion(1)])
    before = team.pointer()
    assert team.promote(crashed) is not None
    assert team.pointer() == before
    assert team.storage.read(team.layout("crashed").promotion(1)) is not None


def test_a_crashed_result_does_not_take_the_place_of_a_later_one(team: Team) -> None:
    crashed = team.result("crashed", 1.0)
    team.promote(team.result("later", 2.0))
    assert team.promote(crashed) is None
    assert team.served() == "later"


def test_a_replaced_result_that_is_reported_again_stays_replaced(team: Team) -> None:
    first = team.result("first", 1.0)
    team.promote(first)
    team.promote(team.result("second", 2.0))
    assert team.promote(first) is not None  # it had its turn
    assert team.served() == "second"


def test_a_pointer_that_people_set_back_stays_back_when_the_result_is_reported_again(team: Team) -> None:
    first, second = team.result("first", 1.0), team.result("second", 2.0)
    team.promote(first)
    team.promote(second)
    earlier = team.storage.read(team.layout("first").promotion(1))
    assert earlier is not None
    team.storage.write(f"{team.root}/served/promoted.json", earlier)
    team.promote(second)
    assert team.served() == "first"


def test_of_jobs_that_promote_at_once_the_last_committed_is_served_and_none_is_forgotten(
    team: Team, s3: S3Server, tmp_path: Path
) -> None:
    results = [team.result(f"job-{number}", float(number)) for number in range(8)]
    storages = [connect(s3, s3.credentials_dir, tmp_path) for _ in results]
    with ThreadPoolExecutor(len(results)) as pool:
        promoted = list(pool.map(team.promote, results, storages))
    assert team.served() == "job-7"
    turns = [team.storage.read(team.layout(result.name).promotion(1)) for result in results]
    assert [turn is not None for turn in turns] == [uri is not None for uri in promoted]
    # Each that had its turn took the place of another one, so that they form one chain.
    replaced = [Pointer.model_validate_json(turn).previous for turn in turns if turn is not None]
    assert len(set(replaced)) == len(replaced)
    assert replaced.count(None) == 1


def test_one_result_promoted_by_a_zombie_and_its_successor_at_once_moves_the_pointer_once(
    team: Team, s3: S3Server, tmp_path: Path
) -> None:
    team.promote(team.result("before", 1.0))
    result = team.result("twice", 2.0)
    storages = [connect(s3, s3.credentials_dir, tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert None not in list(pool.map(lambda storage: team.promote(result, storage), storages))
    pointer = team.pointer()
    assert pointer is not None
    assert pointer.previous == f"{team.root}/before/runs/0001/adapter/"


def check(team: Team) -> None:
    layout = team.layout("checked")
    team.storage.write(layout.preflight, b"{ }")
    check_pointer(team.storage, layout)


@pytest.mark.parametrize("act", [lambda team: team.promote(team.result("any", 1.0)), check], ids=["move", "check"])
def test_a_foreign_object_in_the_pointers_place_is_not_overwritten(team: Team, act: Callable[[Team], Any]) -> None:
    uri = f"{team.root}/served/promoted.json"
    team.storage.write(uri, b'{"model": "mine"}')
    with pytest.raises(SettingsError, match="no pointer") as caught:
        act(team)
    assert caught.value.reason is Reason.OUTPUT_OCCUPIED
    assert team.storage.read(uri) == b'{"model": "mine"}'


def test_checking_changes_nothing(team: Team) -> None:
    team.promote(team.result("there", 1.0))
    before = team.pointer()
    check(team)
    assert team.pointer() == before
    assert team.storage.read(team.layout("checked").preflight) == b"{ }"


def test_a_place_that_the_job_may_not_write_to_is_found_before_training(
    team: Team, s3: S3Server, tmp_path: Path
) -> None:
    admin = connect(s3, write_credentials(tmp_path / "admin", ADMIN), tmp_path)
    if not any(bucket["Name"] == "other" for bucket in s3.client().list_buckets()["Buckets"]):
        s3.client().create_bucket(Bucket="other")
    layout = OutputLayout.of(f"{team.root}/mine", promote_uri="s3://other/served")
    team.storage.write(layout.preflight, b"{ }")
    check_pointer(admin, layout)
    with pytest.raises(CredentialsError, match=r"s3://other/served/promoted\.json"):
        check_pointer(team.storage, layout)
