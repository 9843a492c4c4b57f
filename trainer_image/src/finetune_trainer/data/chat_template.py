"""Chat templates of tokenizers and of users: Jinja that somebody else wrote, run in the sandbox of transformers.

The compiled template is called without `apply_chat_template` around it, which takes longer than rendering itself and
adds nothing for turns of text; a test holds the two against each other.
"""

import datetime
from collections.abc import Sequence
from typing import Any, Final

import jinja2

from finetune_api.conditions import Reason
from finetune_trainer.data.problems import RowError
from finetune_trainer.data.rows import Turn
from finetune_trainer.data.skeleton import Apply, Skeletons, copies_content
from finetune_trainer.errors import SettingsError

_FIXED_DATE: Final = datetime.datetime(2024, 7, 26)
"""Some templates print today's date (Llama's fall back to this one): a run must not change overnight."""
_LONGEST: Final = 64 << 20
"""Characters that a rendered row may have: twice the bytes of the longest row."""
_MOST_ROUNDS: Final = 1_000_000
"""Rounds that all loops over `range` in one rendering may have together."""


def compile_chat_template(source: str, name: str, tokenizer: Any) -> Apply:
    """A template ready to be applied; `name` is what messages call it.

    Raises:
        SettingsError: it is no Jinja, or does what the sandbox forbids.

    """
    # Imported when it is needed: preflight hides torch from transformers before it is loaded.
    from transformers.utils.chat_template_utils import _compile_jinja_template  # noqa: PLC0415

    try:
        template = _compile_jinja_template(source)
    except jinja2.TemplateSyntaxError as error:
        raise _unusable(f"{name} is no valid Jinja: line {error.lineno}: {error.message}") from None
    constant = {**template.globals, **tokenizer.special_tokens_map, "tools": None, "documents": None}
    constant |= {"date_string": _FIXED_DATE.strftime("%d %b %Y"), "strftime_now": _FIXED_DATE.strftime}

    def apply(turns: Sequence[Turn], generate: bool) -> str:
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        try:
            own = {"messages": messages, "add_generation_prompt": generate, "range": _BoundedRange()}
            return _join(template.root_render_func(template.new_context(constant | own, shared=True)))
        except Exception as error:  # a template can raise whatever an expression can
            what = str(error) or type(error).__name__
            raise RowError(f"{name} refuses it: {what}", "change the row's turns or data.template") from error

    _try_out(apply)
    if copies_content(template.environment.parse(source)):
        return Skeletons(apply, longest=_LONGEST)
    return apply


def _try_out(apply: Apply) -> None:
    """Tell of a template that the sandbox stops once, not once per row; other refusals may be a row's own."""
    try:
        apply((Turn("user", "a"), Turn("assistant", "b")), False)
    except RowError as error:
        if isinstance(error.__cause__, jinja2.exceptions.SecurityError):
            raise _unusable(error.problem) from None


def _join(pieces: Any) -> str:
    texts, length = [], 0
    for piece in pieces:
        texts.append(piece)
        length += len(piece)
        if length > _LONGEST:
            raise OverflowError(f"it writes more than {_LONGEST:,} characters")
    return "".join(texts)


class _BoundedRange:
    """`range` of a template: nested loops end too."""

    def __init__(self) -> None:
        self._left = _MOST_ROUNDS

    def __call__(self, *bounds: int) -> range:
        rounds = range(*bounds)
        self._left -= len(rounds)
        if self._left < 0:
            raise OverflowError(f"its loops have more than {_MOST_ROUNDS:,} rounds")
        return rounds


def _unusable(message: str) -> SettingsError:
    return SettingsError(
        reason=Reason.SETTINGS_INVALID,
        message=message,
        advice="mend the template, or set data.template.name to chat, alpaca or plain",
    )
