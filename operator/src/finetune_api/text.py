"""Texts cut to the room that they have."""

import json


def ellipsis(text: str, length: int) -> str:
    """A text cut by the bytes that it takes in JSON, where a control character takes six."""
    if len(text) <= length and _json_bytes(text) <= length:
        return text
    text = text[: length - 3]
    while _json_bytes(text) > length - 3:
        text = text[: len(text) * 9 // 10]
    return text + "..."


def _json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2
