"""Reads a YAML file of a user, or says in one sentence why it is not read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from muonlab.io.errors import UserError

MOST_NODES = 100_000  # the largest config of the project has fewer than 2,000
# What a browser takes for a tag, a comment or a declaration (HTML, 13.2.5.6), and characters that
# end a line. Texts of a config stand in the report, whose captions are reStructuredText.
MARKUP = re.compile(r"<[A-Za-z/!?]")
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """A safe YAML loader that refuses a key that occurs twice in one mapping."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict:
    loader.flatten_mapping(node)
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.MarkedYAMLError(
                problem=f"the key {key!r} is not text", problem_mark=key_node.start_mark
            )
        if key in seen:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key!r} occurs twice in one section",
                problem_mark=key_node.start_mark,
            )
        seen.add(key)
    return loader.construct_mapping(node, deep)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _parsed(text: str) -> Any:
    """The content of a YAML text. What its anchors repeat is counted before it is built, since a
    few lines of anchors within anchors can stand for more than fits in memory."""
    loader = _UniqueKeys(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if _expanded(root, {}) > MOST_NODES:
            raise yaml.MarkedYAMLError(
                problem=f"its anchors (&, *) repeat more than {MOST_NODES:,} values"
            )
        return loader.construct_document(root)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="its sections are nested too deeply") from None
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """The number of nodes that `node` stands for; `sizes` holds those that are known by their id,
    and None for those that are being counted."""
    if id(node) not in sizes:
        sizes[id(node)] = None
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        sizes[id(node)] = 1 + sum(_expanded(part, sizes) for part in inner)
    size = sizes[id(node)]
    if size is None:
        raise yaml.MarkedYAMLError(
            problem="an anchor (&) contains itself", problem_mark=node.start_mark
        )
    return size


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file. Raises UserError if it cannot be read or holds no mapping."""
    shown = shown_path(path)
    try:
        content = _parsed(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise UserError(f"{shown}: cannot be read ({failure.strerror})") from failure
    except UnicodeDecodeError as failure:
        raise UserError(f"{shown}: is not UTF-8 text ({failure.reason})") from failure
    except yaml.YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(failure, "problem", None) or "cannot be parsed"
        raise UserError(f"{shown}{where}: is not valid YAML: {problem}") from failure
    except ValueError as failure:  # of a date that does not exist, or a number of 5,000 digits
        raise UserError(f"{shown}: holds a value that cannot be read: {failure}") from failure
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{shown}: must hold sections (key: value), not a {type(content).__name__}")
    return content


def refuse_markup(file: str, content: dict) -> None:
    """Raises UserError for a text in `content` that the report could show as anything but text."""
    for place, text in _texts(content, ()):
        field = ".".join(map(str, place)) or "the config"
        if CONTROL.search(text):
            raise UserError(f"{file}: {field!r:.80}: must be one line without control characters")
        if MARKUP.search(text):
            raise UserError(
                f"{file}: {field:.80}: must not hold HTML, as {text!r:.80} does (write a space "
                "behind <)"
            )


def _texts(value: Any, place: tuple) -> Iterator[tuple[tuple, str]]:
    """All texts in nested sections and lists, keys included, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield place, key
            yield from _texts(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, (*place, number))


def shown_path(path: Path) -> str:
    """The path as a user would type it in the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
