"""Coefficient schedules by name and as explicit triples."""

import pytest

from muonlab.optim.coefficients import SCHEDULES, schedule, triples


def test_a_longer_run_repeats_the_last_triple_and_a_shorter_one_stops():
    for name, known in SCHEDULES.items():
        length = len(known.triples)
        assert triples(name, length) == known.triples
        assert triples(name, length + 2) == known.triples + known.triples[-1:] * 2
        assert triples(name, 1) == known.triples[:1]


def test_explicit_triples_are_taken_as_they_are():
    mine = [[1, -2, 3], (4.5, 0.0, 0.0)]
    assert triples(mine, 3) == ((1.0, -2.0, 3.0), (4.5, 0.0, 0.0), (4.5, 0.0, 0.0))
    assert schedule(mine).norm_factor == 1.0


def test_every_schedule_pushes_small_singular_values_up_and_keeps_large_ones():
    """p(x) = ax + bx³ + cx⁵ with slope above 1 at zero; all composed stay below 1.3."""
    for name, known in SCHEDULES.items():
        x = [k / 1000 / known.norm_factor for k in range(1, 1001)]
        for a, b, c in triples(name, 10 if known.renormalise else len(known.triples)):
            assert a > 1, name
            x = [a * v + b * v**3 + c * v**5 for v in x]
        assert known.renormalise or max(x) < 2.0, name


@pytest.mark.parametrize("bad", ["jordon", [], [(1.0, 2.0)], [(1.0, 2.0, 3.0, 4.0)]])
def test_mistakes_are_named(bad):
    with pytest.raises(ValueError, match="ns_coefficients"):
        schedule(bad)
