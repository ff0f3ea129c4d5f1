"""Declarations are read from the source text, and a wrong one is one sentence."""

import pytest

from muonlab.io.errors import UserError
from muonlab.plan.registry import declarations, read_registry

MODULE = """
from muonlab.declare import figure, measurement, table

COLOUR = "red"


@figure(title="loss", section="training", caption="Loss of {title} "
        "over {n} seeds.")
def loss_curve(metrics, study, tuning=None):
    import a_package_that_nobody_has


@table(section="tables", outputs={"means": ("means", "Means."), "hidden": None})
def means(summaries, runs):
    pass


@measurement(memory_mb=5, split="test", of="arm")
def norms(run):
    pass


def not_declared(metrics):
    pass
"""


def module(tmp_path, text, folder="report/figures", name="mine.py"):
    path = tmp_path / "muonlab" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_declaration_says_what_it_makes_and_what_it_needs(tmp_path):
    path = module(tmp_path, MODULE)
    loss, means, norms = declarations(path, tmp_path / "muonlab")
    assert (loss.kind, loss.name, loss.section) == ("figure", "loss_curve", "training")
    assert loss.needs == ("metrics", "study") and loss.optional == ("tuning",)
    assert loss.function == "muonlab.report.figures.mine:loss_curve"
    assert loss.outputs[0].caption == "Loss of {title} over {n} seeds."
    assert [(o.name, o.title) for o in means.outputs] == [("means", "means"), ("hidden", None)]
    assert (norms.memory_mb, norms.split, norms.of) == (5, "test", "arm")


def test_a_declaration_that_is_no_literal_is_refused(tmp_path):
    path = module(tmp_path, MODULE.replace('title="loss"', "title=COLOUR"))
    with pytest.raises(UserError, match=r"mine.py, line \d+: the arguments .* must be literals"):
        declarations(path, tmp_path / "muonlab")


@pytest.mark.parametrize("folder", ["report/figures", "report/tables"])
def test_a_name_is_taken_once(folder, tmp_path):
    module(tmp_path, MODULE)
    again = (
        MODULE
        if folder == "report/figures"
        else MODULE.split("@figure")[0]
        + ('@table(section="", outputs={"hidden": None})\ndef others(runs):\n    pass\n')
    )
    module(tmp_path, again, folder, "again.py")
    with pytest.raises(UserError, match="there are two (figures named loss|tables named hid)"):
        read_registry(tmp_path / "muonlab")
