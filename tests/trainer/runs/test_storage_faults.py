"""What S3 does wrong costs nothing: an attempt rides it out, or ends with its class and the next one goes on.

A proxy in front of the real server injects the faults. However an attempt ends, the job ends with the adapter of an
unbroken run, bit for bit, after exactly the steps that no checkpoint held (`BreakableJob.finish`).
"""

import re
import signal
from dataclasses import dataclass

import pytest
from fault_proxy import Answer, Cut, Rule, Slow
from killed_run import BreakableJob

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(1800)
UNAVAILABLE = Answer(503, "SlowDown")
BROKEN = Answer(500, "InternalError")
FULL = Answer(507, "QuotaExceeded")
FORBIDDEN = Answer(403, "AccessDenied")
STATE, COMMIT = "checkpoints/.*/state", "checkpoints/.*/manifest"


def everything(fault: Answer, after: str = "") -> Rule:
    """A fault of every request, for good."""
    return Rule(".*", "", fault, times=None, after=after)


RIDDEN_OUT = {
    "a 500 for each file of a checkpoint": [
        Rule("PUT", f"checkpoints/.*/{name}", BROKEN) for name in ("state", "counters", "metrics", "manifest")
    ],
    "a 503 for the model": [Rule("GET", "model.safetensors", UNAVAILABLE, times=2)],
    "a 503 for the claim": [Rule("PUT", "epochs/", UNAVAILABLE)],
    "a 503 for the final commit": [Rule("PUT", "/out/manifest.json", UNAVAILABLE, times=2)],
    "a slow model": [Rule("GET", "model.safetensors", Slow(1.0, 200_000))],
    "slow uploads": [Rule("PUT", "checkpoints/", Slow(0.1, 100_000), times=None)],
    "an upload cut in the middle": [Rule("PUT", STATE, Cut("request"), times=2)],
    "a download cut in the middle": [Rule("GET", "model.safetensors", Cut("answer"), times=2)],
    "a claim whose answer is lost": [Rule("PUT", "epochs/", Cut("answer"))],
    "a checkpoint's commit whose answer is lost": [Rule("PUT", COMMIT, Cut("answer"))],
    "a final commit whose answer is lost": [Rule("PUT", "/out/manifest.json", Cut("answer"))],
    "listings cut in the middle": [Rule("GET", "prefix=breakable/out/checkpoints", Cut("answer"), skip=1, times=2)],
    "no right to delete": [Rule("POST", "delete", FORBIDDEN, times=None)],
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow(name=f"fault: {name}", minutes=0.3)) for name in RIDDEN_OUT]
)
def test_a_passing_fault_is_ridden_out_by_the_same_attempt(name: str, breakable: BreakableJob) -> None:
    breakable.begin(*RIDDEN_OUT[name])
    assert breakable.finish().outcome.report.epoch == 1
    assert any(seen.fault for seen in breakable.proxy.log), "the fault was not met"


@pytest.mark.slow(name="fault: a small object cut in the middle", minutes=0.3)
def test_a_small_object_cut_in_the_middle_is_read_again(breakable: BreakableJob) -> None:
    breakable.begin(Rule("GET", "prepared.json", Cut("answer")))
    breakable.finish()


@dataclass(frozen=True)
class Lasting:
    """A fault that an attempt can't ride out."""

    rule: Rule
    code: ExitCode
    reason: Reason
    message: str
    """What the report says."""
    checkpoint: int
    """Which checkpoint the next attempt goes on from when the fault is gone, counted from 0; -1 is the last."""


LASTING = {
    "S3 goes away in mid-run": Lasting(
        everything(UNAVAILABLE, after=COMMIT), ExitCode.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, "SlowDown", 0
    ),
    "uploads break in mid-run": Lasting(
        Rule("PUT", ".*", BROKEN, times=None, after=COMMIT),
        ExitCode.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, "InternalError", 0,
    ),
    "the bucket is full": Lasting(
        Rule("PUT", ".*", FULL, times=None, after=COMMIT),
        ExitCode.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, "no room", 0,
    ),
    "the key is revoked in mid-run": Lasting(
        everything(FORBIDDEN, after=COMMIT), ExitCode.CREDENTIALS, Reason.ACCESS_DENIED, "403", 0
    ),
    "the right to write is revoked in mid-run": Lasting(
        Rule("PUT", ".*", FORBIDDEN, times=None, after=COMMIT),
        ExitCode.CREDENTIALS, Reason.ACCESS_DENIED, "may not write", 0,
    ),
    "the artifact can't be uploaded": Lasting(
        Rule("PUT", "runs/", BROKEN, times=None),
        ExitCode.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, "adapter_config.json", -1,
    ),
    "the artifact can't be read back": Lasting(
        Rule("GET", "runs/.*adapter_model", UNAVAILABLE, times=None),
        ExitCode.INFRASTRUCTURE, Reason.STORAGE_UNAVAILABLE, "adapter_model.safetensors", -1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow(name=f"fault: {name}", minutes=0.7)) for name in LASTING]
)
def test_a_lasting_fault_ends_the_attempt_and_the_next_goes_on(name: str, breakable: BreakableJob) -> None:
    fault = LASTING[name]
    breakable.begin(fault.rule)
    ended = breakable.start().wait()
    failure = ended.outcome.report.failure
    assert (ended.outcome.code, failure and failure.reason) == (fault.code, fault.reason), ended.log
    assert failure is not None
    assert fault.message in failure.message
    whole = breakable.begun_checkpoints()[fault.checkpoint]
    breakable.proxy.inject()
    last = breakable.finish()
    assert last.newest is not None
    assert last.newest.prefix == whole


@pytest.mark.slow(name="fault: a checkpoint that cannot be read now", minutes=0.7)
def test_a_checkpoint_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(breakable: BreakableJob) -> None:
    breakable.begin()
    first = breakable.start()
    first.wait_for("checkpoint of step .* is committed")
    assert first.signal(signal.SIGKILL)
    first.wait()
    newest = breakable.whole_checkpoints()[0]

    breakable.proxy.inject(Rule("GET", "state.safetensors", UNAVAILABLE, times=None))
    second = breakable.start().wait()
    assert second.outcome.code == ExitCode.INFRASTRUCTURE, second.log
    assert not re.search("fall(s|ing) back", second.log)
    assert second.executed == 0

    breakable.proxy.inject()
    assert breakable.finish().newest == newest
