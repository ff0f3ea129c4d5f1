"""One optimizer for any model: who trains what, what torch's tools make of it, and mistakes."""

import copy
import io
import pickle
from inspect import signature

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from muonlab import Muon, muon_with_adamw
from muonlab.optim.roles import roles


class Tied(nn.Module):
    """A language model of torch's layers whose head shares the embedding's weight."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(13, 16)
        self.pos_embedding = nn.Parameter(torch.randn(1, 8, 16) * 0.02)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.experts = nn.Parameter(torch.randn(3, 24, 16) * 0.1)
        self.gate = nn.Linear(16, 3, bias=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 13, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        h = self.encoder(self.embed(x) + self.pos_embedding)
        mixed = torch.einsum("btd,emd,btm->bte", h, self.experts, h.repeat(1, 1, 2)[..., :24])
        h = h + (self.gate(h) * mixed).sum(-1, keepdim=True)
        return self.head(self.norm(h))


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv1d(6, 6, 1))
        self.rnn = nn.LSTM(4, 5)
        self.hidden = nn.utils.parametrizations.weight_norm(nn.Linear(5, 5))
        self.bilinear = nn.Bilinear(3, 4, 5)
        self.classifier = nn.Linear(5, 3)


def tied(seed=0):
    torch.manual_seed(seed)
    return Tied()


def batch(seed):
    return torch.randint(13, (4, 8), generator=torch.Generator().manual_seed(seed))


def loss_of(model, x):
    return nn.functional.cross_entropy(model(x).flatten(0, 1), x.flatten())


def train(model, optimizer, seeds, scheduler=None, scaler=None):
    for seed in seeds:
        optimizer.zero_grad()
        loss = loss_of(model, batch(seed))
        (scaler.scale(loss) if scaler else loss).backward()
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        if scheduler:
            scheduler.step()


def equal(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def rows(optimizer):
    return {row.tensor: row for row in optimizer.routing}


# ---------------------------------------------------------------- who trains what


def test_every_tensor_of_a_transformer_has_its_role():
    model = tied()
    model.norm.weight.requires_grad_(False)
    found = rows(muon_with_adamw(model, lr=0.1, embedding_lr_ratio=3.0, vector_lr_ratio=0.5))
    assert set(found) == {n for n, p in model.named_parameters() if p.requires_grad}
    muon = {n for n, row in found.items() if row.optimizer == "muon"}
    layers = [f"encoder.layers.{i}." for i in range(2)]
    matrices = ["self_attn.in_proj_weight", "self_attn.out_proj.weight"]
    matrices += ["linear1.weight", "linear2.weight"]
    # The last linear layer outside the list of layers counts as head: here the head is tied.
    assert muon == {layer + m for layer in layers for m in matrices} | {"experts", "gate.weight"}
    assert {found[n].group for n in ("embed.weight", "pos_embedding")} == {"embedding"}
    assert {found[n].lr for n in ("embed.weight", "pos_embedding")} == {0.1 * 3.0}
    assert found["encoder.layers.0.self_attn.in_proj_weight"].group == "fused"
    vectors = [row for row in found.values() if row.group == "vectors"]
    assert all(row.weight_decay == 0 and row.lr == 0.05 for row in vectors)
    assert {row.tensor.rpartition(".")[2] for row in vectors} == {"bias", "in_proj_bias", "weight"}
    assert all(row.weight_decay == 0.1 for row in found.values() if row not in vectors)


def test_other_layers_have_their_roles():
    found = {name: role.name for name, role in roles(Images()).items()}
    assert {n for n, role in found.items() if role == "convolutions"} == {
        *("features.0.weight", "features.2.weight")
    }
    assert {n for n, role in found.items() if role == "fused"} == {
        *("rnn.weight_ih_l0", "rnn.weight_hh_l0")
    }
    assert found["classifier.weight"] == "head"
    assert found["hidden.parametrizations.weight.original0"] == "vectors"
    assert found["hidden.parametrizations.weight.original1"] == "matrices"
    assert found["bilinear.weight"] == "others"
    rnn = next(g for g in muon_with_adamw(Images()).param_groups if g["name"] == "fused")
    assert rnn["split"] == 4


def test_a_sequential_models_last_layer_is_its_head():
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    found = {n: row.optimizer for n, row in rows(muon_with_adamw(model)).items()}
    assert [found[f"{i}.weight"] for i in (0, 2, 4)] == ["muon", "muon", "adamw"]


def test_routing_is_corrected_by_names_patterns_and_predicates():
    def who(**arguments):
        found = rows(muon_with_adamw(tied(), **arguments))
        return {n for n, row in found.items() if row.optimizer == "muon"}

    usual = who()
    assert who(use_adamw="gate.weight") == usual - {"gate.weight"}
    without = {n for n in usual if "linear" in n}
    assert who(use_adamw=["*.linear?.weight"]) == usual - without
    assert who(use_adamw=lambda name, p: "linear" in name) == usual - without
    assert who(use_muon=["embed.weight"]) == usual | {"embed.weight"}
    assert who(use_muon=lambda name, p: p.shape == (13, 16)) == usual | {"embed.weight"}


def test_a_fused_weight_moves_as_its_parts():
    model = tied()
    before = model.encoder.layers[0].self_attn.in_proj_weight.detach().clone()
    optimizer = muon_with_adamw(model, lr=1.0, weight_decay=0.0, dtype="float32")
    train(model, optimizer, [0])
    weight = model.encoder.layers[0].self_attn.in_proj_weight
    alone = [nn.Parameter(part.clone()) for part in before.chunk(3)]
    for p, grad in zip(alone, weight.grad.chunk(3), strict=True):
        p.grad = grad
    Muon(alone, lr=1.0, weight_decay=0.0, dtype="float32").step()
    torch.testing.assert_close(weight.detach(), torch.cat([*alone]).detach(), atol=2e-3, rtol=0)


def test_the_table_has_a_line_for_each_tensor():
    optimizer = muon_with_adamw(tied(), lr=0.01, embedding_lr_ratio=3)
    lines = str(optimizer.routing).splitlines()
    assert lines[0].split() == ["tensor", "shape", "optimizer", "group", "lr", "weight", "decay"]
    assert len(lines) == 1 + len(list(tied().parameters()))
    assert any(
        line.split() == ["embed.weight", "13x16", "adamw", "embedding", "0.03", "0.1"]
        for line in lines
    )
    assert "group 0, tensor 1" in str(Muon([nn.Parameter(torch.ones(2, 2)) for _ in "ab"]).routing)


# ---------------------------------------------------------------- what it does


def test_it_is_muon_on_the_matrices_and_torchs_adamw_on_the_rest():
    ours, theirs = tied(), tied()
    settings = dict(lr=0.01, weight_decay=0.1)
    optimizer = muon_with_adamw(ours, dtype="float32", embedding_lr_ratio=2.0, **settings)
    groups = {}
    for name, row in rows(optimizer).items():
        groups.setdefault((row.optimizer, row.group), []).append(theirs.get_parameter(name))
    muon = Muon(
        [
            {"params": groups["muon", "fused"], "split": 3},
            {"params": groups["muon", "matrices"] + groups["muon", "stacks"]},
        ],
        dtype="float32",
        **settings,
    )
    adamw = torch.optim.AdamW(
        [
            {"params": groups["adamw", "vectors"], "weight_decay": 0.0},
            {"params": groups["adamw", "embedding"], "lr": 0.02},
        ],
        betas=(0.9, 0.95),
        fused=True,
        **settings,
    )
    for seed in range(5):
        train(ours, optimizer, [seed])
        loss_of(theirs, batch(seed)).backward()
        for other in (muon, adamw):
            other.step()
            other.zero_grad()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=0, msg=name)


def test_one_cycle_moves_the_rates_the_momentum_and_the_first_beta():
    model = tied()
    optimizer = muon_with_adamw(model, lr=0.01, embedding_lr_ratio=2.0)
    peaks = [group["lr"] for group in optimizer.param_groups]
    scheduler = lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=10, pct_start=0.5)
    seen = []
    for seed in range(9):
        train(model, optimizer, [seed], scheduler)
        seen.append(
            [(g["lr"], g.get("momentum", g.get("betas", (0,))[0])) for g in optimizer.param_groups]
        )
    at_peak = seen[4 - 1]
    for (lr, momentum), peak in zip(at_peak, peaks, strict=True):
        assert lr == pytest.approx(peak) and momentum == pytest.approx(0.85)
    optimizer.step()
    for group in optimizer.param_groups:
        cycled = group["momentum"] if group["optimizer"] == "muon" else group["betas"][0]
        assert cycled == pytest.approx(0.95, abs=0.02)
        assert ("momentum" in group) == (group["optimizer"] == "muon")


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.LambdaLR(o, lambda k: 0.9**k),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.01, 2, 2),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.ExponentialLR(o, 0.9)],
            [2],
        ),
    ],
    ids=["lambda", "cosine", "cyclic", "sequential"],
)
def test_schedulers_take_it(make):
    model = tied()
    optimizer = muon_with_adamw(model, lr=0.01)
    scheduler = make(optimizer)
    train(model, optimizer, range(3), scheduler)
    assert all(p.isfinite().all() for p in model.parameters())
    assert {g["lr"] for g in optimizer.param_groups} != {0.01}


def test_a_grad_scaler_skips_a_step_with_an_infinite_gradient():
    model, scaler = tied(), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizer = muon_with_adamw(model, lr=0.01)
    before = copy.deepcopy(model)
    scaler.scale(loss_of(model, batch(0))).backward()
    model.gate.weight.grad[0, 0] = torch.inf
    scaler.step(optimizer)
    scaler.update()
    assert equal(model, before) and scaler.get_scale() == 2.0**9
    plain, own = copy.deepcopy(before), muon_with_adamw(before, lr=0.01)
    other = muon_with_adamw(plain, lr=0.01)
    train(before, own, range(2), scaler=scaler)
    train(plain, other, range(2))
    for p, q in zip(before.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4)


def test_resuming_from_a_file_is_bitwise_with_its_scheduler():
    def build():
        model = tied()
        optimizer = muon_with_adamw(model, lr=0.01, embedding_lr_ratio=2.0)
        peaks = [group["peak_lr"] for group in optimizer.param_groups]
        return model, optimizer, lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=10)

    model, optimizer, scheduler = build()
    train(model, optimizer, range(3), scheduler)
    file = io.BytesIO()
    torch.save([x.state_dict() for x in (model, optimizer, scheduler)], file)
    file.seek(0)
    twin, resumed, other = build()
    for x, state in zip((twin, resumed, other), torch.load(file, weights_only=True), strict=True):
        x.load_state_dict(state)
    train(model, optimizer, range(3, 6), scheduler)
    train(twin, resumed, range(3, 6), other)
    assert equal(model, twin)
    assert resumed.routing == optimizer.routing


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_alike(copied):
    model = tied()
    optimizer = muon_with_adamw(model, lr=0.01)
    train(model, optimizer, range(2))
    twin, own = copied((model, optimizer))
    train(model, optimizer, [2])
    train(twin, own, [2])
    assert equal(model, twin)
    assert own.routing == optimizer.routing and own.compile == optimizer.compile


def test_a_closure_is_called_once_with_gradients():
    model, calls = tied(), []
    optimizer = muon_with_adamw(model, lr=0.01)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, batch(0))
        loss.backward()
        calls.append(loss.item())
        return loss

    assert optimizer.step(closure).item() == calls[0]
    optimizer.step(closure)
    assert len(calls) == 2 and calls[1] < calls[0]


def test_layers_are_thawed_by_adding_groups():
    model = tied()
    for p in model.encoder.parameters():
        p.requires_grad_(False)
    optimizer = muon_with_adamw(model, lr=0.01)
    layer = model.encoder.layers[1]
    for p in layer.parameters():
        p.requires_grad_(True)
    matrices = [
        (n, p) for n, p in layer.named_parameters() if n.startswith("linear") and p.ndim == 2
    ]
    optimizer.add_param_group({"params": matrices, "name": "thawed"})
    vectors = [p for p in layer.parameters() if p.ndim == 1]
    optimizer.add_param_group({"params": vectors, "optimizer": "adamw", "weight_decay": 0.0})
    before = copy.deepcopy(layer)
    train(model, optimizer, range(2))
    moved = {n for n, p in layer.named_parameters() if not torch.equal(p, before.get_parameter(n))}
    assert moved >= {n for n, p in layer.named_parameters() if p.ndim == 1} | {
        n for n, _ in matrices
    }
    assert rows(optimizer)["linear1.weight"].group == "thawed"
    assert optimizer.param_groups[-1]["betas"] == (0.9, 0.999)


def test_printed_it_says_what_is_not_the_default():
    text = repr(muon_with_adamw(tied(), lr=0.01, ns_steps=7))
    assert text.startswith("Muon(\n  stacks: muon, 1 tensor, 1,152 weights, lr=0.01")
    assert "  fused: muon, 2 tensors, 1,536 weights, lr=0.01" in text
    assert "ns_steps=7" in text and "orthogonalize" not in text and "betas=(0.9, 0.95)" in text


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"learning_rate": 1.0}, "muon_with_adamw has no argument learning_rate"),
        ({"momentun": 0.9}, "muon_with_adamw has no argument momentun; the nearest is momentum"),
        ({"adjust_lr_fn": "original"}, "no argument adjust_lr_fn; the nearest is scale"),
        ({"split": 3}, "muon_with_adamw has no argument split"),
    ],
)
def test_unknown_arguments_are_refused(arguments, sentence):
    with pytest.raises(TypeError, match=sentence):
        muon_with_adamw(tied(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"use_muon": "gate.wieght"},
            "use_muon: no trained .* 'gate.wieght'; the nearest is gate.w",
        ),
        (
            {"use_muon": "norm.weight"},
            r"use_muon: norm.weight \(16, one of the vectors\) is no mat",
        ),
        ({"use_muon": "experts", "use_adamw": ["exp*"]}, "both name experts"),
        ({"momentum": 1.0}, "momentum: must be < 1"),
        ({"betas": (0.9, 1.0)}, "beta2: must be < 1"),
        ({"eps": 0.0}, "eps: must be > 0"),
        ({"lr": -1.0}, "lr: must not be negative"),
    ],
)
def test_wrong_values_are_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        muon_with_adamw(tied(), **arguments)


def test_a_model_without_hidden_matrices_is_refused():
    for model in (nn.Linear(4, 3), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 3))):
        with pytest.raises(ValueError, match="no hidden matrix"):
            muon_with_adamw(model)
    assert muon_with_adamw(nn.Linear(4, 3), use_muon="weight").matrix_groups


def test_a_refused_group_leaves_the_optimizer_as_it_was():
    optimizer = muon_with_adamw(tied(), lr=0.01)
    count, vector = len(optimizer.param_groups), nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match='give it to AdamW .*"optimizer": "adamw"'):
        optimizer.add_param_group({"params": [vector]})
    with pytest.raises(ValueError, match="must be muon or adamw, not 'sgd'"):
        optimizer.add_param_group({"params": [vector], "optimizer": "sgd"})
    assert len(optimizer.param_groups) == count
    optimizer.add_param_group({"params": [vector], "optimizer": "adamw"})


def test_help_shows_the_arguments():
    assert list(signature(muon_with_adamw).parameters)[:3] == ["model", "lr", "embedding_lr_ratio"]
    assert "momentum" in signature(Muon).parameters
