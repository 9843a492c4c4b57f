"""Attempts that another one cannot better, though the child Job would make one: it counts exit codes and nothing else.

A container killed for memory has no code of its own, one evicted for its disk neither; and memory that has not sufficed
twice will not the third time.
"""

from finetune_api.exit_codes import RULE_BY_CODE, RULES
from finetune_api.status import FailureStatus
from finetune_operator.failures import failure_of
from finetune_operator.observe import Child


def hopeless(child: Child) -> FailureStatus | None:
    """Why an unfinished child Job should make no other attempt; None while it should, or is making one."""
    ended = [failure_of(pod) for pod in child.pods if pod.finished and pod.exit_code != 0]
    if not ended or any(pod.running for pod in child.pods):
        return None
    last = ended[-1]
    rule = next(rule for rule in RULES if rule.failure_class == last.failure_class)
    if rule.action == "FailJob":
        # One of the table's codes ends the Job anyway, and the Job's own verdict is waited for.
        return last if last.exit_code not in RULE_BY_CODE else None
    same = sum(each.failure_class == last.failure_class for each in ended)
    if rule.most is None or same < rule.most:
        return None
    return last.model_copy(update={"message": f"It happened {same} times: {last.message}"})


def about_to_end(child: Child) -> FailureStatus | None:
    """What a child Job is about to end for, whose controller has not said so yet; None if another attempt follows."""
    last = child.pods[-1] if child.pods else None
    if last is None or not last.finished or last.exit_code == 0:
        return None
    rule = RULE_BY_CODE.get(last.exit_code or 0)
    is_final = rule is not None and rule.action == "FailJob" and last.disruption is None
    return failure_of(last) if is_final or child.job.failed_pods > child.job.backoff_limit else None
