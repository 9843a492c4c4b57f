"""A child Job that could not be created: whose name it is and what the API server said decide what follows."""

import pytest
from scenarios import VALIDATED, Scenario, check

from finetune_api.names import Kind
from finetune_operator.observe import Refusal, RefusalKind


def refused(job: Kind, kind: RefusalKind, message: str) -> dict[Kind, Refusal]:
    return {job: Refusal(kind=kind, message=message)}


SCENARIOS = {
    "a foreign Job is a collision": Scenario(
        refusals=refused("preflight", RefusalKind.FOREIGN, "tune-preflight"),
        phase="Failed",
        reason="NameCollision",
        says="tune-preflight exists",
    ),
    "a leftover Job is waited for": Scenario(
        refusals=refused("preflight", RefusalKind.LEFTOVER, "Waiting for an earlier Job"),
        phase="Pending",
        reason="Pending",
    ),
    "a refused Job stalls and is tried again": Scenario(
        refusals=refused("preflight", RefusalKind.REFUSED, "exceeded quota: small"),
        phase="Pending",
        reason="QuotaExceeded",
        says="exceeded quota",
    ),
    "a policy's refusal is told apart from a quota's": Scenario(
        refusals=refused("preflight", RefusalKind.REFUSED, 'admission webhook "w" denied the request: no'),
        phase="Pending",
        reason="AdmissionDenied",
    ),
    "any other refusal too": Scenario(
        refusals=refused("preflight", RefusalKind.REFUSED, "Job is invalid"),
        phase="Pending",
        reason="CreateRefused",
    ),
    "a refused training Job leaves the job validated": Scenario(
        status=VALIDATED,
        refusals=refused("train", RefusalKind.REFUSED, "exceeded quota: small"),
        phase="Starting",
        reason="QuotaExceeded",
        says="refused the train Job: exceeded quota",
    ),
}


@pytest.mark.parametrize("case", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Scenario) -> None:
    check(case)
