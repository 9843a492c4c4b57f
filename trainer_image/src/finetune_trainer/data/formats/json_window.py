"""JSON text read piece by piece: the values of a long document without holding the document."""

import codecs
import json
import re
from io import BufferedReader
from typing import Any, Final

from finetune_trainer.data.formats.lines import too_long
from finetune_trainer.data.formats.strict_json import StrictDecoder
from finetune_trainer.data.problems import FileError, RowError, Source

_BLANK: Final = " \t\r\n"
_BLANKS: Final = re.compile(f"[{_BLANK}]*")
_CHUNK: Final = 64 << 10
_LONGEST_WORD: Final = len("-Infinity")


class JsonWindow:
    """What has been read of a document and not yet taken; doubled until the next value is whole in it."""

    def __init__(self, label: str, stream: BufferedReader, row_bytes: int, chunk: int = _CHUNK) -> None:
        self.decoder = StrictDecoder()
        self._label, self._stream, self._row_bytes, self._chunk = label, stream, row_bytes, chunk
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._bytes = 0
        self._text, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 1

    def peek(self) -> str:
        """The next character that is not blank, or nothing at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, wanted: str) -> None:
        """Step over one character.

        Raises:
            FileError: another one stands there.

        """
        found = self.peek()
        if found != wanted:
            what = repr(found) if found else "the end of the file"
            raise self._broken(self._at, f"{what} where {wanted!r} should stand")
        self._at += 1

    def value(self) -> Any:
        """Take the next value.

        Raises:
            FileError: it is not JSON, or too long.

        """
        self.peek()
        while True:
            try:
                value, end = self.decoder.value_at(self._text, self._at)
            except json.JSONDecodeError as error:
                if not (self._is_cut(error) and self._more()):
                    raise self._broken(error.pos, error.msg) from None
            except RowError as error:
                raise FileError(self.place(self._at), error.problem, error.remedy) from None
            else:
                # A number at the end of the window may have further digits.
                if end < len(self._text) or not self._more():
                    return self._taken(value, end)

    def _taken(self, value: Any, end: int) -> Any:
        if end - self._at > self._row_bytes:
            raise too_long(self.place(), self._row_bytes)
        self._at = end
        return value

    def holds_lines(self) -> bool:
        """Whether a second object follows the first without a comma: JSON Lines."""
        self.peek()
        try:
            _, end = self.decoder.value_at(self._text, self._at)
        except (json.JSONDecodeError, RowError):
            return False
        return self._text[end:].lstrip(_BLANK).startswith("{")

    def place(self, at: int | None = None) -> Source:
        """File and line of a position in the window, or of the next character."""
        return Source(self._label, self._line + self._text.count("\n", 0, self._at if at is None else at))

    def _more(self) -> bool:
        """Let go of what was taken and read at least as much again as is left; False at the end."""
        if self._ended:
            return False
        self._forget()
        if len(self._text) > self._row_bytes:
            raise too_long(self.place(), self._row_bytes)
        data = self._stream.read(max(self._chunk, len(self._text)))
        self._ended = not data
        try:
            self._text += self._utf8.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            where = f"byte {self._bytes + error.start + 1:,} of the file is not UTF-8"
            raise FileError(Source(self._label), where, "save the file as UTF-8") from None
        self._bytes += len(data)
        return True

    def _forget(self) -> None:
        last_line_end = self._text.rfind("\n", 0, self._at)
        self._column = self._at - last_line_end if last_line_end >= 0 else self._column + self._at
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :], 0

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the error may be due to the window's end alone."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _LONGEST_WORD

    def _broken(self, at: int, what: str) -> FileError:
        last_line_end = self._text.rfind("\n", 0, at)
        column = at - last_line_end if last_line_end >= 0 else self._column + at
        return FileError(
            self.place(at),
            f"broken JSON at column {column}: {what}; nothing after it was read",
            "write one array of objects, separated by commas",
        )
