"""Chat templates that only copy what messages say: rendered once for every order of roles, then filled in.

Preflight renders each conversation several times to find its answers, and rendering costs more than the tokenizer's
work on a short row. Most templates decide by roles alone and copy each message's text. `copies_content` proves that
from the template's syntax tree, by following where the text goes: wherever it may reach anything but the output, a
condition say, the template is rendered for each row as before.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, Literal

from jinja2 import nodes

from finetune_trainer.data.problems import RowError
from finetune_trainer.data.rows import Turn

_OPEN, _CLOSE = "\ue002", "\ue003"
_HOLE: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_KEPT: Final = 1024
"""Orders of roles: rows of a few turns have a handful."""

_Kind = Literal["clean", "text", "message", "messages", "loop"]
"""What an expression may hold: nothing of the text, text to copy, a message, all of them, or a loop's state."""

_TYPE_TESTS: Final = frozenset({"defined", "undefined", "none", "string", "mapping", "iterable", "sequence"})
"""Tests that look at a value's type alone, and all messages' values have the same."""
_LOOP_STATE: Final = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length"})


class _MayDecideError(Exception):
    """Text may decide something."""


Apply = Callable[[Sequence[Turn], bool], str]
"""Turns as text; True adds the start of the assistant's turn. Raises RowError where the template refuses them."""


class Skeletons:
    """Renders like `render`, which belongs to a template that only copies content; see `copies_content`."""

    def __init__(self, render: Apply, *, longest: int) -> None:
        """Texts of more than `longest` characters are left to `render`."""
        self._render, self._longest = render, longest
        self._known: dict[tuple[str | bool, ...], _Skeleton | None] = {}

    def __call__(self, turns: Sequence[Turn], generate: bool) -> str:
        """Turns as text.

        Raises:
            RowError: the template refuses them.

        """
        key = (generate, *[turn.role for turn in turns])
        skeleton = self._known.get(key)
        if skeleton is None and key not in self._known and len(self._known) < _KEPT:
            skeleton = self._known[key] = self._learn(turns, generate)
        text = None if skeleton is None else skeleton.fill([turn.text for turn in turns])
        return self._render(turns, generate) if text is None or len(text) > self._longest else text

    def _learn(self, turns: Sequence[Turn], generate: bool) -> "_Skeleton | None":
        """None where the template refuses these roles: its message is made anew for each row."""
        holes = [Turn(turn.role, f"{_OPEN}{index}{_CLOSE}") for index, turn in enumerate(turns)]
        try:
            pieces = _HOLE.split(self._render(holes, generate))
        except RowError:
            return None
        return _Skeleton(pieces, [int(piece) for piece in pieces[1::2]])


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """What a template writes around the messages' text."""

    pieces: list[str]
    """Every second one is a hole."""
    holes: list[int]
    """The message that each hole takes."""

    def fill(self, texts: Sequence[str]) -> str | None:
        """The rendered text; None where a text begins or ends with white space, which a template may trim."""
        for text in texts:
            if not text or text.strip() != text:
                return None
        pieces = self.pieces.copy()
        pieces[1::2] = [texts[hole] for hole in self.holes]
        return "".join(pieces)


def copies_content(tree: nodes.Template) -> bool:
    """Whether what a template writes is fixed by roles but for copies of the messages' text, whole or trimmed."""
    analysis = _Analysis()
    known: dict[str, _Kind] = {}
    try:
        while known != analysis.names:  # a name may be read above its assignment, in a loop
            known = dict(analysis.names)
            analysis.statements(tree.body)
    except _MayDecideError:
        return False
    literals = [const.value for const in tree.find_all(nodes.Const)] + [
        written.data for written in tree.find_all(nodes.TemplateData)
    ]
    return not any(isinstance(literal, str) and _OPEN in literal for literal in literals)


class _Analysis:
    """Follows text through a template; a name holds whatever any statement may put into it."""

    def __init__(self) -> None:
        self.names: dict[str, _Kind] = {"messages": "messages", "loop": "loop"}

    def statements(self, found: Sequence[nodes.Node]) -> None:
        for statement in found:
            self._statement(statement)

    def _statement(self, node: nodes.Node) -> None:
        match node:
            case nodes.Output():
                for each in node.nodes:
                    self._need(each, "clean", "text")
            case nodes.If():
                self._need(node.test, "clean", "messages")
                self.statements([*node.body, *node.elif_, *node.else_])
            case nodes.For(target=nodes.Name() as target, recursive=False):
                self._bind(target, "message" if self._need(node.iter, "clean", "messages") == "messages" else "clean")
                if node.test is not None:
                    self._need(node.test, "clean")
                self.statements([*node.body, *node.else_])
            case nodes.Assign(target=nodes.Name() as target):
                self._bind(target, self._kind(node.node))
            case nodes.Assign(target=nodes.NSRef()):
                self._need(node.node, "clean")
            case nodes.Continue() | nodes.Break():
                pass
            case _:
                raise _MayDecideError

    def _bind(self, target: nodes.Name, kind: _Kind) -> None:
        self.names[target.name] = _joined(self.names.get(target.name, kind), kind)

    def _need(self, node: nodes.Node, *kinds: _Kind) -> _Kind:
        kind = self._kind(node)
        if kind not in kinds:
            raise _MayDecideError
        return kind

    def _kind(self, node: nodes.Node) -> _Kind:
        kind: _Kind = "clean"
        match node:
            case nodes.Name():
                kind = self.names.get(node.name, "clean")
            case nodes.Add() | nodes.Concat():
                kind = self._either(node.iter_child_nodes())
            case nodes.CondExpr():
                self._need(node.test, "clean", "messages")
                kind = self._either([node.expr1, node.expr2 or nodes.Const("")])
            case nodes.Getattr():
                kind = self._member(self._kind(node.node), nodes.Const(node.attr))
            case nodes.Getitem():
                kind = self._member(self._kind(node.node), node.arg)
            case nodes.Filter(args=[], kwargs=[], dyn_args=None, dyn_kwargs=None, node=nodes.Expr() as filtered):
                kind = self._filtered(self._kind(filtered), node.name)
            case nodes.Test(args=[], kwargs=[], dyn_args=None, dyn_kwargs=None) if node.name in _TYPE_TESTS:
                self._need(node.node, "clean", "text", "message", "messages")
            case nodes.Compare(expr=nodes.Const(), ops=[nodes.Operand(op="in" | "notin", expr=nodes.Name() as holder)]):
                self._need(holder, "clean", "message")  # all messages have the same keys
            case _:
                for child in node.iter_child_nodes():
                    self._need(child, "clean")
        return kind

    def _either(self, parts: Iterable[nodes.Node]) -> _Kind:
        return reduce(_joined, [self._need(part, "clean", "text") for part in parts])

    def _member(self, holder: _Kind, name: nodes.Node) -> _Kind:
        constant = name.value if isinstance(name, nodes.Const) else None
        match holder:
            case "loop" if constant in _LOOP_STATE:
                return "clean"
            case "message" if isinstance(constant, str) and not hasattr(dict, constant):
                return "text" if constant == "content" else "clean"
            case "messages" if not isinstance(constant, str):
                self._need(name, "clean")
                return "messages" if isinstance(name, nodes.Slice) else "message"
            case "clean":
                return self._need(name, "clean")
        raise _MayDecideError

    def _filtered(self, kind: _Kind, name: str) -> _Kind:
        match kind, name:
            case "clean", _:
                return "clean"
            case "text", "trim":
                return "text"
            case "messages", "length" | "count":
                return "clean"
            case "messages", "first" | "last":
                return "message"
        raise _MayDecideError


def _joined(one: _Kind, other: _Kind) -> _Kind:
    if one != other and {one, other} != {"clean", "text"}:
        raise _MayDecideError
    return one if one == other else "text"
