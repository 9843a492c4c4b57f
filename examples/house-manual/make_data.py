"""Compose the house-manual data set: `python make_data.py [DEST]` writes its files, always the same bytes.

The manual is a text file per chapter. Validation and test rows tell its facts in other sentences, and beside them lie
general sentences: one set to mix into the training, one to measure what was forgotten.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import general
import wording
from machine import PARTS, Part


def tell(frame: str, part: Part) -> str:
    """Return one sentence about a part; `{Place}` is its place with a capital."""
    facts = asdict(part)
    return frame.format(**facts, Place=_capital(part.place), Lamp=_capital(part.lamp))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def make_chapters() -> dict[str, str]:
    """Return the manual's text files, by path."""
    chapters = {name: "\n".join(tell(frame, part) for part in PARTS) for name, frame in wording.CHAPTERS.items()}
    first = min(chapters)
    chapters[first] = f"{wording.INTRODUCTION}\n{chapters[first]}"
    return {f"manual/{name}.txt": f"{text}\n" for name, text in chapters.items()}


def jsonl(texts: list[str]) -> str:
    """Return rows of raw text."""
    return "".join(f"{json.dumps({'text': text})}\n" for text in texts)


def make_data() -> dict[str, str]:
    """Return the content of each file, by path."""
    return {
        **make_chapters(),
        "general.jsonl": jsonl(general.SENTENCES),
        "manual-validation.jsonl": jsonl([tell(frame, part) for part in PARTS for frame in wording.VALIDATION]),
        "general-validation.jsonl": jsonl(general.SENTENCES_VALIDATION),
        "manual-test.jsonl": jsonl([tell(frame, part) for part in PARTS for frame in wording.TEST]),
        "general-test.jsonl": jsonl(general.SENTENCES_HELD_OUT),
    }


def main() -> None:
    """Write the files to the folder named on the command line, by default this one."""
    dest = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, text in make_data().items():
        path = dest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"{path}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main()
