"""What the figures declare, and that none draws an interval at a level of its own."""

import ast
import string
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[2] / "workflow_scripts" / "muonlab" / "report"
MODULES = sorted((REPORT / "figures").glob("*.py"))
SHARED = [REPORT / f"{name}.py" for name in ("style", "bands", "crowd")]
WORDS = {"title", "data", "protocol", "n", "interval", "alpha", "split", "levels"}
WORDS |= {"rates", "against", "test", "effect"}
# The functions that are marked, by name, and the keywords of their mark.
DECLARED = [
    pytest.param(node, {k.arg: k.value for k in mark.keywords}, id=node.name)
    for path in MODULES
    for node in ast.parse(path.read_text()).body
    for mark in getattr(node, "decorator_list", [])
]


@pytest.mark.parametrize(("function", "said"), DECLARED)
def test_a_figure_is_declared_by_literals_and_its_caption_is_a_template(function, said):
    said = {name: ast.literal_eval(value) for name, value in said.items()}
    assert set(said) == {"title", "section", "caption"} and all(said.values())
    words = {word for _, word, _, _ in string.Formatter().parse(said["caption"]) if word}
    assert words <= WORDS
    assert said["caption"].format(**dict.fromkeys(WORDS, "1")).endswith("Protocol: 1.")
    assert "95" not in said["caption"]
    assert ast.unparse(function.returns) == "Figure" and ast.get_docstring(function)


def test_no_two_figures_share_a_name_nor_two_modules():
    names = [case.id for case in DECLARED]
    assert names and len(names) == len(set(names))
    elsewhere = {p.stem for p in REPORT.parent.rglob("*.py") if p not in MODULES}
    assert not elsewhere & {p.stem for p in MODULES if p.stem != "__init__"}


@pytest.mark.parametrize("path", [*MODULES, *SHARED], ids=lambda path: path.stem)
def test_the_level_of_an_interval_is_the_studys(path):
    code = ast.parse(path.read_text())
    texts = [node.value for node in ast.walk(code) if isinstance(node, ast.Constant)]
    typed = [text for text in texts if isinstance(text, str) and "95 %" in text]
    # "95 %" may explain in a docstring what the study's interval looks like.
    assert not [text for text in typed if '("95 %")' not in text]
    calls = [node for node in ast.walk(code) if isinstance(node, ast.Call)]
    for call in calls:
        if getattr(call.func, "id", "") == "mean_interval":
            assert len(call.args) == 2, "it would be at the default level"
