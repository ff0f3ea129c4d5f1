"""Names of runs: short, safe, telling part first, and different for different settings."""

import re

from hypothesis import given
from hypothesis import strategies as st

from muonlab.plan.naming import LONGEST, RUN_PATTERN, seed_name, settings_digest, settings_name

DEFAULTS = {"momentum": 0.95, "betas": [0.9, 0.999], "adamw": {"lr": None}}
CONFIG = {
    "data": "digits",
    "model": {"name": "mlp", "width": 15, "depth": 3},
    "training": {"epochs": 2},
    "optimizer": {"name": "muon", "lr": 0.01, **DEFAULTS},
}


def name(**optimizer):
    return settings_name(CONFIG | {"optimizer": CONFIG["optimizer"] | optimizer}, DEFAULTS)


def test_the_optimizer_its_rate_and_what_is_not_usual_come_first():
    assert name().startswith("muon-lr0.01-digits-")
    assert name(momentum=0.9, betas=[0.8, 0.9]).startswith("muon-lr0.01-momentum0.9-betas0.8+0.9-")
    assert name(adamw={"lr": 0.003}).startswith("muon-lr0.01-adamw_lr0.003-digits-")


def test_swapped_settings_of_one_type_are_another_run():
    swapped = CONFIG | {"model": {"name": "mlp", "width": 3, "depth": 15}}
    assert settings_name(swapped, DEFAULTS) != settings_name(CONFIG, DEFAULTS)


def test_seed_phase_and_what_is_kept_are_no_settings():
    for more in ({"seed": 3}, {"phase": "tuning"}, {"keep": {"snapshots": "all"}}):
        assert settings_digest(CONFIG | more) == settings_digest(CONFIG)


TEXTS = st.text(max_size=200) | st.floats(allow_nan=False) | st.lists(st.floats(0, 1), max_size=40)


@given(st.dictionaries(st.text("abcdefgh_", min_size=1, max_size=40), TEXTS, max_size=8))
def test_any_settings_make_a_short_safe_name(fields):
    for seed, phase in ((2**31 - 1, "tuning"), (0, "reporting")):
        run = f"{name(**fields)}/{seed_name(seed, phase)}"
        assert len(run) <= LONGEST
        assert re.fullmatch(RUN_PATTERN, run)


def test_names_that_are_cut_stay_different():
    first, second = name(x=["a" * 100, "b" * 200]), name(x=["a" * 100, "b" * 199 + "c"])
    assert first != second and first[:-10] == second[:-10]
