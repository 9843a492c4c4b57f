"""How a conversation becomes text: the tokenizer's own chat template, Alpaca's prompt, or plain text.

Which part of the text is the assistant's is found by rendering the conversation up to each answer and comparing, not
by markers in the template, because most published templates have none. A template that rewrites earlier turns when
the conversation goes on (it drops old reasoning, say) breaks that comparison for them, so only the turns that survive
unchanged are learnt from; the last one always does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import jinja2

from finetune_api.conditions import Reason
from finetune_api.spec.data import Template
from finetune_trainer.data.problems import RowError
from finetune_trainer.data.rows import Turn
from finetune_trainer.errors import SettingsError

_FIXED_DATE: Final = "26 Jul 2024"
"""Some templates print today's date unless given one (this is their own fallback): a run must not change overnight."""

_ALPACA: Final = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
)  # fmt: skip
_ALPACA_INPUT: Final = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A piece of a rendered conversation: text that is given, then text that the model is to write."""

    prompt: str
    answer: str
    """The assistant's words and the token that ends its turn."""


Render = Callable[[tuple[Turn, ...]], list[Exchange]]
"""A conversation that ends with the assistant, as text. Raises RowError where the template refuses it."""


def make_render(template: Template, tokenizer: Any, special_tokens: frozenset[str]) -> Render:
    """The renderer that `spec.data.template` asks for.

    Raises:
        SettingsError: the tokenizer lacks what the template needs.

    """
    if not tokenizer.eos_token:
        raise _unfit("the tokenizer has no end-of-sequence token", "set eos_token in tokenizer_config.json")
    name = template.name
    if name == "auto":
        name = "chat" if tokenizer.chat_template else "alpaca"
    if name == "chat":
        if not tokenizer.chat_template:
            raise _unfit("data.template.name is chat, but the tokenizer has no chat template", "use alpaca or plain")
        return lambda turns: _render_chat(_with_system(turns, template.system), tokenizer, special_tokens)
    ask = _ask_alpaca if name == "alpaca" else _ask_plain
    start = tokenizer.bos_token if _adds_bos(tokenizer) else ""
    return lambda turns: _render_text(_with_system(turns, template.system), ask, start, tokenizer.eos_token)


def _unfit(message: str, advice: str) -> SettingsError:
    return SettingsError(reason=Reason.MODEL_INVALID, message=message, advice=advice)


def _adds_bos(tokenizer: Any) -> bool:
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _with_system(turns: tuple[Turn, ...], system: str | None) -> tuple[Turn, ...]:
    return turns if system is None or turns[0].role == "system" else (Turn("system", system), *turns)


def _render_chat(turns: tuple[Turn, ...], tokenizer: Any, special_tokens: frozenset[str]) -> list[Exchange]:
    whole = _apply(tokenizer, turns, generate=False)
    exchanges, done = [], 0
    for index, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        prompt = _apply(tokenizer, turns[:index], generate=True)
        answered = _apply(tokenizer, turns[: index + 1], generate=False)
        if not (answered.startswith(prompt) and whole.startswith(answered)):
            continue
        answer = _to_end_of_turn(answered[len(prompt) :], special_tokens)
        exchanges.append(Exchange(whole[done : len(prompt)], answer))
        done = len(prompt) + len(answer)
    if not exchanges or done < len(whole.rstrip()):
        raise RowError(
            "the chat template does not keep the prompt unchanged when the answer follows",
            "set data.template.name to alpaca or plain, or mend the template",
        )
    if not exchanges[-1].answer.endswith(tuple(special_tokens)):
        # Without an end that it can learn, the model would never stop.
        exchanges[-1] = Exchange(exchanges[-1].prompt, exchanges[-1].answer + tokenizer.eos_token)
    return exchanges


def _apply(tokenizer: Any, turns: tuple[Turn, ...], *, generate: bool) -> str:
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generate, date_string=_FIXED_DATE
        )
    except jinja2.TemplateError as error:
        raise RowError(f"the chat template refuses it: {error}", "change the row's turns or data.template") from None
    return str(text)


def _to_end_of_turn(text: str, special_tokens: frozenset[str]) -> str:
    """Without the line end that templates put after the end-of-turn token: it belongs to the next prompt."""
    trimmed = text.rstrip()
    return trimmed if trimmed.endswith(tuple(special_tokens)) else text


def _render_text(turns: tuple[Turn, ...], ask: Callable[[Turn, bool], str], start: str, end: str) -> list[Exchange]:
    if turns[0].role == "system":
        start += f"{turns[0].content}\n\n"
        turns = turns[1:]
    exchanges = []
    for index, (asked, answered) in enumerate(list(pairwise(turns))[::2]):
        prompt = ask(asked, index == 0)
        exchanges.append(Exchange((start if index == 0 else "\n\n") + prompt, answered.content + end))
    return exchanges


def _ask_alpaca(turn: Turn, is_first: bool) -> str:
    preamble = (_ALPACA_INPUT if turn.context else _ALPACA) if is_first else ""
    context = f"### Input:\n{turn.context}\n\n" if turn.context else ""
    return f"{preamble}### Instruction:\n{turn.content}\n\n{context}### Response:\n"


def _ask_plain(turn: Turn, _is_first: bool) -> str:
    return f"{turn.text}\n\n"
