"""Reading a FAQ file: YAML in, checked entries out, every error with its file and line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import yaml

MAX_BYTES = 2_000_000
ACTIONS = ("repeat",)
"""What an entry may do instead of only answering: "repeat" says the last answer again."""

_Node = yaml.Node


class FaqError(ValueError):
    """A FAQ file cannot be used; the message says where and what to change."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One subject: ways of asking and ways of answering, per language ("en", "zh", ...)."""

    id: str
    questions: dict[str, tuple[str, ...]]
    answers: dict[str, tuple[str, ...]]
    action: str = ""
    otherwise: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What to say when the action is not possible."""


@dataclass(frozen=True, slots=True)
class Book:
    """A whole file. ``threshold`` is None where the file leaves it to the responder."""

    entries: tuple[Entry, ...]
    fallback: dict[str, tuple[str, ...]]
    threshold: float | None = None
    languages: tuple[str, ...] = field(default=())


def read(path: str) -> Book:
    """Read and check a file; "" is the bundled one.

    Raises:
        FaqError: it cannot be read or is not a FAQ file.
    """
    name = path or "models/llm/faq/faq.yaml"
    try:
        if path and Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
            raise FaqError(f"{name}: is no regular file")  # a pipe would be waited for, and is read once only
        source = Path(path) if path else files("models.llm.faq").joinpath("faq.yaml")
        data = source.read_bytes()
    except OSError as error:
        raise FaqError(f"{name}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise FaqError(f"{name}: has {len(data)} bytes, at most {MAX_BYTES} are read; split or shorten it")
    try:
        root = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise FaqError(f"{name}: is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FaqError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        fact = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise FaqError(f"{name}: not valid YAML: {fact}") from error
    return _Reader(name).book(root)


def questions(path: str, language: str) -> list[str]:
    """Every phrasing of every question in one language ("en", "zh"; a region is ignored), in the file's order.

    Raises:
        FaqError: see ``read``.
    """
    wanted = language.replace("_", "-").split("-")[0].lower()
    return [phrase for entry in read(path).entries for phrase in entry.questions.get(wanted, ())]


class _Reader:
    """Walks the YAML nodes, which know their lines."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, node: _Node | None, message: str) -> FaqError:
        line = node.start_mark.line + 1 if node is not None else 1
        return FaqError(f"{self.name}:{line}: {message}")

    def book(self, root: _Node | None) -> Book:
        entries: list[Entry] = []
        fallback: dict[str, tuple[str, ...]] = {}
        threshold: float | None = None
        for key, value in self.pairs(root, "a FAQ file", ("threshold", "fallback", "entries")):
            if key == "threshold":
                threshold = self.fraction(value)
            elif key == "fallback":
                fallback = self.texts(value, "fallback")
            else:
                entries = self.entries(value)
        if not entries:
            raise self.fail(root, "has no entries; add at least one below 'entries:'")
        if not fallback:
            raise self.fail(root, "has no 'fallback:' answer for questions that nothing matches")
        languages = dict.fromkeys(language for entry in entries for language in entry.answers)
        for language in languages:
            if language not in fallback:
                raise self.fail(root, f"has answers in {language!r} and no 'fallback: {language}:'")
        return Book(tuple(entries), fallback, threshold, tuple(languages))

    def entries(self, node: _Node) -> list[Entry]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, "'entries' is a list: begin each entry with '- id: ...'")
        found: dict[str, Entry] = {}
        for item in node.value:
            entry = self.entry(item)
            if entry.id in found:
                raise self.fail(item, f"the id {entry.id!r} is used twice")
            found[entry.id] = entry
        return list(found.values())

    def entry(self, node: _Node) -> Entry:
        name, action = "", ""
        otherwise: dict[str, tuple[str, ...]] = {}
        asked: dict[str, tuple[str, ...]] = {}
        answers: dict[str, tuple[str, ...]] = {}
        for key, value in self.pairs(node, "an entry", ("id", "questions", "answers", "action", "otherwise")):
            if key == "id":
                name = self.text(value, "id")
            elif key == "action":
                action = self.text(value, "action")
                if action not in ACTIONS:
                    raise self.fail(value, f"there is no action {action!r}; known are: {', '.join(ACTIONS)}")
            elif key == "questions":
                asked = self.texts(value, "questions")
            elif key == "otherwise":
                otherwise = self.texts(value, "otherwise")
            else:
                answers = self.texts(value, "answers")
        if not name or not asked or not answers:
            raise self.fail(node, "an entry needs 'id', 'questions' and 'answers'")
        for language in asked:
            if language not in answers:
                raise self.fail(node, f"entry {name!r} has questions in {language!r} and no answer in it")
        return Entry(name, asked, answers, action, otherwise)

    def pairs(self, node: _Node | None, what: str, allowed: tuple[str, ...] = ()) -> Iterator[tuple[str, _Node]]:
        """The keys and values of a map, each key once and, if given, one of ``allowed``."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{what} is a map with the keys {', '.join(allowed) or 'en, zh, ...'}")
        seen = set()
        for key_node, value in node.value:
            key = self.text(key_node, "key")
            if key in seen:
                raise self.fail(key_node, f"{key!r} is given twice")
            if allowed and key not in allowed:
                raise self.fail(key_node, f"{what} has no key {key!r}; known are: {', '.join(allowed)}")
            seen.add(key)
            yield key, value

    def texts(self, node: _Node, what: str) -> dict[str, tuple[str, ...]]:
        """``language: text`` or ``language: [text, ...]``."""
        found = {}
        for language, value in self.pairs(node, f"'{what}'"):
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            found[language.lower()] = tuple(self.text(item, f"{what}.{language}") for item in items)
            if not items:
                raise self.fail(value, f"'{what}.{language}' is empty")
        return found

    def text(self, node: _Node, what: str) -> str:
        text = " ".join(node.value.split()) if isinstance(node, yaml.ScalarNode) else ""
        if not text:
            raise self.fail(node, f"'{what}' is a text that is not empty")
        return text

    def fraction(self, node: _Node) -> float:
        try:
            value = float(self.text(node, "threshold"))
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= 1.0:
            raise self.fail(node, "'threshold' is a number from 0 (answer everything) to 1 (exact words only)")
        return value
