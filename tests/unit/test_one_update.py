"""One update and one evaluation, piece by piece: what is averaged, in which order, over what."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_text_separation import write
from test_training import config, data, train  # noqa: F401 (data is a fixture)
from torch import nn
from torch.nn.functional import cross_entropy

from muonlab.data.windows import IGNORED, Windows
from muonlab.models.mlp import MLP
from muonlab.models.transformer import Transformer
from muonlab.optim.factory import build_optimizer
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.training import Training
from muonlab.probes.curvature import DTYPE, fixed_loss
from muonlab.streams import numpy_generator
from muonlab.training.build import build_model
from muonlab.training.checkpoint import Workspace, stamp
from muonlab.training.clock import Clock
from muonlab.training.images import Images
from muonlab.training.language import Text, text_splits
from muonlab.training.update import Update

SGD = OPTIMIZERS["sgd"](name="sgd", lr=0.5, momentum=0.0).model_dump()


class Rows:
    """Ten rows with a target each; remembers which were asked for."""

    tokens_per_example = 3

    def __init__(self):
        random = torch.Generator().manual_seed(0)
        self.rows = torch.randn(10, 4, generator=random)
        self.targets = torch.randint(0, 3, (10,), generator=random)
        self.asked = []

    def __len__(self):
        return 10

    def loss(self, model, indices):
        self.asked.append(indices.tolist())
        chosen = torch.from_numpy(indices)
        loss = cross_entropy(model(self.rows[chosen]), self.targets[chosen])
        return 2 * loss, loss.detach()


def update_of(**training):
    """An update of a small perceptron on `Rows`, with batches of 4, 4 and 2 in each epoch."""
    model = MLP(inputs=4, classes=3, width=5, depth=1, activation="relu", bias=True)
    model.initialise(1, "init")
    section = Training(batch_size=4, **training).model_dump()
    settings = {"training": section, "optimizer": SGD, "seed": 1}
    return Update(settings, model, build_optimizer(model, SGD), Rows(), "cpu")


def gradient(update):
    return torch.cat([p.grad.flatten() for p in update.model.parameters()])


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("step", [0, 1, 2])
def test_parts_of_unequal_size_weigh_by_their_examples(step):
    update = update_of(accumulation=2)
    recorded = update.gradients(step)
    examples = sum(update.split.asked, [])
    assert len(examples) == [8, 6, 6][step] and len(update.split.asked) == 2
    found = gradient(update).clone()
    update.model.zero_grad()
    objective, loss = update.split.loss(update.model, np.array(examples))
    objective.backward()
    torch.testing.assert_close(found, gradient(update))
    torch.testing.assert_close(recorded, loss)


def test_the_updates_of_two_epochs_see_every_example_twice():
    update = update_of(accumulation=2)
    for step in range(3):
        update.gradients(step)
    seen = sum(update.split.asked, [])
    assert sorted(seen) == sorted([*range(10)] * 2)
    assert sorted(seen[:10]) == [*range(10)] and seen[:10] != seen[10:]


def test_a_gradient_is_that_of_its_step_alone():
    update = update_of()
    update.gradients(0)
    first = gradient(update).clone()
    update.gradients(1)
    assert not torch.equal(gradient(update), first)
    update.gradients(0)
    assert torch.equal(gradient(update), first)


def test_what_is_minimised_and_what_is_recorded_are_told_apart():
    update = update_of()
    recorded = update.gradients(0)
    found = gradient(update).clone()
    update.model.zero_grad()
    _, loss = update.split.loss(update.model, np.array(update.split.asked[0]))
    assert recorded == pytest.approx(loss.item())
    chosen = torch.tensor(update.split.asked[0])
    plain = cross_entropy(update.model(update.split.rows[chosen]), update.split.targets[chosen])
    plain.backward()
    torch.testing.assert_close(found, 2 * gradient(update))


@pytest.mark.parametrize(
    ("training", "total"),
    [
        ({"epochs": 2}, 6),
        ({"epochs": 2, "accumulation": 2}, 4),
        ({"epochs": 2, "accumulation": 3}, 2),
        ({"epochs": 2, "steps": 5}, 5),
    ],
)
def test_an_epoch_is_one_pass_however_many_batches_make_an_update(training, total):
    assert update_of(**training).total == total


def test_tokens_are_counted_by_updates():
    assert update_of(accumulation=2).tokens(5) == 5 * 2 * 4 * 3


@pytest.mark.parametrize(("assumed", "factor"), [(None, 0.5), (5, 0.75)])
def test_the_rate_of_an_update_is_that_of_the_length_that_the_schedule_assumes(assumed, factor):
    update = update_of(steps=3, schedule="linear", schedule_steps=assumed)
    assert update.lr_factor(1) == pytest.approx(factor)
    update.gradients(1)
    before = [p.detach().clone() for p in update.model.parameters()]
    update.apply(1)
    for p, old in zip(update.model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.5 * factor * p.grad)


def test_warm_up_and_final_rate_reach_the_schedule():
    update = update_of(steps=8, schedule="cosine", warmup_steps=2, final_lr_fraction=0.25)
    assert [update.lr_factor(k) for k in (0, 1, 2, 7)] == pytest.approx([0.5, 1, 1, 0.25])
    late = update_of(steps=8, warmup_steps=2, warmup_from_zero=True)
    assert [late.lr_factor(k) for k in (0, 1, 2)] == [0, 0.5, 1]


class Noisy(nn.Module):
    """A model that draws noise, as dropout does."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4))
        self.drawn = []

    def components(self):
        return {"weight": "hidden"}

    def set_noise(self, generator):
        self.noise = generator

    def forward(self, x):
        self.drawn.append(torch.rand(2, generator=self.noise).tolist())
        return x @ self.weight.T


def test_the_noise_of_a_step_is_a_function_of_seed_and_step():
    def drawn(seed, *steps):
        model = Noisy()
        settings = {"training": Training(accumulation=2).model_dump(), "optimizer": SGD}
        optimizer = build_optimizer(model, SGD)
        update = Update(settings | {"seed": seed}, model, optimizer, Rows(), "cpu")
        for step in steps:
            update.gradients(step)
        return model.drawn

    both = drawn(1, 0, 1)
    assert both[2:] == drawn(1, 1)  # whatever came before
    assert len({tuple(pair) for pair in both}) == 4
    assert drawn(2, 0) != both[:2]


# ---------------------------------------------------------------- clipping


def final_weights(folder):
    """The weights of the run's last snapshot."""
    last = max(folder.rglob("*.safetensors"), key=lambda p: ("snapshots" in p.parts, p.name))
    tensors = {n.removeprefix("weights/"): t for n, t in load_file(last).items()}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("update/")}


@pytest.mark.parametrize("clip", [0.01, None])
def test_the_gradient_is_clipped_before_the_weights_move(tmp_path, data, clip):  # noqa: F811
    """SGD without momentum moves the weights by the rate times the gradient's norm."""
    training = {"steps": 1, "clip": clip, "schedule": "constant", "warmup_steps": 0}
    settings = config("adamw", training=training) | {"optimizer": SGD}
    facts = json.loads((data / "digest.json").read_text())
    before = dict(build_model(settings, facts).named_parameters())
    train(tmp_path / "run", data, settings)
    moved = [(w - before[name]).detach() for name, w in final_weights(tmp_path / "run").items()]
    norm = torch.cat([m.flatten() for m in moved]).norm().item() / SGD["lr"]
    if clip is None:
        assert norm > 0.05
    else:
        assert norm == pytest.approx(clip, rel=1e-3)


# ---------------------------------------------------------------- evaluation

VOCAB, LENGTH = 11, 6


def text(across=False, mask=True):
    """Nine windows over documents of 1 to 9 tokens."""
    random = np.random.default_rng(0)
    ends = np.cumsum(random.integers(1, 10, 12))
    tokens = random.integers(0, VOCAB, ends[-1]).astype(np.uint16)
    windows = Windows(tokens, np.array([0, *ends]), LENGTH, across_documents=across)
    return Text(windows, VOCAB, mask, "cpu")


def transformer(dropout=0.0, **sizes):
    sizes = dict(width=8, layers=1, heads=2, feedforward=16) | sizes
    model = Transformer(vocab=VOCAB, context=LENGTH, dropout=dropout, **sizes)
    model.initialise(1, "init")
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(20 if p.ndim > 1 else 1)  # far from uniform answers
    model.set_noise(torch.Generator().manual_seed(0))
    return model


def by_hand(model, split, chosen):
    """Mean loss and accuracy over the targets that count, one window at a time."""
    losses, right = [], []
    with torch.no_grad():
        for i in chosen:
            inputs, targets, documents = split.batch(np.array([i]))
            logits = model(inputs, documents)[0].double()
            for row, target in zip(logits, targets[0].tolist(), strict=True):
                if target != IGNORED:
                    losses.append(row.logsumexp(0).item() - row[target].item())
                    right.append(row.argmax().item() == target)
    return np.mean(losses), np.mean(right)


@pytest.mark.parametrize("examples", [None, 4])
def test_text_is_evaluated_over_the_targets_that_count(examples):
    split, model = text(), transformer()
    chosen = range(len(split)) if examples is None else [i * len(split) // 4 for i in range(4)]
    targets = split.batch(np.arange(len(split)))[1]
    assert (targets == IGNORED).sum() > 5
    found = split.evaluate(model, examples)
    loss, accuracy = by_hand(model.eval(), split, chosen)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)


def test_text_is_evaluated_in_pieces_that_fit_and_the_result_is_the_same(monkeypatch):
    split, model = text(), transformer()
    whole = split.evaluate(model)
    monkeypatch.setattr("muonlab.training.language.CPU_LOGITS", 2 * VOCAB * LENGTH)
    assert split.evaluate(model) == pytest.approx(whole)


@pytest.mark.parametrize("training", [True, False])
def test_text_is_evaluated_without_dropout_and_the_model_goes_on_as_it_was(training):
    split, model = text(), transformer(dropout=0.5)
    model.train(training)
    found = split.evaluate(model)
    assert model.training == training
    assert found == split.evaluate(transformer(dropout=0.0))


def test_router_noise_is_no_part_of_an_evaluation():
    split, model = text(), transformer(experts=4, router_noise=3.0)
    model.train()
    assert split.evaluate(model) == split.evaluate(transformer(experts=4, router_noise=0.0))


def test_text_is_trained_on_the_mean_over_the_targets_that_count():
    split, model = text(), transformer()
    objective, recorded = split.loss(model, np.arange(5))
    assert recorded.item() == pytest.approx(by_hand(model, split, range(5))[0], rel=1e-5)
    assert objective.item() == pytest.approx(recorded.item())  # no experts, no auxiliary loss


def test_the_auxiliary_loss_is_minimised_and_not_recorded():
    split, model = text(), transformer(experts=4, balance_loss=0.7)
    objective, recorded = split.loss(model, np.arange(5))
    extra = model.auxiliary_loss().item()
    assert extra > 0.5 and objective.item() == pytest.approx(recorded.item() + extra, rel=1e-5)
    assert recorded.item() == pytest.approx(by_hand(model, split, range(5))[0], rel=1e-4)


def test_windows_of_a_run_are_those_of_its_splits(tmp_path):
    """Disjoint ones stay in their splits; of overlapping ones a tenth is evaluated, never more."""
    sizes = {"train": 50, "validation": 30, "test": 20}
    for first, (split, size) in enumerate(sizes.items(), 1):
        write(tmp_path, split, [[first] * 4] * (size // 5))
    facts = {"vocab": VOCAB, "dtype": "uint16"}
    facts["splits"] = {s: {"tokens": n, "documents": n // 5} for s, n in sizes.items()}
    wanted = {"train": ["train"], "validation": ["validation"], "report": ["test"]}

    def splits(windows):
        training = Training(windows=windows).model_dump()
        asked = {"training": training, "model": {"context": LENGTH}}
        return text_splits(wanted, tmp_path, facts, asked, "cpu")

    disjoint = splits("disjoint")
    assert {name: len(part) for name, part in disjoint.items()} == {
        "train": 8,
        "validation": 4,
        "report": 3,
    }
    overlapping = splits("overlapping")
    assert len(overlapping["report"]) == 3
    assert len(overlapping["validation"]) == 7 and len(overlapping["train"]) == 80 - LENGTH - 7
    first = disjoint["report"].batch(np.arange(1))[0]
    assert set(first.flatten().tolist()) == {0, 3}


def test_documents_are_masked_where_that_is_asked_for_alone():
    assert text(mask=False).batch(np.arange(2))[2] is None
    assert text(mask=True).batch(np.arange(2))[2].shape == (2, LENGTH)


def test_images_are_evaluated_over_what_was_chosen():
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 17, (30, 4), generator=random, dtype=torch.uint8)
    labels = torch.randint(0, 3, (30,), generator=random, dtype=torch.uint8)
    split = Images(images, labels, 16, "cpu")
    model = MLP(inputs=4, classes=3, width=5, depth=1, activation="relu", bias=True)
    model.initialise(1, "init")
    for examples, chosen in ((None, range(30)), (7, [i * 30 // 7 for i in range(7)])):
        found = split.evaluate(model, examples)
        with torch.no_grad():
            logits = model(images[list(chosen)] / 16).double()
        wanted = labels[list(chosen)].long()
        assert found["loss"] == pytest.approx(cross_entropy(logits, wanted).item(), rel=1e-5)
        assert found["accuracy"] == (logits.argmax(1) == wanted).double().mean().item()


# ---------------------------------------------------------------- the batch of curvature


class Asked:
    """A split of 40 examples that tells which of them it was asked for."""

    def __len__(self):
        return 40

    def loss_in(self, indices, dtype):
        return indices, dtype


def test_the_batch_of_curvature_starts_a_fixed_permutation_of_the_split():
    order, dtype = fixed_loss(Asked(), 40)
    assert dtype is DTYPE is torch.float64
    assert sorted(order.tolist()) == [*range(40)]
    assert order[:6].tolist() == [3, 1, 11, 10, 2, 23]
    for examples in (1, 12, 40, 100):
        assert fixed_loss(Asked(), examples)[0].tolist() == order[:examples].tolist()
    expected = numpy_generator(0, "curvature batch").permutation(40)
    assert order.tolist() == expected.tolist()


# ---------------------------------------------------------------- checkpoints


def test_a_checkpoint_is_taken_up_under_its_own_stamp_alone(tmp_path, capsys):
    state = {"step": 3, "weights": torch.arange(4.0)}
    Workspace(tmp_path / "run", "mine").save(state)
    found = Workspace(tmp_path / "run", "mine").load()
    assert found["step"] == 3 and torch.equal(found["weights"], state["weights"])
    assert Workspace(tmp_path / "run", "other").load() is None
    assert "belongs to other settings" in capsys.readouterr().out
    assert Workspace(tmp_path / "run", "mine").load() is None  # it was cleared


def test_a_stamp_names_all_that_a_run_depends_on(monkeypatch):
    facts = dict(config={"seed": 1}, code="code", data={"sha256": "x"}, device="cpu")
    mark = stamp(**facts)
    assert stamp(**facts) == mark
    others = dict(config={"seed": 2}, code="other", data={"sha256": "y"}, device="cuda")
    marks = {stamp(**facts | {name: value}) for name, value in others.items()}
    monkeypatch.setattr(torch, "__version__", "0.0")
    marks.add(stamp(**facts))
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    marks.add(stamp(**facts))
    assert len(marks | {mark}) == 7


def test_images_have_one_brightness_in_training_and_in_curvature():
    images = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    split = Images(images, torch.tensor([0, 1, 2]), 16, "cpu")
    model = MLP(inputs=4, classes=3, width=5, depth=1, activation="relu", bias=True)
    model.initialise(1, "init")
    pixels, _ = split.batch(torch.arange(3))
    torch.testing.assert_close(pixels, images / 16)
    order = np.arange(3)
    trained = split.loss(model, order)[0].item()
    assert split.loss_in(order, torch.float64)(model.double()).item() == pytest.approx(trained)


def test_a_step_takes_the_median_over_later_stretches_of_their_seconds_by_updates():
    chunks = [[1, 50.0, 50.0], [10, 20.0, 10.0], [5, 20.0, 5.0], [2, 2.0, 6.0]]
    assert Clock(chunks=chunks).step_seconds() == (2.0, 1.0)
    assert Clock(chunks=chunks[:1]).step_seconds() == (None, None)
