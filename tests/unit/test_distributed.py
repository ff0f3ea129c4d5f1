"""The optimizer under DistributedDataParallel and FSDP2, on two processes of one machine (gloo)."""

import copy
import io

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from muonlab import Muon, muon_with_adamw
from muonlab.optim.normuon import NorMuon

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")
WORLD, STEPS = 2, 4


class Experts(nn.Module):
    """Three experts for two processes, so that their shards differ in size."""

    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(3, 40, 24) * 0.1)

    def forward(self, x):
        return x + torch.einsum("btd,emd,emf->btf", x, self.up, self.up)


def network():
    """Layers of several kinds; one has an odd number of rows, one is too large for a stack."""
    torch.manual_seed(0)
    hidden = nn.Sequential(
        nn.Linear(24, 301, bias=False), nn.GELU(), nn.Linear(301, 290), nn.Linear(290, 24)
    )
    return nn.Sequential(
        nn.Embedding(11, 24), hidden, Experts(), nn.LayerNorm(24), nn.Linear(24, 11)
    )


def optimizer_of(model):
    return muon_with_adamw(model, lr=0.01, embedding_lr_ratio=2.0, dtype="float32")


def train(model, optimizer, share, steps=range(STEPS)):
    """Trains on this process's `share` of batches that are the same on all."""
    for seed in steps:
        x = torch.randint(11, (4, 7), generator=torch.Generator().manual_seed(seed))[share]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), x.roll(1, 1).flatten())
        loss.backward()
        optimizer.step()


def whole(p):
    return p.full_tensor() if hasattr(p, "full_tensor") else p


def compare(model, reference, atol=2e-5):
    for (name, q), p in zip(reference.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(whole(p.detach()), q.detach(), atol=atol, rtol=0, msg=name)


def on_one_process(rank, work, file, world):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    try:
        work(slice(2 * rank, 2 * rank + 2))
    finally:
        dist.destroy_process_group()


def spread(work, tmp_path):
    mp.spawn(on_one_process, (work, tmp_path / "rendezvous", WORLD), nprocs=WORLD)


def data_parallel(share):
    model = nn.parallel.DistributedDataParallel(network())
    optimizer, reference = optimizer_of(model), network()
    assert {row.tensor for row in optimizer.routing} == {
        f"module.{name}" for name, _ in reference.named_parameters()
    }
    train(model, optimizer, share)
    train(reference, optimizer_of(reference), slice(None))
    compare(model, reference)


def fully_sharded(share):
    from torch.distributed.checkpoint import state_dict as checkpoint
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def sharded():
        model, mesh = network(), init_device_mesh("cpu", (WORLD,))
        for layer in (model[1], model[2]):
            fully_shard(layer, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    model, reference = sharded(), network()
    optimizer, own = optimizer_of(model), optimizer_of(reference)
    assert optimizer.routing == own.routing
    train(model, optimizer, share)
    train(reference, own, slice(None))
    compare(model, reference)
    matrix = model[1][2].weight
    state = optimizer.state[matrix]["momentum_buffer"]
    assert state.placements == matrix.placements
    torch.testing.assert_close(whole(state), own.state[reference[1][2].weight]["momentum_buffer"])
    # A checkpoint in torch's format for distributed runs goes on bit by bit.
    saved = copy.deepcopy(checkpoint.get_state_dict(model, optimizer))
    twin = sharded()
    resumed = optimizer_of(twin)
    model_state, optimizer_state = saved
    checkpoint.set_state_dict(
        twin, resumed, model_state_dict=model_state, optim_state_dict=optimizer_state
    )
    for trained, its in ((model, optimizer), (twin, resumed)):
        train(trained, its, share, range(STEPS, STEPS + 2))
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p.to_local(), q.to_local())
    refusals(model)


def refusals(model):
    from torch.distributed.tensor import Shard, distribute_tensor

    with pytest.raises(ValueError, match="NorMuon does not train sharded parameters"):
        NorMuon([model[1][0].weight])
    mesh = model[1][0].weight.device_mesh
    inner = nn.Parameter(distribute_tensor(torch.ones(2, 4, 4), mesh, [Shard(1)]))
    with pytest.raises(ValueError, match="sharded along its first dimension"):
        Muon([inner])
    columns = nn.Parameter(distribute_tensor(torch.zeros(6, 9), mesh, [Shard(1)]))
    plain = nn.Parameter(torch.zeros(6, 9))
    gradient = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    columns.grad, plain.grad = distribute_tensor(gradient, mesh, [Shard(1)]), gradient
    for p in (columns, plain):
        Muon([p], lr=1.0, dtype="float32").step()
    torch.testing.assert_close(columns.full_tensor(), plain, atol=1e-6, rtol=0)


def test_data_parallel_training_is_that_of_one_process(tmp_path):
    spread(data_parallel, tmp_path)


def test_fully_sharded_training_is_that_of_one_process(tmp_path):
    spread(fully_sharded, tmp_path)


def test_a_state_can_be_saved_without_pickled_objects():
    optimizer = optimizer_of(network())
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    assert (
        torch.load(file, weights_only=True)["param_groups"]
        == optimizer.state_dict()["param_groups"]
    )
