"""Teams on one S3 server, each with an identity of its own: what is another team's is neither read nor written."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from s3_server import NEIGHBOUR, SHARED, write_credentials
from trainer_run import Bench, Outcome, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode
from finetune_trainer.errors import CredentialsError
from finetune_trainer.storage import Storage

OWN = f"s3://{SHARED}/neighbour"
THEIRS = f"s3://{SHARED}/other-team"


@pytest.fixture(scope="module")
def credentials(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The neighbour's keys; a model and rows lie in its prefix, and the same in another team's."""
    client = bench.s3.client()
    client.create_bucket(Bucket=SHARED)
    rows = "".join(json.dumps(row) + "\n" for row in add_rows(60)).encode()
    for team in ("neighbour", "other-team"):
        client.put_object(Bucket=SHARED, Key=f"{team}/rows.jsonl", Body=rows)
        for key in bench.s3.keys("s3://team/models/tiny/"):
            client.put_object(
                Bucket=SHARED, Key=f"{team}/model/{key}", Body=bench.s3.get(f"s3://team/models/tiny/{key}")
            )
    return write_credentials(tmp_path_factory.mktemp("neighbour"), NEIGHBOUR)


def preflight(bench: Bench, credentials: Path, name: str, **sections: Any) -> Outcome:
    own: dict[str, Any] = {
        "model": {"uri": f"{OWN}/model"},
        "data": {"train": [{"uri": f"{OWN}/rows.jsonl"}]},
        "output": {"uri": f"{OWN}/{name}"},
    }
    request = bench.request(name, "preflight", **{**own, **sections})
    return bench.run(request, credentials)


def keys(bench: Bench, prefix: str) -> dict[str, str]:
    listed = bench.s3.client().list_objects_v2(Bucket=SHARED, Prefix=prefix).get("Contents", [])
    return {item["Key"]: item["ETag"] for item in listed}


def test_a_prefix_of_its_own_is_all_that_a_job_needs(bench: Bench, credentials: Path) -> None:
    done = preflight(bench, credentials, "own")
    assert done.code == ExitCode.SUCCESS, done.output
    assert all(key.startswith("neighbour/") for key in keys(bench, "") if not key.startswith("other-team/"))


# what is tried, what the message says of it
FOREIGN: dict[str, tuple[Callable[[Storage], object], str]] = {
    "read": (lambda storage: storage.read(f"{THEIRS}/rows.jsonl"), f"cannot read {THEIRS}/rows.jsonl"),
    "list": (lambda storage: storage.list_objects(f"{THEIRS}/"), f"cannot list {THEIRS}/"),
    "list the whole bucket": (lambda storage: storage.list_objects(f"s3://{SHARED}/"), f"cannot list s3://{SHARED}/"),
    "write": (lambda storage: storage.write(f"{THEIRS}/x", b""), f"cannot write {THEIRS}/x"),
    "overwrite": (lambda storage: storage.write(f"{THEIRS}/rows.jsonl", b""), f"cannot write {THEIRS}/rows.jsonl"),
    "claim": (lambda storage: storage.write_if_absent(f"{THEIRS}/out/epochs/0001.json", b""), "cannot write"),
    "uploads": (lambda storage: storage.open_uploads(f"{THEIRS}/"), f"cannot list uploads {THEIRS}/"),
    "another bucket": (lambda storage: storage.write("s3://team/out/x", b""), "cannot write s3://team/out/x"),
}


@pytest.mark.parametrize(("attempt", "says"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_another_teams_is_refused_by_name_and_left_as_it_is(
    bench: Bench, credentials: Path, attempt: Callable[[Storage], object], says: str
) -> None:
    before = keys(bench, "other-team/")
    spec = bench.request("any").spec.storage
    storage = Storage.connect(spec, credentials_dir=credentials, ca_file=Path("no-ca"), check=lambda: None)
    with pytest.raises(CredentialsError) as refused:
        attempt(storage)
    assert refused.value.reason == Reason.ACCESS_DENIED
    assert says in refused.value.message
    assert "allow this identity to" in refused.value.advice.lower()
    assert keys(bench, "other-team/") == before


def test_deleting_another_teams_objects_removes_none(bench: Bench, credentials: Path) -> None:
    """Refused, or taken for done by a server that says nothing: SeaweedFS does the latter."""
    before = keys(bench, "other-team/")
    spec = bench.request("any").spec.storage
    storage = Storage.connect(spec, credentials_dir=credentials, ca_file=Path("no-ca"), check=lambda: None)
    with suppress(CredentialsError):
        storage.delete([f"{THEIRS}/rows.jsonl"])
    assert keys(bench, "other-team/") == before


def test_a_job_with_an_output_in_another_teams_prefix_ends_with_its_uri(bench: Bench, credentials: Path) -> None:
    done = preflight(bench, credentials, "foreign", output={"uri": f"{THEIRS}/out"})
    assert (done.code, done.report.failure.reason) == (ExitCode.CREDENTIALS, Reason.ACCESS_DENIED), done.output
    assert f"{THEIRS}/out" in done.report.failure.message
    assert not [key for key in keys(bench, "other-team/") if "/out" in key]
