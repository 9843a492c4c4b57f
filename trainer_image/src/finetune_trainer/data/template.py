"""How a conversation becomes text: a chat template, Alpaca's prompt, or plain text.

Which part of the text is the assistant's is found by rendering the conversation up to each answer and comparing, not
by markers in the template, because most published templates have none. A template that rewrites earlier turns when
the conversation goes on (it drops old reasoning, say) breaks that comparison for them, so only the turns that survive
unchanged are learnt from; the last one always does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from finetune_api.conditions import Reason
from finetune_api.spec.data import Template
from finetune_trainer.data.chat_template import compile_chat_template
from finetune_trainer.data.encode import Encoder
from finetune_trainer.data.problems import RowError
from finetune_trainer.data.rows import Turn
from finetune_trainer.data.skeleton import Apply
from finetune_trainer.errors import SettingsError

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
    weight: float = 1.0
    """What the loss on the answer counts."""


Render = Callable[[tuple[Turn, ...], bool], list[Exchange]]
"""A conversation that ends with the assistant, as text; control strings in it are escaped already.

True gives one exchange: all but the last answer is its prompt. Raises RowError where the template refuses it.
"""


def make_render(template: Template, encoder: Encoder) -> Render:
    """The renderer that `spec.data.template` asks for; `encoder` was made for the same template.

    Raises:
        SettingsError: the tokenizer lacks what the template needs, or the user's own cannot be used.

    """
    end = encoder.tokenizer.eos_token
    if not end:
        raise _unfit("the tokenizer has no end-of-sequence token", "set eos_token in tokenizer_config.json")
    source, name = chat_template_source(template, encoder.tokenizer)
    if source is not None:
        render = _chat_render(compile_chat_template(source, name, encoder.tokenizer), encoder, end)
    else:
        ask = _ask_plain if template.name == "plain" else _ask_alpaca
        render = _text_render(ask, encoder.tokenizer.bos_token if encoder.adds_bos else "", end)

    def render_with_system(turns: tuple[Turn, ...], last_only: bool) -> list[Exchange]:
        return _require_weight(render(_with_system(turns, template.system), last_only))

    return render_with_system


def chat_template_source(template: Template, tokenizer: Any) -> tuple[str | None, str]:
    """The chat template in use and what to call it; None for templates that are no Jinja.

    Raises:
        SettingsError: `chat` is asked for and the tokenizer has none.

    """
    if template.jinja is not None:
        return template.jinja, "data.template.jinja"
    if template.name not in ("auto", "chat"):
        return None, template.name
    if tokenizer.chat_template:
        return str(tokenizer.get_chat_template()), "the tokenizer's chat template"
    if template.name == "chat":
        raise _unfit("data.template.name is chat, but the tokenizer has no chat template", "use alpaca or plain")
    return None, "alpaca"


def _unfit(message: str, advice: str) -> SettingsError:
    return SettingsError(reason=Reason.MODEL_INVALID, message=message, advice=advice)


def _with_system(turns: tuple[Turn, ...], system: str | None) -> tuple[Turn, ...]:
    return turns if system is None or turns[0].role == "system" else (Turn("system", system), *turns)


def _require_weight(exchanges: list[Exchange]) -> list[Exchange]:
    if not any(exchange.weight for exchange in exchanges):
        raise RowError(
            "every answer that could be learnt from has weight 0",
            "give the last assistant turn a weight above 0 or remove the row",
        )
    return exchanges


def _chat_render(apply: Apply, encoder: Encoder, end: str) -> Render:
    ends = tuple(encoder.control_tokens)

    def render(turns: tuple[Turn, ...], last_only: bool) -> list[Exchange]:
        whole = apply(turns, False)
        exchanges, done = [], 0
        for index, turn in enumerate(turns):
            is_last = index == len(turns) - 1
            if turn.role != "assistant" or (last_only and not is_last):
                continue
            prompt = apply(turns[:index], True)
            answered = whole if is_last else apply(turns[: index + 1], False)
            if not (answered.startswith(prompt) and whole.startswith(answered)):
                continue
            answer = _to_end_of_turn(answered[len(prompt) :], ends)
            exchanges.append(Exchange(whole[done : len(prompt)], answer, turn.weight))
            done = len(prompt) + len(answer)
        if not exchanges or done < len(whole.rstrip()):
            raise RowError(
                "the chat template does not keep the prompt unchanged when the answer follows",
                "mend it in data.template.jinja, or set data.template.name to alpaca or plain",
            )
        if not exchanges[-1].answer.endswith(ends):
            # Without an end that it can learn, the model would never stop.
            exchanges[-1] = replace(exchanges[-1], answer=exchanges[-1].answer + end)
        return exchanges

    return render


def _to_end_of_turn(text: str, ends: tuple[str, ...]) -> str:
    """Without the line end that templates put after the end-of-turn token: it belongs to the next prompt."""
    trimmed = text.rstrip()
    return trimmed if trimmed.endswith(ends) else text


def _joined(exchanges: Sequence[Exchange]) -> Exchange:
    """A conversation as one exchange, all but the last answer as its prompt."""
    *earlier, last = exchanges
    before = "".join(exchange.prompt + exchange.answer for exchange in earlier)
    return replace(last, prompt=before + last.prompt)


def _text_render(ask: Callable[[Turn, bool], str], start: str, end: str) -> Render:
    def render(turns: tuple[Turn, ...], last_only: bool) -> list[Exchange]:
        exchanges = _render_text(turns, ask, start, end)
        return [_joined(exchanges)] if last_only else exchanges

    return render


def _render_text(turns: tuple[Turn, ...], ask: Callable[[Turn, bool], str], start: str, end: str) -> list[Exchange]:
    if turns[0].role == "system":
        start += f"{turns[0].content}\n\n"
        turns = turns[1:]
    exchanges = []
    for index, (asked, answered) in enumerate(list(pairwise(turns))[::2]):
        prompt = ask(asked, index == 0)
        text = (start if index == 0 else "\n\n") + prompt
        exchanges.append(Exchange(text, answered.content + end, answered.weight))
    return exchanges


def _ask_alpaca(turn: Turn, is_first: bool) -> str:
    preamble = (_ALPACA_INPUT if turn.context else _ALPACA) if is_first else ""
    context = f"### Input:\n{turn.context}\n\n" if turn.context else ""
    return f"{preamble}### Instruction:\n{turn.content}\n\n{context}### Response:\n"


def _ask_plain(turn: Turn, _is_first: bool) -> str:
    return f"{turn.text}\n\n"
