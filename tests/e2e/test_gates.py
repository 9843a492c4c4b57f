"""Gates on the cluster: the better of two models is promoted, the worse one completes and is kept out."""

import json
from pathlib import Path
from typing import Any

import pytest
from examples.demo.target import Target
from knowing_model import make_knowing_model
from team import Team, jsonl, rows

pytestmark = [pytest.mark.cluster, pytest.mark.slow(name="gates", minutes=5)]

GATE = {"metric": "loss", "op": "<", "value": 0, "relativeTo": "baseline"}
KNOWING = "s3://models/knowing"


@pytest.fixture(scope="module", autouse=True)
def _knowing_model(installed: Target, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    known = [*rows(24), *rows(6, first=900)]
    for path in make_knowing_model(tiny_model, known, tmp_path_factory.mktemp("knowing")).iterdir():
        installed.storage.upload(path, f"{KNOWING}/{path.name}")


def gated(team: Team, name: str, *, on_gate_failure: str = "withhold", wrong: bool = False) -> dict[str, Any]:
    """A job with a gate; one that is to get worse is taught wrong answers to what its base knows."""
    manifest = team.job(
        name,
        training={"tokensPerStep": 128, "learningRate": 0.01, "maxSteps": 12, "epochs": 20},
        evaluation={
            "metrics": ["exact_match"],
            "maxNewTokens": 4,
            "fewShot": 0,
            "gates": [GATE],
            "onGateFailure": on_gate_failure,
        },
        output={"uri": team.output(name), "promoteUri": team.output("served")},
    )
    if wrong:
        never = [row | {"response": "never"} for row in rows(24)]
        manifest["spec"]["model"] = {"uri": KNOWING}
        manifest["spec"]["data"]["train"] = [{"uri": team.put(f"{name}/wrong.jsonl", jsonl(never))}]
    return manifest


def served(team: Team) -> str:
    content = team.storage.read(f"{team.output('served')}/promoted.json")
    assert content is not None
    return str(json.loads(content)["name"])


def test_the_better_model_is_promoted_and_the_worse_one_is_not(team: Team) -> None:
    team.submit(gated(team, "better"))
    better = team.completed("better")
    assert team.condition("better", "GatePassed")["status"] == "True"
    assert better["artifact"]["promotedUri"] == f"{team.output('served')}/promoted.json"
    assert served(team) == "better"

    team.submit(gated(team, "worse", wrong=True))
    worse = team.completed("worse")
    gate = team.condition("worse", "GatePassed")
    assert (gate["status"], gate["reason"]) == ("False", "GatesFailed")
    assert gate["message"].startswith("loss: got ")
    assert not worse["evaluation"]["gates"][0]["passed"]
    assert "promotedUri" not in worse["artifact"]
    assert served(team) == "better"
    assert "False" in team.kubectl.run("get", "ftj", "worse").split()
    warnings = team.kubectl.items("events", "--field-selector", "type=Warning,involvedObject.name=worse")
    assert [event["reason"] for event in warnings] == ["GatesFailed"]


def test_a_gate_that_is_to_fail_the_job_does_so_at_the_first_attempt(team: Team) -> None:
    team.submit(gated(team, "failing", on_gate_failure="fail", wrong=True))
    failure = team.failed("failing")
    assert (failure["class"], failure["reason"], failure["exitCode"]) == ("Gates", "GatesFailed", 15)
    status = team.get("failing")["status"]
    assert len(status["attempts"]) == 1
    assert status["evaluation"]["gates"][0]["metric"] == "loss"
    assert [uri for uri in team.objects("failing") if uri.endswith("adapter_model.safetensors")]
