"""Configs that hypothesis makes wrong: each is answered by one sentence that names the file."""

import copy
import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from muonlab.io.errors import UserError
from muonlab.plan.captions import as_text
from muonlab.plan.outputs import Outputs
from muonlab.plan.runs import load_plan
from muonlab.plan.yaml_file import MOST_NODES

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "config.schema.json").read_text())
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
# Values of every type, among them those that YAML and JSON write differently from Python.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["3e-4", "<script>", "$(id)", "../..", "a b", "", "1" * 300, "nan", "yes"]),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=6), st.integers(), max_size=2),
)


def fields_of(schema: dict) -> set[str]:
    """The names of all fields anywhere in the schema."""
    found = set(schema.get("properties", ()))
    for inner in schema.get("$defs", {}).values():
        found |= set(inner.get("properties", ()))
    return found


FIELDS = sorted(fields_of(SCHEMA))


def places(value, path=()):
    """The paths of all values in nested mappings and lists."""
    yield path
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in inner:
            yield from places(part, (*path, key))


def alone(study: str) -> dict:
    """The default config with one of its studies alone, which is read sooner."""
    return copy.deepcopy(DEFAULT | {"studies": {study: DEFAULT["studies"][study]}})


# libyaml's writer, where PyYAML has it, takes a quarter of the time.
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def at(value, path):
    for part in path:
        value = value[part]
    return value


@st.composite
def changed(draw):
    """The default config, most often with one study alone, and with one to three changes: another
    value, a field from elsewhere, a field removed, or a section nested into itself."""
    study = draw(st.sampled_from([*DEFAULT["studies"], None]))
    config = alone(study) if study else copy.deepcopy(DEFAULT)
    paths = [path for path in places(config) if path]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths))
        try:
            above = at(config, path[:-1])
            old = above[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has removed it
        kind = draw(st.sampled_from(["value", "value", "field", "remove", "nest"]))
        if kind == "value":
            above[path[-1]] = draw(VALUES)
        elif kind == "remove":
            del above[path[-1]]
        elif kind == "nest":
            above[path[-1]] = {str(path[-1]): old}
        elif isinstance(old, dict):
            old[draw(st.sampled_from(FIELDS))] = draw(VALUES)
    return config


def answer(folder: Path, config: dict | str) -> str | None:
    """What the plan says about a config or a text: a sentence, or None if it is accepted."""
    file = folder / "mine.yaml"
    if isinstance(config, dict):
        config = yaml.dump(config, Dumper=DUMPER, allow_unicode=True)
    file.write_text(config, encoding="utf-8")
    try:
        Outputs(load_plan([file]))
    except UserError as mistake:
        return str(mistake)
    return None


def check_sentence(sentence: str) -> None:
    assert "\n" not in sentence
    assert sentence.startswith("mine.yaml") or "/mine.yaml" in sentence.split(":")[0], sentence
    assert len(sentence) < 2000, sentence


@settings(
    max_examples=300,
    deadline=None,
    phases=[Phase.generate],  # a smaller example is not worth the minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(config=changed())
def test_a_changed_config_is_accepted_or_answered_by_a_sentence(tmp_path, config):
    sentence = answer(tmp_path, config)
    if sentence is not None:
        check_sentence(sentence)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"], "nothing is written"


# Mistakes that were once answered by a traceback, or without the name of the file or the field.
MISTAKES = {
    "data of a level that are a list": (
        ("comparison", "factors", "data", "levels", "docstrings", "set", "data"),
        [None],
    ),
    "an end of a box that is infinite": (("ablation", "tuning", "box", "lr", "high"), math.inf),
    "more trials of an arm than can be counted": (
        ("fashion", "arms", "frozen", "trials"),
        10**25,
    ),
    "a smallest difference of no outcome, among hundreds": (
        ("fashion", "measure", "contrasts", "smallest_difference"),
        {"final_lost": 1},
    ),
    "an end of a box that is no number": (("ablation", "tuning", "box", "lr", "low"), math.nan),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_answered_by_its_field(case, tmp_path):
    path, value = MISTAKES[case]
    config = alone(path[0])
    at(config["studies"], path[:-1])[path[-1]] = value
    sentence = answer(tmp_path, config)
    check_sentence(sentence)
    named = path[:-1] if path[-1] in ("low", "high") else path
    # A check of several fields names its section first, and then the field in it.
    _, section, field, *_ = sentence.split(": ")
    assert f"studies.{'.'.join(named)}" in (section, f"{section}.{field}")


def nested(levels: int) -> str:
    return "studies: " + "{fashion: " * levels + "1" + "}" * levels + "\n"


def laughs(levels: int, kind: str) -> str:
    """Anchors within anchors, which stand for 9 ** `levels` values."""
    lines = ["data: &a0 " + ("[x, x]" if kind == "list" else "{p: 1, q: 2}")]
    for n in range(levels):
        inner = ", ".join(f"*a{n}" if kind == "list" else f"k{i}: *a{n}" for i in range(9))
        lines.append(f"s{n}: &a{n + 1} " + (f"[{inner}]" if kind == "list" else f"{{{inner}}}"))
    return "\n".join(lines) + "\n"


TEXTS = {
    "anchors within anchors, lists": (laughs(9, "list"), f"repeat more than {MOST_NODES:,}"),
    "anchors within anchors, sections": (laughs(9, "section"), "repeat more than"),
    "an anchor in itself": ("studies: &s {fashion: *s}\n", "contains itself"),
    "an object of Python": (
        "studies: !!python/object/apply:os.system [echo]\n",
        "could not determine a constructor",
    ),
    "a thousand levels": (nested(3000), "nested too deeply"),
    "thirty levels": (nested(30), "mine.yaml"),
    "a key twice": ("name: a\nname: b\n", "occurs twice"),
    "a key twice, deep": ("studies: {fashion: {seeds: [1], seeds: [2]}}\n", "occurs twice"),
    "a key that is a list": ("? [1, 2]\n: 3\n", "is not text"),
    "a date that is none": ("name: 2001-99-99\n", "cannot be read"),
    "a number of 6,000 digits": (f"name: {'9' * 6000}\n", "cannot be read"),
    "two documents": ("name: a\n---\nname: b\n", "document"),
    "binary": ("name: \x00\n", "not valid YAML"),
    "a merge of a number": ("studies: {<<: 3}\n", "not valid YAML"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_that_is_no_config(case, tmp_path):
    text, says = TEXTS[case]
    sentence = answer(tmp_path, text)
    assert sentence is not None
    check_sentence(sentence)
    assert says in sentence


TEXT_WITH_MARKUP = {
    "script": "<script>alert(1)</script>",
    "end of a script": "</script><img src=x onerror=alert(1)>",
    "comment": "a <!-- b",
    "directive": "x\n\n.. include:: /etc/passwd\n",
    "link": "`x <javascript:alert(1)>`_",
}


@pytest.mark.parametrize("case", TEXT_WITH_MARKUP)
@pytest.mark.parametrize("field", ["label", "title", "key"])
def test_markup_in_a_text_is_refused(case, field, tmp_path):
    text = TEXT_WITH_MARKUP[case]
    config = alone("fashion")
    fashion = config["studies"]["fashion"]
    if field == "label":
        fashion["arms"]["muon"]["label"] = text
    elif field == "title":
        fashion["title"] = text
    else:
        fashion["arms"][text] = {"base": "muon"}
    sentence = answer(tmp_path, config)
    assert sentence is not None
    check_sentence(sentence)
    assert "must not hold HTML" in sentence or "must be one line" in sentence


@pytest.mark.parametrize(
    "label", ["a < b", "lr <0.1", "3 > 2 & 1", "$5 to $6", "β₂ → 0.99", "a|b*`_"]
)
def test_a_label_of_plain_text_is_accepted(label, tmp_path):
    config = alone("fashion")
    config["studies"]["fashion"]["arms"]["muon"]["label"] = label
    assert answer(tmp_path, config) is None


@pytest.mark.parametrize("name", ["$(id)", "a;b", "a b", "../up", "`id`", "a'b", 'a"b', "a|b", "Ä"])
@pytest.mark.parametrize("place", ["config", "study", "arm", "data", "optimizer"])
def test_a_name_that_a_shell_would_read_is_refused(place, name, tmp_path):
    config = alone("fashion")
    fashion = config["studies"]["fashion"]
    if place == "config":
        config["name"] = name
    elif place == "study":
        config["studies"][name] = fashion
    elif place == "arm":
        fashion["arms"][name] = {"base": "muon", "set": {"optimizer.nesterov": False}}
    elif place == "data":
        config["data"][name] = {"source": "digits"}
    else:
        fashion["optimizers"][name] = {"name": "adamw"}
    sentence = answer(tmp_path, config)
    assert sentence is not None
    check_sentence(sentence)
    assert "names are small letters" in sentence


def test_no_character_of_a_label_is_markup_in_a_caption():
    from docutils.core import publish_parts

    hostile = "*a* `b` |c| d_ __e__ \\f <g> `h <i>`_ **k"
    html = publish_parts(as_text(hostile), writer="html5")["body"]
    shown = hostile.replace("<", "&lt;").replace(">", "&gt;")
    assert html.strip() == f"<p>{shown}</p>"
