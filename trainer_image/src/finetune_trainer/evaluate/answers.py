"""`sft`: every model answers the test prompts, and the loss of the reference answers is measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune_api.report import EvaluationResult, RivalName
from finetune_trainer.data.prompts import Prompt, PromptSets
from finetune_trainer.evaluate.batches import Recording
from finetune_trainer.evaluate.compare import Example, ExampleResult, Failings, Measured, compare
from finetune_trainer.evaluate.errors import classify_answer
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.generate import generate
from finetune_trainer.evaluate.metrics import LOSS, METRICS, PERPLEXITY, language_tables
from finetune_trainer.evaluate.score import score


class AnswerExaminer:
    """Greedy answers, scored against the references; an answer that never ended counts as it stands."""

    def __init__(self, bench: Bench, prompts: PromptSets, datasets: Sequence[str]) -> None:
        """`datasets` names the data set of each prompt."""
        self._bench, self._prompts, self._datasets = bench, prompts, datasets

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with its answer."""
        room = self._bench.evaluation.max_new_tokens
        asked = [*self._prompts.plain, *(self._prompts.few_shot or [])]
        return max(len(prompt.token_ids) + max(room, len(prompt.answer_ids)) for prompt in asked)

    def base(self, model: Any) -> Measured:
        """The untouched base model."""
        return self._measure(model, self._prompts.plain, self._bench.of_base)

    def rivals(self, model: Any) -> dict[RivalName, Measured]:
        """The base with worked examples in its prompt."""
        few_shot = self._prompts.few_shot
        return {"few_shot": self._measure(model, few_shot, self._bench.of_base)} if few_shot else {}

    def tuned(self, model: Any, subject: str | None = None) -> Measured:
        """The model with its adapter."""
        return self._measure(model, self._prompts.plain, self._bench.recording(subject))

    def compare(
        self, *, baseline: Measured, rivals: Mapping[RivalName, Measured], tuned: Measured
    ) -> tuple[EvaluationResult, list[ExampleResult]]:
        """The asked scores, then loss and perplexity of the references."""
        examples = [
            Example(str(prompt.source), prompt.question, prompt.reference, dataset, len(prompt.token_ids))
            for prompt, dataset in zip(self._prompts.plain, self._datasets, strict=True)
        ]
        metrics = [*(METRICS[name] for name in self._bench.metrics), LOSS, PERPLEXITY]
        ended = tuned.finished or [True] * len(examples)
        classes = [
            classify_answer(answer, example.reference, example.prompt, finished=finished)
            for answer, example, finished in zip(tuned.answers, examples, ended, strict=True)
        ]
        return compare(
            examples,
            metrics,
            baseline=baseline,
            rivals=rivals,
            tuned=tuned,
            seed=self._bench.seed,
            failings=Failings(classes),
        )

    def _measure(self, model: Any, prompts: Sequence[Prompt], recording: Recording) -> Measured:
        bench = self._bench
        answers = generate(
            model,
            [prompt.token_ids for prompt in prompts],
            max_new_tokens=bench.evaluation.max_new_tokens,
            stop_ids=self._prompts.stop_ids,
            batch_size=bench.evaluation.batch_size,
            on_batch=bench.watch.batch,
            on_token=bench.watch.check,
            recording=recording,
        )
        asked = [prompt.scored() for prompt in prompts]
        losses = score(model, asked, bench.batch_tokens, bench.watch.batch, recording)
        texts = [str(bench.tokenizer.decode(each.token_ids, skip_special_tokens=True)).strip() for each in answers]
        references = [prompt.reference for prompt in prompts]
        scores = {name: METRICS[name].table(texts, references) for name in bench.metrics}
        return Measured(texts, scores | language_tables(losses), [each.finished for each in answers])
