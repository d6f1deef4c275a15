"""YAML, strictly: what is not known is an error that names file, line and the nearest known key.

PyYAML's safe loader composes nodes, which know their lines; nothing but text, numbers, truth
values, lists and tables is ever made of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from attrs import define

from chittyops_core.errors import HostError, ObjectiveError

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["Table", "read_tables"]

MAX_BYTES = 1 << 20  # Some hundred objectives; a file that is larger is another kind of file.

T = TypeVar("T")


def read_tables(text: str, *, file: str) -> list[Table]:
    """Return the documents of a YAML file that are not empty; each has to be a table.

    Raises:
        ObjectiveError: With file and line.
        HostError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise HostError(
            "objectives are YAML files, and PyYAML is not installed here",
            remedy="pip install 'chittyops-core[local]'",
        ) from error
    if len(text.encode(errors="replace")) > MAX_BYTES:
        _refuse(file, None, f"larger than {MAX_BYTES >> 10} KiB: not a file of objectives")
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except RecursionError as error:
        raise ObjectiveError(f"{file}: nested too deeply", file=file, line=None) from error
    except (ValueError, OverflowError) as error:  # "\UFFFFFFFF": PyYAML asks for its character.
        raise ObjectiveError(f"{file}: not YAML: {error}", file=file, line=None) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = mark.line + 1 if mark else None
        where = f"{file}:{line}" if line else file
        raise ObjectiveError(
            f"{where}: not YAML: {problem}", remedy="Correct the YAML.", file=file, line=line
        ) from error
    return [Table.of(node, file, ()) for node in nodes if not _is_empty(node)]


def _is_empty(node: Node | None) -> bool:
    # PyYAML composes None for an empty file and a null scalar for an empty document.
    return node is None or node.tag == "tag:yaml.org,2002:null"


def _refuse(file: str, line: int | None, message: str) -> NoReturn:
    where = f"{file}:{line}" if line else file
    raise ObjectiveError(
        f"{where}: {message}",
        remedy="docs/objectives.md has all keys with examples.", file=file, line=line,
    )  # fmt: skip


@define
class Table:
    """A mapping of a YAML file. `only` says which keys may be there; getters take them by type."""

    file: str
    path: tuple[str, ...]
    line: int
    _nodes: dict[str, Node]
    _lines: dict[str, int]

    @classmethod
    def of(cls, node: Node, file: str, path: tuple[str, ...]) -> Table:
        """Raises ObjectiveError: no mapping, or a key that is no text or is there twice."""
        import yaml

        line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode):
            _refuse(file, line, f"{'.'.join(path) or 'the document'}: expected a table of keys")
        made = cls(file, path, line, {}, {})
        for key, value in node.value:
            at = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                _refuse(file, at, "expected a text as key")
            if key.value in made._nodes:
                _refuse(file, at, f"{made.named(key.value)}: the key is here twice")
            made._nodes[key.value], made._lines[key.value] = value, at
        return made

    def named(self, key: str) -> str:
        return ".".join((*self.path, key))

    def only(self, *known: str, refused: Mapping[str, str] | None = None) -> Table:
        """Return this table when all of its keys are *known*.

        Args:
            known: What may be there.
            refused: Keys of the standard that we cannot honour, and why, for the message.
        """
        for key, line in self._lines.items():
            if refused and key in refused:
                _refuse(self.file, line, f"{self.named(key)}: cannot be used here: {refused[key]}")
            if key not in known:
                nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
                listed = ", ".join(known)
                _refuse(self.file, line, f"{self.named(key)}: unknown key{hint} Known: {listed}")
        return self

    def fail(self, message: str, key: str | None = None) -> NoReturn:
        """Raise ObjectiveError about *key*, or about the table as a whole."""
        line = self._lines.get(key, self.line) if key else self.line
        name = self.named(key) if key else ".".join(self.path)
        _refuse(self.file, line, f"{name}: {message}" if name else message)

    def make(self, build: Callable[[], T]) -> T:
        """Return what *build* makes; its ValueError becomes one with file and line."""
        try:
            return build()
        except ValueError as error:
            self.fail(str(error))

    def take(self, key: str, build: Callable[[str], T]) -> T:
        """Return what *build* makes of the text under *key*; its ValueError names the key."""
        text = self.text(key)
        try:
            return build(text)
        except ValueError as error:
            self.fail(str(error), key)

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text. Raises ObjectiveError: it is missing and has no default, or is none."""
        if key not in self._nodes and default is not None:
            return default
        value = self.scalar(key)
        if not isinstance(value, str):
            self.fail(f"expected a text, got {value!r}; put it in quotes", key)
        return value

    def number(self, key: str) -> float:
        value = self.scalar(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(f"expected a number, got {value!r}", key)
        return value

    def truth(self, key: str, default: bool) -> bool:
        if key not in self._nodes:
            return default
        value = self.scalar(key)
        if not isinstance(value, bool):
            self.fail(f"expected true or false, got {value!r}", key)
        return value

    def table(self, key: str) -> Table:
        """Return the table under *key*, an empty one where there is none."""
        node = self._nodes.get(key)
        if node is None or _is_empty(node):
            return Table(self.file, (*self.path, key), self._lines.get(key, self.line), {}, {})
        return Table.of(node, self.file, (*self.path, key))

    def tables(self, key: str) -> list[Table]:
        """Return the tables of the list under *key*, none where there is no list."""
        import yaml

        node = self._nodes.get(key)
        if node is None or _is_empty(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.fail("expected a list", key)
        return [
            Table.of(item, self.file, (*self.path, f"{key}[{number}]"))
            for number, item in enumerate(node.value)
        ]

    def texts(self, key: str) -> dict[str, str]:
        """Return a table of texts, such as labels."""
        inner = self.table(key)
        return {name: inner.text(name) for name in inner}

    def scalar(self, key: str) -> Any:
        """Return the text, number or truth value under *key*. Raises ObjectiveError."""
        import yaml

        node = self._nodes.get(key)
        if node is None:
            self.fail(f"the key {key!r} is missing")
        if not isinstance(node, yaml.ScalarNode):
            self.fail("expected one value, not a table or list", key)
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
            # The last three: PyYAML, where a tag such as `!!bool` does not fit its text.
            self.fail(f"cannot be read: {error}", key)
