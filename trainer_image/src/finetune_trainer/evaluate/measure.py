"""One model on the test prompts: its answers, and the loss of the reference answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_api.conditions import Reason
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data.prompts import Prompt
from finetune_trainer.errors import StopRequested
from finetune_trainer.evaluate.generate import generate
from finetune_trainer.evaluate.score import RowLoss, score


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers and losses in the order of the prompts; an answer that never ended counts as it stands."""

    answers: list[str]
    losses: list[RowLoss]


def measure(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    evaluation: Evaluation,
    stop_ids: frozenset[int],
    batch_tokens: int,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> Measured:
    """Answer and score all prompts; `on_progress(done, total)` counts rows, each once answered and once scored.

    Raises:
        StopRequested: `should_stop` was true between two tokens or two batches.

    """
    done, total = 0, 2 * len(prompts)

    def check() -> None:
        if should_stop():
            raise StopRequested(
                reason=Reason.PREEMPTED,
                message=f"asked to stop during evaluation, {done} of {total} rows done",
                advice="nothing to do: the next attempt evaluates again",
            )

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        on_progress(done, total)
        check()

    answers = generate(
        model,
        [prompt.token_ids for prompt in prompts],
        max_new_tokens=evaluation.max_new_tokens,
        stop_ids=stop_ids,
        batch_size=evaluation.batch_size,
        on_batch=count,
        on_token=check,
    )
    losses = score(model, [prompt.scored() for prompt in prompts], batch_tokens, count)
    texts = [str(tokenizer.decode(answer.token_ids, skip_special_tokens=True)).strip() for answer in answers]
    return Measured(texts, losses)
