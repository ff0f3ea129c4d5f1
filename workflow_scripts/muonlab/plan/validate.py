"""Reads config files into a checked Config, or says in one sentence which field of which file is
wrong."""

import difflib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

from pydantic import BaseModel, ValidationError

from muonlab.io.errors import UserError
from muonlab.plan.schema import Config, Study
from muonlab.plan.yaml_file import read_yaml, refuse_markup, shown_path

NAMED = ("data", "studies", "optimizers", "arms", "families", "factors", "levels")


class Sources:
    """The config files, each overriding those before it; used to name the file with a mistake."""

    def __init__(self, files: Iterable[str | Path], command_line: Mapping | None = None):
        self.files = [(shown_path(Path(file)), read_yaml(Path(file))) for file in files]
        if command_line:
            self.files.append(("--config", dict(command_line)))

    def of(self, path: tuple) -> str:
        """The last file that sets the field at `path` or, if none does, its nearest parent."""
        for length in range(len(path), 0, -1):
            for name, content in reversed(self.files):
                if _has(content, path[:length]):
                    return name
        return self.files[-1][0] if self.files else "the config"

    def removed(self, path: tuple) -> set[str]:
        """The entries of the section at `path` that any of the files removes by null."""
        found: set[str] = set()
        for _, content in self.files:
            section = content
            for part in path:
                section = section[part] if _holds(section, part) else None
            if isinstance(section, Mapping):
                found |= {name for name, entry in section.items() if entry is None}
        return found


def overlay(below: Any, above: Any) -> Any:
    """`below` overridden by `above`: mappings merge key by key, everything else is replaced."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        merged = dict(below)
        for key, value in above.items():
            merged[key] = overlay(merged.get(key), value)
        return merged
    return above


def load_config(
    files: Iterable[str | Path], command_line: Mapping | None = None
) -> tuple[Config, Sources]:
    """The config that results from the files, each overriding the ones before it, and from
    `command_line`, which overrides all of them.

    In a section of named entries (`NAMED`), null removes the entry. Raises
    UserError with one sentence for the first field that is wrong.
    """
    sources = Sources(files, command_line)
    merged: dict = {}
    for file, content in sources.files:
        refuse_markup(file, content)
        merged = overlay(merged, content)
    return check(Config, _without_removed(merged), sources), sources


def published(study: Study, place: tuple, sources: Sources) -> Study:
    """The study with the fields of its `published` section overriding the others."""
    # Only what the study sets: a default that the other protocol does not read is no setting.
    merged = overlay(study.model_dump(exclude={"published"}, exclude_unset=True), study.published)
    return check(Study, _without_removed(merged), sources, place, also=(*place, "published"))


def check(
    model: type[BaseModel],
    value: Any,
    sources: Sources,
    place: tuple = (),
    also: tuple | None = None,
    exactly: bool = False,
) -> Any:
    """`value` as a `model`. Raises UserError that names the file and the field under `place`.

    `also` is a second place where the wrong field may have been set; it is looked up first. With
    `exactly`, the message names `place` itself, whichever field of the model is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as failure:
        errors = failure.errors()
        first = errors[0]
        path = () if exactly else _field_path(first, value)
        field = (*place, *path)
        if also is not None and any(_has(c, (*also, *path)) for _, c in sources.files):
            field = (*also, *path)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        sentence = _sentence(first, model)
        name = ".".join(map(str, field)) or "the config"
        raise UserError(f"{sources.of(field)}: {name}: {sentence}{more}") from failure


def _field_path(error: Mapping, value: Any) -> tuple:
    """pydantic's location of an error, without the tags of unions, which are not in the file."""
    path = []
    for part in error["loc"]:
        if _holds(value, part):
            value = value[part]
            path.append(part)
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    return tuple(path)


def _sentence(error: dict, model: type[BaseModel]) -> str:
    given = error["input"]
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"is not a known field{did_you_mean(str(error['loc'][-1]), _all_fields(model))}"
    if kind == "missing":
        return "is required and missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = error["ctx"]["discriminator"].strip("'")
        allowed = error["ctx"].get("expected_tags")
        found = f", not {error['ctx']['tag']!r}" if "tag" in error["ctx"] else ""
        one_of = f" one of {allowed}" if allowed else ""
        return f"needs {tag}:{one_of}{found}"
    if kind == "string_pattern_mismatch":
        return f"names are small letters, digits and _, starting with a letter, not {given!r}"
    text = error["msg"].replace("Input should", "must")
    text = text.replace("a valid integer", "an integer").replace("valid ", "")
    shown = "null" if given is None else repr(given)
    shown = shown if len(shown) < 80 else shown[:77] + "..."
    return f"{text}, not {shown}{_number_hint(given, kind)}"


def _number_hint(given: Any, kind: str) -> str:
    """Tells the user what to write instead of a number of the wrong type, or of text that looks
    like a number: YAML reads 1e-4, which has no point, as text."""
    whole = kind.startswith("int_")
    if not whole and not kind.startswith("float_") or isinstance(given, bool):
        return ""
    try:
        number = float(given)
    except (TypeError, ValueError):
        return ""
    if not math.isfinite(number) or (whole and not number.is_integer()):
        return ""
    wanted = int(number) if whole else number
    text = " in quotes or without a point" if isinstance(given, str) else ""
    return f"{text}; write {wanted!r}"


def did_you_mean(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(set(known) - {name}), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _all_fields(model: type[BaseModel], seen: frozenset = frozenset()) -> set[str]:
    """Names of all fields of a model and of the models in it, for suggestions."""
    fields = set(model.model_fields)
    for info in model.model_fields.values():
        for inner in _models_in(info.annotation):
            if inner not in seen:
                fields |= _all_fields(inner, seen | {model})
    return fields


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for inner in get_args(annotation) for m in _models_in(inner)]


def _without_removed(value: Any, inside_named: bool = False) -> Any:
    """The config without the named entries that a later file set to null.

    Inside `published` the nulls stay, since it overrides its study only later.
    """
    if not isinstance(value, dict):
        return value
    return {
        key: inner
        if key == "published" and not inside_named
        else _without_removed(inner, inside_named=key in NAMED and not inside_named)
        for key, inner in value.items()
        if not (inside_named and inner is None)
    }


def _has(content: Any, path: tuple) -> bool:
    for part in path:
        if not _holds(content, part):
            return False
        content = content[part]
    return True


def _holds(content: Any, part: str | int) -> bool:
    """Whether `part` is a key of the mapping or an index of the list `content`."""
    if isinstance(content, list):
        return isinstance(part, int) and part < len(content)
    return isinstance(content, Mapping) and part in content


def refuse(sources: Sources, path: tuple, sentence: str, known: Iterable[str] = ()) -> NoReturn:
    """Raises UserError for the field at `path`. The message lists `known` as the allowed names."""
    allowed = f" (there are {', '.join(sorted(known))})" if known else ""
    raise UserError(f"{sources.of(path)}: {'.'.join(path)}: {sentence}{allowed}")
