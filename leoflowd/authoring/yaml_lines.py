"""YAML with the line of every key: `leoflow.yaml` and `dag.yaml` are read with it.

Stricter than YAML: one document, text keys, no duplicate keys, no tags, no merge keys; dates stay texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.reading import read_file
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import checked_jsonb

MAX_BYTES = 1024 * 1024
MAX_NODES = 200_000
"""Aliases may repeat a node; this many after expansion are an attack or a mistake."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that leaves dates alone: the reader of the key knows what it wants."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Document:
    """The content, and `lines`: dotted path of each key and item -> its line, from 1."""

    def __init__(self, path: str, content: Any, lines: dict[str, int]) -> None:
        self.path = path
        self.content = content
        self.lines = lines

    def error(self, at: str, what: str, why: str, remedy: str) -> DagCompileError:
        return DagCompileError(
            self.path, self.lines.get(at, self.lines.get(at.rpartition(".")[0], 1)), what, why, remedy
        )


def read_yaml(file: Path) -> Document:
    """The document of a file; raises `DagCompileError`."""
    shown = file.name
    try:
        node = yaml.compose(read_file(file, shown, MAX_BYTES).decode("utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise DagCompileError(shown, 1, "the file is not UTF-8 text", str(error), "save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise DagCompileError(shown, line, "this is not valid YAML", str(error.problem), "correct that line") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DagCompileError(shown, 1, "this is not valid YAML", str(error), "correct it") from error
    reader = _Reader(shown)
    content = {} if node is None else reader.read(node, "")
    return Document(shown, content, reader.lines)


class _Reader:
    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.lines: dict[str, int] = {}
        self.scalars = _Loader("")
        self.nodes = 0

    def read(self, node: yaml.Node, path: str) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or path.count(".") > 50:
            raise self._error(node, "the document is too large or nests too deep", "aliases may refer to themselves")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, f"{path}.{index}") for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _item(self, node: yaml.Node, full: str) -> Any:
        self.lines[full] = node.start_mark.line + 1
        return self.read(node, full)

    def _scalar(self, node: yaml.Node) -> Any:
        if not node.tag.startswith("tag:yaml.org,2002:"):
            raise self._error(node, f"the tag {node.tag!r} is used", "only plain YAML is read")
        try:
            value = self.scalars.construct_object(node)
            return checked_jsonb(value, "it") if isinstance(value, str) else value
        except (ValueError, yaml.YAMLError, Invalid) as error:
            raise self._error(node, f"{node.value!r} cannot be read", str(error)) from error

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            is_scalar = isinstance(key_node, yaml.ScalarNode) and not key_node.tag.endswith(":merge")
            key = self._scalar(key_node) if is_scalar else None
            if isinstance(key, bool):  # `on:` is one to YAML 1.1, and a word to whoever wrote it
                key = key_node.value
            if not isinstance(key, str):
                raise self._error(key_node, f"the key {key_node.value!r} is used", "keys are plain texts")
            full = f"{path}.{key}" if path else key
            if key in found:
                raise self._error(
                    key_node, f"the key {full!r} is there twice", f"it is on line {self.lines[full]} already"
                )
            self.lines[full] = key_node.start_mark.line + 1
            found[key] = self.read(value_node, full)
        return found

    def _error(self, node: yaml.Node, what: str, why: str) -> DagCompileError:
        return DagCompileError(self.shown, node.start_mark.line + 1, what, why, "correct or remove it")
