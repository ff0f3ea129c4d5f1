"""Several processes train one run as one process does."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_language_training import corpus, settings_of  # noqa: F401 (a fixture)
from test_overhead import config, update
from test_training import in_child

from muonlab.io.errors import UserError
from muonlab.jobs.launch import train_together
from muonlab.optim.muon import Muon
from muonlab.optim.shares import cost, shares
from muonlab.training.run import train_run
from muonlab.training.team import Team
from muonlab.training.update import Update

STEPS = 50


def dense(**training):
    """A run whose updates do not depend on how its batches are divided: no experts, no dropout."""
    model = {"experts": 0, "dropout": 0.0}
    more = {"steps": STEPS, "eval_every": 10, "log_every": 1, "schedule": "constant"}
    return settings_of(model=model, training=more | training)


def arguments(folder, data, config, seconds=1000.0):
    given = {"config": config, "code": "code", "observer_code": "observers"}
    return given | {"data": data, "folder": folder, "checkpoint_seconds": seconds}


def alone(folder, data, config):
    train_run(**arguments(folder, data, config))


def together(folder, data, config, seconds=1000.0):
    train_together(2, **arguments(folder, data, config, seconds), device="cpu", threads=2)


def losses(folder):
    table = pd.read_parquet(folder / "metrics.parquet")
    return table[table.metric == "loss"].sort_values(["split", "step"]).value.to_numpy()


def processes(folder):
    return json.loads((folder / "run.json").read_text())["provenance"]["processes"]


@pytest.fixture(scope="module")
def one(tmp_path_factory, corpus):  # noqa: F811
    folder = tmp_path_factory.mktemp("one") / "run"
    alone(folder, corpus, dense())
    return folder


def test_two_processes_train_as_one_does(tmp_path, corpus, one):  # noqa: F811
    together(tmp_path / "run", corpus, dense())
    assert len(losses(one)) > STEPS
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(one), rtol=1e-4)
    assert processes(tmp_path / "run") == [2] and processes(one) == [1]
    written = {file.relative_to(one) for file in one.rglob("*") if file.is_file()}
    run = tmp_path / "run"
    assert {file.relative_to(run) for file in run.rglob("*") if file.is_file()} == written


def members(job):
    """Process ids of a team's members, by rank."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            facts = dict(
                p.partition(b"=")[::2] for p in (place / "environ").read_bytes().split(b"\0")
            )
        except OSError:
            continue
        if any(word.endswith(b"train_member.py") for word in words) and b"RANK" in facts:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            found.setdefault(parent, {})[int(facts[b"RANK"])] = int(place.name)
    return [ranks for ranks in found.values() if len(ranks) == job]


def kill_when(exists: Path, rank: int):
    """Kills one member as soon as the run has a checkpoint."""

    def watch():
        deadline = time.monotonic() + 120
        while not exists.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for ranks in members(2):
            os.kill(ranks[rank], signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_team_that_lost_a_member_is_resumed_by_one_process(tmp_path, corpus, one, rank):  # noqa: F811
    folder = tmp_path / "run"
    thread = kill_when(folder.with_name("run.partial") / "checkpoint.pt", rank)
    with pytest.raises(RuntimeError, match="one of 2 processes failed"):
        together(folder, corpus, dense(), seconds=0.0)
    thread.join()
    assert not (folder / "run.json").exists()
    alone(folder, corpus, dense())
    np.testing.assert_allclose(losses(folder), losses(one), rtol=1e-4)
    assert processes(folder) == [2, 1]


@pytest.mark.slow
def test_a_team_that_is_asked_to_stop_saves_and_goes_on(tmp_path, corpus, one):  # noqa: F811
    folder = tmp_path / "run"
    partial = folder.with_name("run.partial") / "checkpoint.pt"

    def train():
        parent = os.getpid()

        def ask():
            while not partial.exists():
                time.sleep(0.01)
            os.kill(parent, signal.SIGTERM)

        threading.Thread(target=ask, daemon=True).start()
        together(folder, corpus, dense(), seconds=0.0)

    assert in_child(train) == 143
    assert partial.exists() and not (folder / "run.json").exists()
    together(folder, corpus, dense())
    np.testing.assert_allclose(losses(folder), losses(one), rtol=1e-4)


def test_too_few_threads_are_refused(tmp_path, corpus):  # noqa: F811
    with pytest.raises(UserError, match="2 processes .* need as many threads, and the rule has 1"):
        train_together(2, **arguments(tmp_path, corpus, dense()), device="cpu", threads=1)


@given(st.lists(st.integers(1, 1000), max_size=40), st.integers(1, 8))
def test_shares_are_a_partition_of_about_equal_cost(costs, size):
    parts = shares(costs, size)
    assert sorted(place for part in parts for place in part) == list(range(len(costs)))
    loads = [sum(costs[place] for place in part) for part in parts]
    # What any order guarantees: the last part to grow had the least load before (Graham 1966).
    if costs:
        assert max(loads) <= sum(costs) / size + max(costs) * (1 - 1 / size) + 1e-9


class Member(Team):
    """A member that is given every example, so that it differs from others by its noise alone."""

    def share(self, indices):
        return indices


def test_each_process_draws_noise_of_its_own_at_each_step():
    def loss(rank, step):
        made = update(config(model={"router_noise": 3.0}), Update)
        made.team = Member(rank)
        made.batches.indices = lambda number: np.arange(4)
        return made.gradients(step).item()

    found = {(rank, step): loss(rank, step) for rank in (0, 1, 2) for step in (3, 4)}
    assert len(set(found.values())) == len(found)
    assert {place: loss(*place) for place in found} == found


class Recorded(Team):
    """A team of two in one process: what it sends is kept instead."""

    def __init__(self, rank):
        super().__init__(rank, 1)
        self.size, self.sent = 2, {}

    def send(self, tensors, owner):
        self.sent[owner] = list(tensors)


def test_each_matrix_is_orthogonalized_by_one_process():
    torch.manual_seed(0)
    shapes = [(8, 8), (8, 8), (40, 20), (3, 16, 12), (64, 300)]
    start = [torch.randn(shape) for shape in shapes]
    grads = [torch.randn(shape) for shape in shapes]
    moved = {}
    for rank in (None, 0, 1):
        params = [torch.nn.Parameter(p.clone()) for p in start]
        for p, g in zip(params, grads, strict=True):
            p.grad = g.clone()
        optimizer = Muon(params, lr=0.1, weight_decay=0.0, dtype="float32")
        if rank is not None:
            team = Recorded(rank)
            optimizer.divide(team)
        optimizer.step()
        moved[rank] = params
        momenta = [optimizer.state[p]["momentum_buffer"] for p in params]
        torch.testing.assert_close(momenta, [0.05 * g for g in grads])
        if rank is not None:
            own = {id(p) for p in team.sent[rank]}
            for p, before in zip(params, start, strict=True):
                assert torch.equal(p.detach(), before) == (id(p) not in own)
    for whole, first, second, before in zip(moved[None], moved[0], moved[1], start, strict=True):
        divided = first if not torch.equal(first.detach(), before) else second
        torch.testing.assert_close(divided, whole, rtol=1e-5, atol=1e-6)
    costs = [cost(p) for p in start]
    assert {id(p) for p in moved[0]} and sum(map(len, shares(costs, 2))) == len(shapes)
