"""JSON: an array of objects, or an object with one array of them among its members."""

from collections.abc import Iterator
from io import BufferedReader
from typing import Final

from finetune_trainer.data.formats.base import Limits, ReadItem
from finetune_trainer.data.formats.json_window import JsonWindow
from finetune_trainer.data.problems import FileError, Source

_REMEDY: Final = "write an array of objects, or let the name end in .jsonl if each line is an object"


def read_json(label: str, stream: BufferedReader, limits: Limits) -> Iterator[ReadItem]:
    """The objects of one file, named by their index in the array."""
    window = JsonWindow(label, stream, limits.row_bytes)
    start = window.peek()
    if start == "[":
        yield from _elements(label, window)
    elif start == "{":
        if window.holds_lines():
            raise FileError(Source(label), "the file holds one object after the other", "let its name end in .jsonl")
        yield from _wrapped_elements(label, window)
    elif start == "\ufeff":
        raise FileError(Source(label), "the file starts with a byte order mark", "save it as UTF-8 without one")
    else:
        raise FileError(Source(label), "the file is no JSON array" if start else "the file is empty", _REMEDY)
    if window.peek():
        raise FileError(window.place(), "text follows the end of the JSON document", _REMEDY)


def _elements(label: str, window: JsonWindow) -> Iterator[ReadItem]:
    window.take("[")
    index = 0
    while window.peek() != "]" or index:
        item = window.decoder.object_or_fault(window.value(), "write an array of objects")
        yield Source(label, index, "index"), item
        index += 1
        if window.peek() == "]":
            break
        window.take(",")
    window.take("]")


def _wrapped_elements(label: str, window: JsonWindow) -> Iterator[ReadItem]:
    """The elements of the one array among an object's members; the other members say something about the data."""
    array: str | None = None
    window.take("{")
    while window.peek() != "}":
        name, place = _name(window), window.place()
        window.take(":")
        if window.peek() != "[":
            window.value()
        elif array is None:
            array = name
            yield from _elements(label, window)
        else:
            raise FileError(place, f"the file has two arrays, {array!r} and {name!r}", "put each into its own file")
        if window.peek() != "}":
            window.take(",")
    window.take("}")
    if array is None:
        raise FileError(Source(label), "the file is one object without an array in it", _REMEDY)


def _name(window: JsonWindow) -> str:
    if window.peek() != '"':
        window.take('"')  # raises: no other value can be a name
    return str(window.value())
