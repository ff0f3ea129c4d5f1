"""Records of small transformers whose weights take made-up steps: quick, and of the real form."""

from functools import cache

import numpy as np
import pandas as pd
import torch

from muonlab.hooks import WatchedUpdate, copy_of
from muonlab.models.transformer import Transformer
from muonlab.observers import components, geometry, gradients
from muonlab.report.layers import condensed, of_layers
from muonlab.report.stretching import run_slopes, slope_contrasts, slope_table

ARMS, STEPS, EVERY, TOKENS = ("adamw", "muon"), 30, 10, 64
LABELS = {"adamw": "AdamW", "muon": "Muon"}


def a_transformer(seed=0, experts=0, layers=3):
    model = Transformer(
        vocab=24,
        context=8,
        width=12,
        layers=layers,
        heads=2,
        kv_heads=1,
        feedforward=16,
        activation="relu2",
        qk_norm=True,
        experts=experts,
        router_noise=0.0,
    )
    model.initialise(seed, "init")
    return model


def take_step(model, arm, step, seed):
    """A gradient step on noise (adamw), or a random one that grows with depth (muon)."""
    generator = torch.Generator().manual_seed(1000 * seed + step)
    tokens = torch.randint(0, 24, (2, 8), generator=generator)
    model.zero_grad()
    with model.watching() as seen:
        logits = model(tokens)
    (logits.logsumexp(-1).mean() + model.auxiliary_loss()).backward()
    update = WatchedUpdate(step, 1.0, model, forward=seen, before=copy_of(model))
    yield update
    layers = model.layer_of()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if arm == "adamw":
                p -= 0.05 * p.grad
            else:
                size = 0.01 * (1 + (layers[name] or 0))
                p += size * torch.randn(p.shape, generator=generator)
    update.after = copy_of(model)
    yield update


def observed(arm, seed, experts=0, steps=STEPS):
    """The rows of the three observers of one run."""
    model = a_transformer(seed, experts)
    momentum = {name: p.detach() + 1 for name, p in model.named_parameters() if p.ndim > 1}
    watchers = (
        geometry.GeometryMonitor(model, EVERY, lambda t: TOKENS * t, lambda: momentum),
        components.ComponentMonitor(model, EVERY),
        gradients.GradientMonitor(model, EVERY, lambda t: TOKENS * t),
    )
    for step in range(steps):
        made = take_step(model, arm, step, seed)
        update = next(made)
        for watcher in watchers:
            if watcher.due(step):
                watcher.before_clipping(update)
        next(made)
        for watcher in watchers:
            if watcher.due(step):
                watcher.after_update(update)
    watchers[0].last(steps, copy_of(model))
    return [list(watcher.rows()) for watcher in watchers]


@cache
def records(seeds=(1, 2, 3, 4), experts=0):
    """arm, seed and the records' own columns: of geometry, components and gradients."""
    columns = (geometry.COLUMNS, components.COLUMNS, gradients.COLUMNS)
    frames = ([], [], [])
    for arm in ARMS:
        for seed in seeds:
            for into, rows, names in zip(
                frames, observed(arm, seed, experts), columns, strict=True
            ):
                frame = pd.DataFrame(rows, columns=list(names)).assign(arm=arm, seed=seed)
                into.append(frame)
    return tuple(pd.concat(own, ignore_index=True) for own in frames)


class MadeUp:
    """A study of these records, with the tables that figures about layers are drawn from."""

    def __init__(self, seeds=(1, 2, 3, 4), broken=(), experts=0):
        made = records(tuple(seeds), experts)
        self.geometry, self.components, self.gradients = (frame.copy() for frame in made)
        self.geometry = of_layers(self.geometry)
        self.runs = [{"arm": a, "seed": s, "run": f"{a}/{s}"} for a in ARMS for s in seeds]
        self.broken = frozenset(broken)
        rng = np.random.default_rng(0)
        self.summaries = [
            {
                "final_loss": 2 + 0.1 * rng.normal(),
                "test_loss": 2 + 0.1 * rng.normal(),
                "diverged": (run["arm"], run["seed"]) in self.broken,
                "evaluated_on": "validation",
                "steps": STEPS,
            }
            for run in self.runs
        ]
        self.provenances = [{"tokens": TOKENS * STEPS} for _ in self.runs]
        self.pairs = [{"a": "muon", "b": "adamw", "variables": ["optimizer"], "outcomes": []}]
        self.study = {
            "title": "Made up",
            "data": "python",
            "protocol": "fair",
            "alpha": 0.05,
            "interval": "95 %",
            "seeds": list(seeds),
            "training": {"paired": True, "evaluate_on": "validation"},
            "levels": 3,
            "arms": [
                {"name": a, "label": LABELS[a], "tuned": True, "settings": {}, "edges": {}}
                for a in ARMS
            ],
        }
        self.table = condensed(self.geometry)
        self.slopes = run_slopes(self.table, self.broken)
        self.slope_table = slope_table(self.slopes, self.study)
        self.stretching = slope_contrasts(self.slopes, [("muon", "adamw")], self.study)

    def metrics(self):
        """Evaluated losses that fall from 4, in each run a little differently."""
        return pd.DataFrame(
            {"arm": run["arm"], "seed": run["seed"], "step": step, "split": "validation"}
            | {"metric": "loss", "value": 4 * np.exp(-step / (30 + 3 * run["seed"]))}
            for run in self.runs
            for step in range(0, STEPS + 1, 5)
        )
