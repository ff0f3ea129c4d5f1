"""The ladder of losses: each run passes each rung once, and keeps its weights where it does."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from muonlab.hooks import WatchedUpdate, copy_of
from muonlab.io.tensors import read_tensors
from muonlab.measure.ladder import FLOOR, rung_of, rungs_passed, thinned
from muonlab.observers.snapshots import Snapshots, file_name
from muonlab.training.metrics import Metrics

RATIOS = st.floats(1.01, 3.0)
LOSSES = st.floats(1e-6, 1e4)
BROKEN = st.sampled_from([math.nan, math.inf, -math.inf])
CURVES = st.lists(st.one_of(LOSSES, BROKEN), max_size=40).map(
    lambda losses: [(10 * i, loss) for i, loss in enumerate(losses)]
)


@given(LOSSES, RATIOS)
def test_the_rung_of_a_loss_is_the_lowest_that_is_not_below_it(loss, ratio):
    k = rung_of(loss, ratio)
    assert ratio ** (k - 1) < loss <= ratio**k


@given(st.integers(-200, 80), st.sampled_from([1.01, 1.05, 1.1, 1.2, 2.0]))
def test_a_loss_that_is_a_rung_stands_on_it(k, ratio):
    assert rung_of(max(ratio**k, FLOOR), ratio) == rung_of(ratio**k, ratio)
    if ratio**k > FLOOR:
        assert rung_of(ratio**k, ratio) == k


def test_a_loss_of_zero_has_a_rung():
    assert rung_of(0.0, 1.1) == rung_of(FLOOR, 1.1)


@given(CURVES, RATIOS)
def test_each_rung_below_the_start_is_passed_once_at_the_first_evaluation_under_it(curve, ratio):
    found = rungs_passed(curve, ratio)
    finite = [(step, loss) for step, loss in curve if math.isfinite(loss)]
    passed = [(rung, step) for step, rungs in found.items() for rung in rungs]
    assert len({rung for rung, _ in passed}) == len(passed)
    expected = {}
    if finite:
        start = rung_of(finite[0][1], ratio)
        lowest = min(rung_of(loss, ratio) for _, loss in finite)
        for rung in range(lowest, start):
            expected[rung] = next(s for s, loss in finite if rung_of(loss, ratio) <= rung)
    assert dict(passed) == expected


def test_one_evaluation_may_pass_several_rungs_and_a_rise_passes_none():
    curve = [(0, 8.0), (10, 2.0), (20, 3.0), (30, math.nan), (40, 2.0), (50, 1.0)]
    assert rungs_passed(curve, 2.0) == {10: range(1, 3), 50: range(0, 1)}
    assert rungs_passed([(0, 1.0), (10, 9.0)], 2.0) == {}
    assert rungs_passed([(0, math.nan), (10, 4.0), (20, 2.0)], 2.0) == {20: range(1, 2)}


@given(CURVES, RATIOS, st.integers(1, 9))
def test_thinning_keeps_few_enough_and_no_fewer_than_half(curve, ratio, most):
    passed = rungs_passed(curve, ratio)
    kept = thinned(passed, most)
    assert len(kept) <= most and kept == sorted(kept) and set(kept) <= set(passed)
    if len(passed) <= most:
        assert kept == list(passed)


@given(CURVES, CURVES, RATIOS, st.integers(1, 9))
def test_two_runs_are_measured_at_the_same_rungs(one, two, ratio, most):
    """Every rung at which the more thinly measured run is measured, and which the other passed by
    itself, is one of the other's."""
    runs = [rungs_passed(curve, ratio) for curve in (one, two)]
    strides = [_stride(passed, most) for passed in runs]
    thin, thick = sorted((0, 1), key=lambda i: -strides[i])
    chosen = thinned(runs[thick], most)
    for step, rungs in runs[thick].items():
        own = {r for r in rungs if r % strides[thin] == 0}
        if own & {r for passed in runs[thin].values() for r in passed}:
            assert step in chosen


def _stride(passed, most):
    stride = 1
    while sum(any(r % stride == 0 for r in rungs) for rungs in passed.values()) > most:
        stride *= 2
    return stride


# ---------------------------------------------------------------- the observer


class FakeRun:
    """A run whose weights are its step, and whose evaluations have the given losses."""

    def __init__(self, losses, total, eval_every=10):
        self.losses, self.total, self.eval_every = losses, total, eval_every
        self.step, self.metrics, self.model = 0, Metrics(), nn.Linear(1, 1, bias=False)
        self.stopped_at = None

    def evaluate(self):
        if self.metrics.last_step("validation") != self.step:
            self.metrics.add(self.step, "validation", loss=self.losses[self.step])
            self.metrics.add(self.step, "test", loss=0.0)

    def go(self, observer, until, stretch=3):
        """As the training loop does it: evaluation, some updates, then the observers' turn."""
        while self.step < until:
            if self.step % self.eval_every == 0:
                self.evaluate()
            stop = min(until, *((self.step // n + 1) * n for n in (stretch, self.eval_every)))
            while self.step < stop:
                self.update(observer)
            observer.after_updates(self)
        if until == self.total:
            self.evaluate()
            observer.finish(self)

    def update(self, observer):
        due = observer.due(self.step)
        before = copy_of(self.model)
        with torch.no_grad():
            self.model.weight.fill_(float(self.step + 1))
        self.step += 1
        if due:
            watched = WatchedUpdate(self.step - 1, 1.0, self.model, {}, before, None)
            watched.after = copy_of(self.model)
            observer.after_update(watched)


def training(**changes):
    known = {"eval_every": 10, "snapshot_every": None, "rung_ratio": 2.0}
    return known | {"evaluate_on": "validation"} | changes


def snapshots(folder, total=60, updates=True, **changes):
    folder.mkdir(exist_ok=True)
    return Snapshots(folder, total, updates, training(**changes))


LOSSES_AT = {0: 8.0, 10: 5.0, 20: 3.9, 30: math.nan, 40: 6.0, 50: 0.9, 60: 0.8}


@pytest.mark.parametrize("stretch", [1, 3, 10])
def test_weights_are_kept_where_a_rung_is_passed_and_at_the_end(stretch, tmp_path):
    observer = snapshots(tmp_path)
    FakeRun(LOSSES_AT, 60).go(observer, 60, stretch)
    assert observer.kept == [20, 50, 60] and not observer.waiting
    for step in observer.kept:
        file = tmp_path / file_name(step)
        assert read_tensors(file, "weights")["weight"].item() == step
    assert read_tensors(tmp_path / file_name(50), "update")["weight"].item() == 1.0
    assert sorted(p.name for p in tmp_path.iterdir()) == [file_name(s) for s in (20, 50, 60)]


def test_evaluations_after_every_update_are_told_apart(tmp_path):
    losses = {step: 2.0 ** (4 - step) for step in range(7)}
    observer = snapshots(tmp_path, total=6, eval_every=1)
    FakeRun(losses, 6, eval_every=1).go(observer, 6, stretch=1)
    assert observer.kept == [1, 2, 3, 4, 5, 6]
    weights = [read_tensors(tmp_path / file_name(s), "weights") for s in observer.kept]
    assert [w["weight"].item() for w in weights] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("updates", [True, False])
@pytest.mark.parametrize("at", [0, 9, 10, 11, 20, 25, 50])
def test_a_resumed_run_keeps_the_same_weights(at, updates, tmp_path):
    observer, run = snapshots(tmp_path, updates=updates), FakeRun(LOSSES_AT, 60)
    run.go(observer, at)
    torch.save(observer.state_dict(), tmp_path / "state.pt")
    resumed = snapshots(tmp_path, updates=updates)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    run.go(resumed, 60)
    assert resumed.kept == [20, 50, 60]
    for step in resumed.kept:
        assert read_tensors(tmp_path / file_name(step), "weights")["weight"].item() == step
        assert bool(read_tensors(tmp_path / file_name(step), "update")) == updates


def test_snapshots_may_be_kept_at_other_steps_too(tmp_path):
    observer = snapshots(tmp_path, snapshot_every=30)
    FakeRun(LOSSES_AT, 60).go(observer, 60)
    assert sorted(observer.kept) == [20, 30, 50, 60]


def test_a_run_of_which_the_end_alone_is_read_keeps_that(tmp_path):
    observer = Snapshots(tmp_path, 60, True, None)
    FakeRun(LOSSES_AT, 60).go(observer, 60)
    assert observer.kept == [60]


def test_a_run_that_stops_early_keeps_what_it_stopped_with(tmp_path):
    observer, run = snapshots(tmp_path), FakeRun(LOSSES_AT, 60)
    run.go(observer, 40)
    run.evaluate()
    observer.finish(run)
    assert observer.kept == [20, 40] and not observer.waiting
