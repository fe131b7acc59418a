"""What `nginx -T` prints, read into directives with their includes in place."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_ROOT = "/etc/nginx"
_HEADER = re.compile(r"^# configuration file (/[^\n]*):\n", re.MULTILINE)
#: A word in quotes; a mark; a word, in which a quote or a closing brace means nothing, and a backslash or ${ takes
#: what follows along. As nginx itself reads.
_TOKEN = re.compile(r"""\s+ | \#[^\n]* | (?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')(?=[\s;{)]|\Z)
                        | (?P<mark>[;{}]) | (?P<word>(?:\\.|\$\{|[^\s;{}"'\\])(?:\\.|\$\{|[^\s;{\\])*)""",
                    re.VERBOSE | re.DOTALL)
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", '"': '"', "'": "'", "\\": "\\"}
_DEEPEST = 20


class Unreadable(Exception):
    """The text is not one that nginx would print."""


@dataclass
class Directive:
    """One directive; `block` is None where it ends with a semicolon. `file`: where it stands."""

    name: str
    args: list[str]
    file: str
    block: list[Directive] | None = None

    def all(self, *names: str) -> list[Directive]:
        """Those directly inside with one of these names."""
        return [one for one in self.block or () if one.name in names]

    def inside(self) -> Iterator[Directive]:
        """Everything inside, at any depth."""
        for one in self.block or ():
            yield one
            yield from one.inside()

    def words(self) -> str:
        """As a person wrote it, shortened."""
        said = " ".join([self.name, *self.args])
        return said if len(said) <= 100 else f"{said[:100]}…"


@dataclass
class _Open:
    directive: Directive
    words: list[str] = field(default_factory=list)


def files(dump: str) -> dict[str, str]:
    """The text of each file by its path. Of two with one name the first counts, which is nginx's own."""
    parts = _HEADER.split(dump)
    found: dict[str, str] = {}
    for path, text in zip(parts[1::2], parts[2::2], strict=True):
        found.setdefault(path, text)
    return found


def tree(dump: str) -> Directive:
    """The whole configuration. Unreadable: a file of it cannot be read."""
    texts = files(dump)
    first = next(iter(texts), None)
    if first is None:
        return Directive("", [], "", [])
    return Directive("", [], first, _included(texts, first, 0))


def _included(texts: dict[str, str], path: str, depth: int) -> list[Directive]:
    if depth > _DEEPEST:
        raise Unreadable(f"{path} includes itself.")
    return _with_includes(parse(texts[path], path), texts, depth)


def _with_includes(directives: list[Directive], texts: dict[str, str], depth: int) -> list[Directive]:
    result: list[Directive] = []
    for one in directives:
        if one.name == "include" and len(one.args) == 1:
            for path in _matching(one.args[0], texts):
                result += _included(texts, path, depth + 1)
            continue
        if one.block is not None:
            one.block = _with_includes(one.block, texts, depth)
        result.append(one)
    return result


def _matching(pattern: str, texts: dict[str, str]) -> list[str]:
    wanted = posixpath.normpath(posixpath.join(_ROOT, pattern))
    return [path for path in texts if fnmatch.fnmatchcase(path, wanted)
            and path.count("/") == wanted.count("/") and not posixpath.basename(path).startswith(".")]


def parse(text: str, file: str) -> list[Directive]:
    """The directives of one file. Unreadable: a quote or a brace is left open."""
    stack = [_Open(Directive("", [], file, []))]
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise Unreadable(f"{file} has a quote that does not end, at line {text.count(chr(10), 0, position) + 1}.")
        position = found.end()
        if found["quoted"]:
            stack[-1].words.append(_plain(found["quoted"][1:-1]))
        elif found["word"]:
            stack[-1].words.append(_plain(found["word"]))
        elif found["mark"]:
            _mark(found["mark"], stack, file)
    if len(stack) > 1 or stack[0].words:
        raise Unreadable(f"{file} ends in the middle of '{(stack[-1].words or [stack[-1].directive.name])[0][:50]}'.")
    return stack[0].directive.block or []


def _mark(mark: str, stack: list[_Open], file: str) -> None:
    words = stack[-1].words
    if mark == "}":
        if words or len(stack) == 1:
            raise Unreadable(f"{file} has a closing brace where none belongs.")
        stack.pop()
        return
    if not words and mark == ";":
        return
    if len(stack) > _DEEPEST:
        raise Unreadable(f"{file} is nested too deeply.")
    one = Directive(words[0] if words else "", words[1:], file, [] if mark == "{" else None)
    parent = stack[-1].directive.block
    assert parent is not None
    parent.append(one)
    stack[-1].words = []
    if mark == "{":
        stack.append(_Open(one))


def _plain(text: str) -> str:
    return re.sub(r"""\\([trn"'\\])""", lambda found: _ESCAPES[found[1]], text)
