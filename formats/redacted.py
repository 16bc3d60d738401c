"""What may be shown to others: texts without the user's name, the machine's and those of folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# From the beginning of a path to the last slash of the line or of what is quoted, and the word behind it: a folder's
# name may have spaces, so that rather too much of a sentence goes than too little.
_TAIL = r"(?:[^\n'\"]*[\\/])?[^\s'\"),;]*"
_PATH = re.compile(rf"(?<![\w<:/\\])(?:[A-Za-z]:[\\/]|\\\\|~?/)(?=[^\s/\\]){_TAIL}")


def redacted(value: Any, folders: Iterable[str], names: Iterable[str]) -> Any:
    """`value`, as JSON holds it, with every path in its texts as <folder> and every one of `names` as <name>.

    Paths are found by themselves, those of `folders` also where they look like none. Names count as whole words,
    in any case. Keys and numbers stay.
    """
    known = [(re.compile(re.escape(folder) + rf"(?:[\\/]{_TAIL})?", re.IGNORECASE), "<folder>")
             for folder in sorted(folders, key=len, reverse=True) if len(folder) > 1]
    known.append((_PATH, "<folder>"))
    known += [(re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE), "<name>")
              for name in sorted(names, key=len, reverse=True) if name]
    return _walk(value, known)


def _walk(value: Any, known: list[tuple[re.Pattern[str], str]]) -> Any:
    if isinstance(value, dict):
        return {key: _walk(entry, known) for key, entry in value.items()}
    if isinstance(value, list):
        return [_walk(entry, known) for entry in value]
    if isinstance(value, str):
        for pattern, word in known:
            value = pattern.sub(word, value)
    return value
