"""What the training loop tells its observers, and that it needs none."""

import json

import pytest
import torch
from test_training import config

from muonlab.data.vision import prepare
from muonlab.hooks import Observer
from muonlab.observers.snapshots import Snapshots
from muonlab.training.build import build_splits
from muonlab.training.loop import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare("digits", {"source": "digits", "validation": 300, "test": 360, "split_seed": 0}, folder)
    return folder


def trainer_of(data, *observers, **training):
    short = {"steps": 6, "log_every": 3, "eval_every": 3, "clip": 1e-3}
    settings = config(training=short | training)
    facts = json.loads((data / "digest.json").read_text())
    trainer = Trainer(settings, facts, build_splits(settings, data, facts, "cpu"))
    trainer.observers = observers
    return trainer


class Diary(Observer):
    """Writes down each call."""

    compares_weights = True

    def __init__(self, every):
        self.every, self.calls, self.norms = every, [], []

    def due(self, step):
        return step % self.every == 0

    def before_clipping(self, update):
        self.calls.append(("before clipping", update.step))
        self.norms.append(self._norm(update.model))
        assert update.before is None

    def after_update(self, update):
        self.calls.append(("after", update.step))
        self.norms.append(self._norm(update.model))
        for name, p in update.model.named_parameters():
            assert torch.equal(update.after[name], p) and not torch.equal(update.before[name], p)

    def after_updates(self, run):
        self.calls.append(("stretch", run.step))

    def finish(self, run):
        self.calls.append(("end", run.step))

    @staticmethod
    def _norm(model):
        return torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()


def test_observers_are_told_in_this_order(data):
    diary = Diary(every=4)
    trainer_of(data, diary).train(lambda: None, 3600)
    assert diary.calls == [
        ("before clipping", 0),
        ("after", 0),
        ("stretch", 3),
        ("before clipping", 4),
        ("after", 4),
        ("stretch", 6),
        ("end", 6),
    ]
    before, after = diary.norms[::2], diary.norms[1::2]
    assert min(before) > 0.01, "before clipping"
    assert after == pytest.approx([1e-3] * 2, rel=1e-3)


def test_a_loop_without_observers_makes_the_same_run(data):
    watched, alone = trainer_of(data, Diary(every=1)), trainer_of(data)
    for trainer in (watched, alone):
        trainer.train(lambda: None, 3600)
    assert watched.metrics.rows == alone.metrics.rows
    assert watched.summary() == alone.summary()
    for one, two in zip(watched.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_watching_does_not_count_as_updates(data):
    class Slow(Observer):
        def due(self, step):
            return True

        def after_update(self, update):
            torch.linalg.svdvals(torch.ones(400, 400))

    trainer = trainer_of(data, Slow())
    trainer.train(lambda: None, 3600)
    assert trainer.clock.watching > 0
    assert trainer.clock.updates + trainer.clock.watching <= trainer.clock.read()["total"]


def test_weights_are_copied_only_where_they_are_compared(data, tmp_path):
    class Plain(Observer):
        def due(self, step):
            return True

        def after_update(self, update):
            assert update.before is None and update.after is None

    trainer_of(data, Plain(), Snapshots(tmp_path, 6, False, None), steps=5).train(
        lambda: None, 3600
    )


def test_a_base_observer_does_nothing(data):
    trainer = trainer_of(data, Observer())
    trainer.train(lambda: None, 3600)
    assert trainer.step == 6 and Observer().state_dict() == {}


def test_a_run_trains_all_but_its_frozen_matrices(data):
    trainer = trainer_of(data, frozen=["input"])
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train(lambda: None, 1e9)
    components = trainer.model.components()
    assert "input" in components.values()
    for name, p in trainer.model.named_parameters():
        assert torch.equal(p, before[name]) == (components[name] == "input"), name
    assert "input" not in {route.component for route in trainer.routes}
