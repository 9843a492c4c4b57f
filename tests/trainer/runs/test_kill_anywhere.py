"""A trainer that is killed at any moment loses nothing but the steps since its last checkpoint.

Signals come from outside and go to the whole process group. Every trial ends with the adapter of an unbroken run, bit
for bit, after exactly the steps that no checkpoint held (`BreakableJob.finish`), and resumes only from a checkpoint
that is whole by the test's own reading of the bucket (`Attempt.wait`).
"""

import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fault_proxy import Hold, Place, Rule
from killed_run import ADAPTER, STEPS, Attempt, BreakableJob, Ended, command_line

from finetune_api.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(1800)
FIRST_COMMIT = r"checkpoints/.*/manifest.json"
"""What comes after the first of these is the second checkpoint's; of which step that is, the uploads' pace decides."""


@dataclass(frozen=True)
class Line:
    """Kill when the log has this line, a moment after."""

    pattern: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Request:
    """Kill while this request stands half way."""

    method: str
    path: str
    place: Place = "request"
    after: str = ""


@dataclass(frozen=True)
class Phase:
    """A moment of a run, and what is left of it for the next attempt."""

    kill: Line | Request
    checkpoint: int | None
    """Which checkpoint the next attempt goes on from, counted from 1; 0 is none, LAST that of the last step, ANY the
    newest: the upload of the last one goes on while the evaluation begins."""
    seen: str
    """The log has this when it is killed."""
    unseen: str = "never"
    """And not this."""


def upload(name: str, place: Place = "request") -> Request:
    """A file of the second checkpoint is on its way."""
    return Request("PUT", f"checkpoints/.*/{name}", place, after=FIRST_COMMIT)


def result(name: str, place: Place = "request") -> Request:
    """A file of the result is on its way."""
    return Request("PUT", f"/out/{name}", place)


CLAIMED, LOADING = "this is attempt 1", "INFO loading the base model"
BASELINE, REHEARSING, EVALUATING, VERIFYING = (
    f'"stage":"{stage}"' for stage in ("baseline", "rehearsing", "evaluating", "verifying")
)


def saved(count: int) -> str:
    """So many checkpoints are committed."""
    return "(?s)" + ".*".join([r"checkpoint of step \d+ is committed"] * count)


TOLD_OF_TWO = r'(?s)"checkpoint":{"step":(\d+),.*"checkpoint":{"step":(?!\1,)'
LAST, ANY = -1, None
COMMITTED = "the result is committed"

PHASES = {
    "claim": Phase(Request("PUT", "epochs/0001", "answer"), 0, '"stage":"loading"', CLAIMED),
    "download of the model": Phase(Request("GET", "model.safetensors", "answer"), 0, CLAIMED, LOADING),
    "download of the data": Phase(Request("GET", ".prepared/.*/train", "answer"), 0, CLAIMED, LOADING),
    "load": Phase(Line(LOADING), 0, LOADING, BASELINE),
    "baseline": Phase(Line(BASELINE), 0, BASELINE, REHEARSING),
    "first steps": Phase(Line("rows are packed"), 0, REHEARSING, saved(1)),
    "mid-step": Phase(Line(TOLD_OF_TWO, 0.03), 2, saved(2), saved(3)),
    "upload of state.safetensors": Phase(upload("state.safetensors"), 1, saved(1), saved(2)),
    "upload of counters.json": Phase(upload("counters.json"), 1, saved(1), saved(2)),
    "upload of a checkpoint's metrics.jsonl": Phase(upload("metrics.jsonl"), 1, saved(1), saved(2)),
    "upload of a checkpoint's manifest.json": Phase(upload("manifest.json"), 1, saved(1), saved(2)),
    "commit of a checkpoint, answer lost": Phase(upload("manifest.json", "answer"), 2, saved(1), saved(2)),
    "removal of an old checkpoint": Phase(Request("POST", "delete", "answer"), 3, saved(2), EVALUATING),
    "evaluation": Phase(Line(EVALUATING + f'.*"checkpoint":{{"step":{STEPS}'), LAST, EVALUATING, '"stage":"uploading"'),
    "upload of answers so far": Phase(result("evaluations/.*json"), ANY, EVALUATING, '"stage":"uploading"'),
    "upload of adapter_config.json": Phase(
        result("runs/0001/adapter/adapter_config.json"), LAST, EVALUATING, VERIFYING
    ),
    "upload of adapter_model.safetensors": Phase(result(f"runs/0001/{ADAPTER}"), LAST, EVALUATING, VERIFYING),
    "upload of metrics.jsonl": Phase(result("runs/0001/metrics.jsonl"), LAST, EVALUATING, VERIFYING),
    "upload of examples.jsonl": Phase(result("runs/0001/examples.jsonl"), LAST, EVALUATING, VERIFYING),
    "verification in its own process": Phase(
        Request("GET", f"runs/0001/{ADAPTER}", "answer"), LAST, VERIFYING, COMMITTED
    ),
    "upload of the model card": Phase(
        result("runs/0001/adapter/README.md"), LAST, "read back from S3 scores", COMMITTED
    ),
    "upload of report.html": Phase(result("runs/0001/report.html"), LAST, "read back from S3 scores", COMMITTED),
    "upload of report.json": Phase(result("runs/0001/report.json"), LAST, "read back from S3 scores", COMMITTED),
    "final commit": Phase(result("manifest.json"), LAST, "read back from S3 scores", COMMITTED),
    "final commit, answer lost": Phase(result("manifest.json", "answer"), LAST, "read back from S3 scores", COMMITTED),
    "removal of all checkpoints": Phase(
        Request("POST", "delete", "answer", after="/out/manifest.json"), LAST, COMMITTED
    ),
    "move of the promoted pointer": Phase(result("promoted.json"), LAST, COMMITTED),
    "move of the promoted pointer, answer lost": Phase(result("promoted.json", "answer"), LAST, COMMITTED),
    "mark of the promotion": Phase(result("runs/0001/promoted.json"), LAST, COMMITTED),
}
COMMITTED_BEFORE_THE_KILL = {
    "final commit, answer lost",
    "removal of all checkpoints",
    "move of the promoted pointer",
    "move of the promoted pointer, answer lost",
    "mark of the promotion",
}


def signal_at(moment: Line | Request, job: BreakableJob, number: signal.Signals) -> Ended:
    """Start a trainer by its true command line, signal its group at a moment, and wait for its end."""
    hold = Hold(moment.place) if isinstance(moment, Request) else None
    job.begin(*([Rule(moment.method, moment.path, hold, after=moment.after)] if hold else []))
    attempt = job.start(command_line)
    if hold:
        attempt.wait_until(hold.reached.is_set, moment)
    else:
        attempt.wait_for(moment.pattern)
        attempt.pause(moment.seconds)
    assert attempt.signal(number), "it had ended before"
    if hold:
        (held,) = (seen for seen in job.proxy.log if seen.fault is hold)
        assert held.status is None, "the request had been answered before"
        if number == signal.SIGTERM:
            hold.released.set()  # What works on may try again.
    ended = attempt.wait()
    if hold:
        hold.released.set()
    return ended


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow(name=f"kill: {name}", minutes=0.7)) for name in PHASES]
)
def test_killed_inside_a_phase_the_job_ends_as_if_unbroken(name: str, breakable: BreakableJob) -> None:
    phase = PHASES[name]
    killed = signal_at(phase.kill, breakable, signal.SIGKILL)
    assert killed.outcome.code == -signal.SIGKILL
    assert re.search(phase.seen, killed.log), killed.log
    assert not re.search(phase.unseen, killed.log), killed.log
    begun = breakable.begun_checkpoints()
    last = breakable.finish()
    assert last.outcome.report.adopted == (name in COMMITTED_BEFORE_THE_KILL)
    if phase.checkpoint == 0:
        assert last.newest is None
    elif phase.checkpoint is not ANY and not last.outcome.report.adopted:
        assert last.newest is not None
        assert last.newest.prefix == begun[phase.checkpoint if phase.checkpoint == LAST else phase.checkpoint - 1]
        assert (last.newest.step == STEPS) == (phase.checkpoint == LAST)


def test_the_table_has_every_file_that_a_run_uploads(breakable: BreakableJob) -> None:
    places = [phase.kill.path for phase in PHASES.values() if isinstance(phase.kill, Request)]
    uploaded = sorted(f"/out/{key}" for key in breakable.uploaded)
    assert [key for key in uploaded if not any(re.search(place, key) for place in places)] == []


def signal_at_random(rng: random.Random, job: BreakableJob, number: signal.Signals) -> Attempt:
    """Start a trainer and signal it at a moment that `rng` decides; the attempt, which may still be at work.

    First a stage is drawn, most often training, and then a moment of the time that the unbroken run spent there: drawn
    from the whole time alone, most would hit the wait for the process that verifies.
    """
    begins = [*job.unbroken.stages.items(), ("", job.unbroken.seconds)]
    lasts = {stage: begins[index + 1][1] - begin for index, (stage, begin) in enumerate(begins[:-1])}
    while True:
        (stage,) = rng.choices(list(lasts), [5 if stage == "training" else 1 for stage in lasts])
        job.begin()
        attempt = job.start()
        attempt.wait_for(f'"stage":"{stage}"')
        attempt.pause(rng.uniform(0, lasts[stage]))
        if attempt.signal(number):
            return attempt
        attempt.wait()  # It had ended before.


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow(name=f"random kill {seed}", minutes=0.4)) for seed in range(50)]
)
def test_killed_at_a_random_moment_the_job_ends_as_if_unbroken(seed: int, breakable: BreakableJob) -> None:
    rng = random.Random(seed)
    while signal_at_random(rng, breakable, signal.SIGKILL).wait().outcome.code != -signal.SIGKILL:
        pass  # The signal met a process that was already on its way out.
    breakable.finish()


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow(name=f"random stop {seed}", minutes=0.4)) for seed in range(20)]
)
def test_asked_to_stop_at_a_random_moment_no_step_is_lost(seed: int, breakable: BreakableJob) -> None:
    rng = random.Random(1000 + seed)
    attempt = signal_at_random(rng, breakable, signal.SIGTERM)
    if rng.random() < 0.5:
        attempt.pause(rng.uniform(0, 0.2))
        attempt.signal(signal.SIGTERM)
    stopped = attempt.wait()
    assert stopped.outcome.code in (ExitCode.PREEMPTED, ExitCode.SUCCESS), stopped.log
    last = breakable.finish()
    assert stopped.executed + last.executed == STEPS


STOPS = {
    "download of the model": Request("GET", "model.safetensors", "answer"),
    "load": Line(LOADING),
    "baseline": Line(BASELINE),
    "steps": Line(TOLD_OF_TWO, 0.03),
    "upload of a checkpoint": upload("state.safetensors"),
    "evaluation": Line(EVALUATING),
    "upload of the adapter": result(f"runs/0001/{ADAPTER}"),
    "start of the process that verifies": Line(VERIFYING, 0.5),
    "verification in its own process": Request("GET", f"runs/0001/{ADAPTER}", "answer"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow(name=f"stop: {name}", minutes=0.4)) for name in STOPS]
)
def test_asked_to_stop_inside_a_phase_no_step_is_lost(name: str, breakable: BreakableJob) -> None:
    stopped = signal_at(STOPS[name], breakable, signal.SIGTERM)
    assert stopped.outcome.code == ExitCode.PREEMPTED, stopped.log
    assert stopped.outcome.report.outcome == "preempted"
    last = breakable.finish()
    assert stopped.executed + last.executed == STEPS


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "corrupted": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "missing": lambda content: None,
}
FILES = ("state.safetensors", "counters.json", "metrics.jsonl", "manifest.json")


@pytest.fixture(scope="module")
def two_checkpoints(breakable: BreakableJob) -> dict[str, bytes]:
    """The output of a job that was killed after its third checkpoint, of which it keeps two."""
    breakable.begin()
    attempt = breakable.start()
    attempt.wait_for(saved(3))
    assert attempt.signal(signal.SIGKILL)
    attempt.wait()
    return breakable.snapshot()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        pytest.param(file, damage, marks=pytest.mark.slow(name=f"{damage} {file}", minutes=0.3))
        for file in FILES
        for damage in DAMAGES
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    file: str, damage: str, breakable: BreakableJob, two_checkpoints: dict[str, bytes]
) -> None:
    breakable.begin()
    breakable.put(two_checkpoints)
    newest, before, *_ = breakable.whole_checkpoints()
    key = f"{newest.prefix}{file}".removeprefix(breakable.root)
    damaged = DAMAGES[damage](two_checkpoints[key])
    breakable.remove([key])
    if damaged is not None:
        breakable.put({key: damaged})
    assert breakable.finish().newest == before


@pytest.mark.slow(name="every checkpoint damaged", minutes=0.3)
def test_where_every_checkpoint_is_damaged_the_job_begins_anew(
    breakable: BreakableJob, two_checkpoints: dict[str, bytes]
) -> None:
    breakable.begin()
    breakable.put({
        key: content[:100] if key.endswith("state.safetensors") else content
        for key, content in two_checkpoints.items()
    })  # fmt: skip
    assert breakable.finish().newest is None
