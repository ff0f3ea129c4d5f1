"""The transformer: causality, positions, documents, shared heads, double backward, learning."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from muonlab.models.attention import Attention, attended, largest_logits
from muonlab.models.forward_pass import ForwardPass
from muonlab.models.rope import rotate, rotation
from muonlab.models.transformer import Transformer, visible_pairs
from muonlab.optim.factory import build_optimizer

TINY = dict(vocab=31, context=16, width=16, layers=2, heads=4, feedforward=24)
VARIANTS = {
    "dense": {},
    "shared_heads": dict(kv_heads=2),
    "qk_norm": dict(qk_norm=True, kv_heads=1),
    "gated": dict(activation="swiglu", tied=False),
    "relu2": dict(activation="relu2", positions="none"),
    "experts": dict(experts=4),
    "gated_experts": dict(experts=3, top_k=1, activation="swiglu", z_loss=0.1, capacity=0.8),
}


def model(seed=0, dtype=torch.float32, scale=1.0, **arguments):
    network = Transformer(**(TINY | {"initial_std": 0.02} | arguments))
    network.initialise(seed, "init")
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(scale if p.ndim > 1 else 1.0)
    return network.to(dtype)


def tokens(b=2, t=16, vocab=31, seed=0):
    return torch.randint(0, vocab, (b, t), generator=torch.Generator().manual_seed(seed))


def reference(network, x):
    """Logits in float64, one sequence and one head at a time, from the formulas."""
    w = {name: p.detach().double() for name, p in network.named_parameters()}
    return torch.stack([_reference_sequence(network, w, row) for row in x])


def _norm(x, gain, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * gain


def _turned(x, base):
    """(t, d) by the rotation matrix of each position."""
    rows = []
    for position, row in enumerate(x):
        out = row.clone()
        for i in range(0, len(row), 2):
            angle = position * base ** (-i / len(row))
            c, s = math.cos(angle), math.sin(angle)
            out[i], out[i + 1] = c * row[i] - s * row[i + 1], s * row[i] + c * row[i + 1]
        rows.append(out)
    return torch.stack(rows)


def _reference_sequence(network, w, row):
    x = w["embedding"][row]
    for i, block in enumerate(network.layers):
        a, eps = block.attention, network.eps
        y = _norm(x, w[f"layers.{i}.attention_norm"], eps)
        q, k, v = (y @ w[f"layers.{i}.attention.{n}"].T for n in ("query", "key", "value"))
        heads = []
        for h in range(a.heads):
            g = h // (a.heads // a.kv_heads)
            mine, shared = slice(h * a.size, (h + 1) * a.size), slice(g * a.size, (g + 1) * a.size)
            qh, kh = q[:, mine], k[:, shared]
            if a.query_norm is not None:
                qh = _norm(qh, w[f"layers.{i}.attention.query_norm"], eps)
                kh = _norm(kh, w[f"layers.{i}.attention.key_norm"], eps)
            if network.rope_base is not None:
                qh, kh = _turned(qh, network.rope_base), _turned(kh, network.rope_base)
            logits = qh @ kh.T / math.sqrt(a.size)
            hidden = torch.ones_like(logits).triu(1).bool()
            heads.append(logits.masked_fill(hidden, -math.inf).softmax(-1) @ v[:, shared])
        x = x + torch.cat(heads, -1) @ w[f"layers.{i}.attention.output"].T
        y = _norm(x, w[f"layers.{i}.feedforward_norm"], eps)
        f = block.feedforward
        up, act = y @ w[f"layers.{i}.feedforward.up"].T, f.activation
        gate = f"layers.{i}.feedforward.gate"
        hidden = act(up) if gate not in w else act(y @ w[gate].T) * up
        x = x + hidden @ w[f"layers.{i}.feedforward.down"].T
    return _norm(x, w["norm"], network.eps) @ w.get("head", w["embedding"]).T


@pytest.mark.parametrize("name", [n for n in VARIANTS if "experts" not in n])
@pytest.mark.parametrize("length", [1, 5, 16])
def test_logits_equal_the_formulas_one_head_at_a_time(name, length):
    network = model(dtype=torch.float64, scale=10.0, **VARIANTS[name])
    with torch.no_grad():
        for n, p in network.named_parameters():
            if p.ndim == 1:  # gains other than 1
                p.copy_(
                    1 + 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(n)))
                )
    x = tokens(t=length)
    torch.testing.assert_close(network(x), reference(network, x), rtol=1e-10, atol=1e-10)
    single = copy.deepcopy(network).float()
    torch.testing.assert_close(single(x).double(), reference(network, x), rtol=1e-3, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    i=st.integers(0, 40), j=st.integers(0, 40), shift=st.integers(0, 20), seed=st.integers(0, 99)
)
def test_rotated_products_depend_on_the_difference_of_positions_alone(i, j, shift, seed):
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    table = rotation(61, 8, 10000.0, q)
    turned_q = rotate(q.expand(1, 61, 1, 8), table)[0, :, 0]
    turned_k = rotate(k.expand(1, 61, 1, 8), table)[0, :, 0]
    here, there = turned_q[i] @ turned_k[j], turned_q[i + shift] @ turned_k[j + shift]
    assert here.item() == pytest.approx(there.item(), abs=1e-9)
    assert turned_q[i].norm().item() == pytest.approx(q.norm().item())
    assert torch.equal(turned_q[0], q)


def test_rotation_tells_positions_apart_and_is_the_same_in_real_numbers(monkeypatch):
    x = torch.randn(2, 9, 3, 6)
    table = rotation(9, 6, 1e4, x)
    assert not torch.allclose(rotate(x[:, :1].expand_as(x), table)[:, 1], x[:, 0])
    complex_numbers = rotate(x, table)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, rotation(9, 6, 1e4, x)), complex_numbers)
    assert rotate(x.bfloat16(), table).dtype == torch.bfloat16


def test_order_of_the_past_matters_with_positions_and_not_without():
    """In one layer, permuting the past leaves the last token's output as it was only where there
    are no positions: the fault of a published model."""
    x = tokens(b=1, t=10)
    permuted = torch.cat((x[:, torch.tensor([4, 2, 8, 0, 1, 3, 5, 7, 6])], x[:, 9:]), 1)
    for positions, same in (("rope", False), ("none", True)):
        network = model(layers=1, positions=positions, scale=10.0, dtype=torch.float64)
        assert torch.allclose(network(x)[0, -1], network(permuted)[0, -1], atol=1e-9) == same


# Experts of limited capacity serve all positions from one queue: there the future does matter.
@pytest.mark.parametrize("name", [n for n in VARIANTS if "capacity" not in VARIANTS[n]])
def test_the_future_changes_nothing_before(name):
    network = model(scale=10.0, dtype=torch.float64, **VARIANTS[name])
    x = tokens()
    changed = x.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 31
    before, after = network(x), network(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-12)
    assert not torch.allclose(before[:, 9:], after[:, 9:])


@pytest.mark.parametrize("name", ["dense", "shared_heads", "qk_norm"])
def test_attention_stays_inside_a_document(name):
    network = model(scale=10.0, dtype=torch.float64, **VARIANTS[name])
    x = tokens()
    documents = torch.tensor([[0] * 6 + [1] * 10, [0] * 1 + [1] * 14 + [2]])
    joined = network(x, documents)
    for row, bounds in enumerate([(0, 6, 16), (0, 1, 15, 16)]):
        for start, end in zip(bounds[:-1], bounds[1:], strict=True):
            alone = network(x[row : row + 1, start:end])
            torch.testing.assert_close(joined[row : row + 1, start:end], alone, atol=1e-9, rtol=0)
    one_document = network(x, torch.zeros_like(documents))
    torch.testing.assert_close(one_document, network(x), atol=1e-12, rtol=0)


def test_shared_key_heads_equal_repeated_ones():
    shared = model(kv_heads=2, scale=10.0, dtype=torch.float64)
    full = model(scale=10.0, dtype=torch.float64)
    full.load_state_dict(
        {
            name: p.view(2, 4, 16).repeat_interleave(2, 0).reshape(16, 16)
            if name.endswith((".key", ".value"))
            else p
            for name, p in shared.state_dict().items()
        }
    )
    torch.testing.assert_close(shared(tokens()), full(tokens()), atol=1e-12, rtol=0)


def test_qk_norm_makes_logits_blind_to_the_size_of_the_weights():
    network = model(qk_norm=True, dtype=torch.float64, norm_eps=1e-12)
    before = network(tokens())
    with torch.no_grad():
        network.layers[0].attention.query.mul_(50.0)
    torch.testing.assert_close(network(tokens()), before, atol=1e-8, rtol=0)
    assert network.layers[0].attention.query_norm.shape == (4,)


def test_a_tied_head_is_the_embedding_and_an_untied_one_is_not():
    tied, untied = model(), model(tied=False)
    names = set(dict(untied.named_parameters())) - set(dict(tied.named_parameters()))
    assert names == {"head"}
    before = untied(tokens())
    with torch.no_grad():
        untied.head.mul_(2.0)
    torch.testing.assert_close(untied(tokens()), 2 * before)


@pytest.mark.parametrize("name", VARIANTS)
def test_double_backward_agrees_with_finite_differences(name):
    network = model(scale=8.0, dtype=torch.float64, layers=1, **VARIANTS[name])
    x, y = tokens(), tokens(seed=1)
    params = list(network.parameters())
    generator = torch.Generator().manual_seed(5)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in params]

    def gradient(**options):
        with sdpa_kernel(SDPBackend.MATH):
            loss = F.cross_entropy(network(x).flatten(0, 1), y.flatten())
            return torch.autograd.grad(loss + network.auxiliary_loss(), params, **options)

    product = sum(
        (g * v).sum() for g, v in zip(gradient(create_graph=True), direction, strict=True)
    )
    hvp = torch.autograd.grad(product, params)

    def moved(by):
        with torch.no_grad():
            for p, v in zip(params, direction, strict=True):
                p.add_(v, alpha=by)
        return gradient()

    step = 1e-6
    ahead, behind = moved(step), moved(-2 * step)
    for exact, a, b in zip(hvp, ahead, behind, strict=True):
        scale = max(1.0, exact.abs().max().item())
        torch.testing.assert_close(exact, (a - b) / (2 * step), rtol=1e-3, atol=2e-4 * scale)


@pytest.mark.parametrize("name", VARIANTS)
def test_it_learns_one_batch_by_heart(name):
    network = model(seed=3, **(VARIANTS[name] | dict(width=32)))
    x = tokens(b=4, t=16, seed=2)
    inputs, targets = x[:, :-1], x[:, 1:]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        loss = F.cross_entropy(network(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        (loss + network.auxiliary_loss()).backward()
        optimizer.step()
    # The first token of a row says nothing of the second where rows start alike; these do not.
    assert loss.item() < 0.05


SHAPES = [(32, 2, 0), (64, 4, 4), (256, 8, 0), (256, 4, 4), (384, 8, 4), (512, 8, 0), (768, 12, 4)]


@pytest.mark.parametrize("width, heads, experts", SHAPES)
@pytest.mark.parametrize("activation", ["silu", "relu2"])
def test_the_first_loss_is_that_of_guessing(width, heads, experts, activation):
    sizes = dict(width=width, heads=heads, experts=experts, feedforward=4 * width)
    vocab = 512 if width < 256 else 16384
    network = model(vocab=vocab, activation=activation, **sizes)
    x, y = tokens(b=8, vocab=vocab), tokens(b=8, vocab=vocab, seed=1)
    with torch.no_grad():
        loss = F.cross_entropy(network(x).flatten(0, 1), y.flatten()).item()
    assert loss == pytest.approx(math.log(vocab), rel=0.02)


def test_initial_weights_have_the_stated_spread_and_streams_of_their_own():
    network = model(vocab=500, width=64, tied=False)
    dense = dict(network.named_parameters())
    residual = 0.02 / math.sqrt(4)
    assert dense["embedding"].std().item() == pytest.approx(0.02, rel=0.03)
    assert dense["layers.1.attention.query"].std().item() == pytest.approx(0.02, rel=0.05)
    assert dense["layers.1.attention.output"].std().item() == pytest.approx(residual, rel=0.05)
    assert dense["layers.0.feedforward.down"].std().item() == pytest.approx(residual, rel=0.1)
    assert bool((dense["norm"] == 1).all())
    experts = dict(model(vocab=500, width=64, experts=4).named_parameters())
    assert experts["layers.0.experts.down"].std().item() == pytest.approx(residual, rel=0.05)
    assert experts["layers.0.experts.up"].std().item() == pytest.approx(0.02, rel=0.05)
    for name in dense.keys() & experts.keys():
        assert torch.equal(dense[name], experts[name])
    assert not torch.equal(dense["layers.0.attention.query"], dense["layers.1.attention.query"])
    other = model(seed=1, vocab=500, width=64)
    assert not torch.equal(other.embedding, network.embedding)


def test_components_and_layers_name_every_tensor():
    network = model(activation="swiglu", tied=False, qk_norm=True)
    components, layers = network.components(), network.layer_of()
    names = {name for name, _ in network.named_parameters()}
    assert set(components) == set(layers) == names
    expected = {"embedding", "query", "key", "value", "attention_output", "up", "gate", "down"}
    assert set(components.values()) == expected | {"norm", "head"}
    assert all((components[n] == "norm") == (p.ndim == 1) for n, p in network.named_parameters())
    assert layers["layers.1.attention.key"] == 1
    assert [n for n in names if layers[n] is None] and layers["embedding"] is None
    sparse = set(model(activation="swiglu", experts=2).components().values())
    assert {"router", "expert_up", "expert_gate", "expert_down"} <= sparse
    assert not {"up", "gate", "down", "head"} & sparse


@pytest.mark.parametrize("name", ["dense", "shared_heads", "qk_norm", "experts"])
def test_watching_records_what_the_formulas_give_and_changes_nothing(name):
    network = model(scale=10.0, dtype=torch.float64, **VARIANTS[name])
    x = tokens()
    plain = network(x)
    with network.watching() as seen:
        watched = network(x)
    assert torch.equal(plain, watched)
    assert not seen["activation_rms"][0].requires_grad
    with torch.no_grad():
        embedded = F.embedding(x, network.embedding)
        run = ForwardPass(rotation=rotation(x.size(1), network.head_size, 1e4, embedded))
        after = network.layers[0](embedded, run, 0.0)
        rms = after.square().mean().sqrt()
    assert seen["activation_rms"][0].item() == pytest.approx(rms.item())
    assert seen["activation_max"][0].item() == pytest.approx(after.abs().max().item())
    assert set(seen["attention_logit_max"]) == {0, 1}
    size = len(seen)
    network(x)
    assert len(seen) == size and network._seen is None


@settings(max_examples=20, deadline=None)
@given(
    t=st.integers(1, 12),
    groups=st.integers(1, 3),
    repeats=st.integers(1, 3),
    rows=st.integers(1, 5),
)
def test_largest_logits_equal_those_of_the_whole_matrix(t, groups, repeats, rows):
    from muonlab.models import attention

    generator = torch.Generator().manual_seed(t)
    query = torch.randn(2, groups * repeats, t, 4, generator=generator)
    key = torch.randn(2, groups, t, 4, generator=generator)
    documents = torch.randint(0, 2, (2, t), generator=generator).sort(1).values
    for visible in (None, visible_pairs(documents)):
        seen = torch.ones(t, t).tril().bool() if visible is None else visible
        logits = query @ key.repeat_interleave(repeats, 1).mT / 2
        expected = logits.abs().masked_fill(~seen, 0).amax((0, 2, 3))
        before, attention.LOGITS_AT_ONCE = attention.LOGITS_AT_ONCE, rows * 2 * query.size(1) * t
        try:
            torch.testing.assert_close(largest_logits(query, key, visible), expected)
        finally:
            attention.LOGITS_AT_ONCE = before


def test_qk_clip_targets_hold_the_largest_logits_since_they_were_last_read():
    network = model(scale=10.0, kv_heads=2)
    with pytest.raises(ValueError, match="track_logits"):
        network.qk_clip_targets()
    network.track_logits = True
    seen = []
    for seed in (0, 1):
        with network.watching() as watched:
            network(tokens(seed=seed))
        seen.append(watched["attention_logit_max_per_head"][1])
    network.eval()
    network(tokens(seed=2))  # an evaluation pass does not count
    query, key, largest = network.qk_clip_targets()[1]
    assert query is network.layers[1].attention.query and key is network.layers[1].attention.key
    assert torch.equal(largest, torch.maximum(*seen))
    with pytest.raises(ValueError, match="track_logits"):
        network.qk_clip_targets()
    normed = model(qk_norm=True)
    with pytest.raises(ValueError, match="QK-norm"):
        normed.qk_clip_targets()


def test_muonclip_brings_the_models_own_logits_to_its_threshold():
    network = model(scale=12.0)
    components = ["query", "key", "value", "attention_output", "up", "down"]
    config = dict(name="muonclip", lr=0.0, threshold=1.5, components=components, adamw={})
    optimizer = build_optimizer(network, config)
    with network.watching() as seen:
        network(tokens()).sum().backward()
    before = seen["attention_logit_max_per_head"][0]
    assert before.max() > 1.5
    optimizer.step()
    with network.watching() as seen:
        network(tokens())
    clipped = seen["attention_logit_max_per_head"][0]
    torch.testing.assert_close(clipped, before.clamp_max(1.5), rtol=1e-4, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "shared_heads", "experts"])
def test_compiled_it_is_one_graph_with_the_same_logits_and_gradients(name):
    """Experts compile into one graph in bfloat16, for which the grouped product has a rule."""
    network = model(scale=5.0, **(VARIANTS[name] | dict(width=32, feedforward=32)))
    documents = torch.tensor([[0] * 6 + [1] * 10] * 2)
    results = []
    for forward in (network, torch.compile(network, backend="aot_eager", fullgraph=True)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "experts"):
            logits = forward(tokens(), documents)
        loss = logits.square().mean() + network.auxiliary_loss()
        results.append((logits, *torch.autograd.grad(loss, list(network.parameters()))))
    rounding = 1e-2 if name == "experts" else 1e-5
    for eager, compiled in zip(*results, strict=True):
        assert (eager - compiled).norm() <= rounding * eager.norm()


def test_dropout_draws_from_its_own_generator_in_training_mode_alone():
    network = model(dropout=0.3, scale=10.0)
    with pytest.raises(RuntimeError, match="set_noise"):
        network(tokens())
    state = torch.get_rng_state()
    outputs = []
    for seed in (7, 7, 8):
        network.set_noise(torch.Generator().manual_seed(seed))
        outputs.append(network(tokens()))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
    network.eval()
    assert torch.equal(network(tokens()), model(scale=10.0)(tokens()))
    ones = ForwardPass(generator=torch.Generator().manual_seed(0)).dropout(
        torch.ones(100, 100), 0.25, True
    )
    assert ones.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert ones.mean().item() == pytest.approx(1.0, abs=0.03)


def test_a_trained_model_can_be_copied():
    network = model(experts=4)
    network.set_noise(torch.Generator())
    network(tokens())
    twin = copy.deepcopy(network)
    assert torch.equal(twin(tokens()), network(tokens()))
    assert all(a is not b for a, b in zip(twin.parameters(), network.parameters(), strict=True))


def test_bfloat16_autocast_keeps_logits_near_the_full_ones_and_float32_gradients():
    for name in ("qk_norm", "experts"):
        network = model(scale=5.0, **(VARIANTS[name] | dict(width=32)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(tokens())
        full = network(tokens())
        assert half.dtype == torch.bfloat16
        assert (half - full).norm() < 0.05 * full.norm()
        half.sum().backward()
        assert all(
            p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters()
        )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_explicit_attention_in_bfloat16_equals_the_fused_one_in_float64(groups, masked):
    generator = torch.Generator().manual_seed(groups)
    shapes = [(2, 4, 20, 8), (2, groups, 20, 8), (2, groups, 20, 8)]
    wide = [torch.randn(s, generator=generator).bfloat16().double() for s in shapes]
    documents = torch.tensor([[0] * 7 + [1] * 13, [0] * 19 + [1]])
    visible = visible_pairs(documents) if masked else None
    results = []
    for dtype in (torch.bfloat16, torch.float64):
        inputs = [x.to(dtype).requires_grad_() for x in wide]
        y = attended(*inputs, visible)
        assert y.dtype == dtype
        results.append((y, *torch.autograd.grad(y.double().square().sum(), inputs)))
    for half, exact in zip(*results, strict=True):
        assert (half - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(heads=3), "multiple of heads"),
        (dict(width=12), "multiple of heads"),
        (dict(kv_heads=3), "kv_heads"),
        (dict(activation="tanh"), "activation"),
        (dict(experts=2, top_k=3), "top_k"),
        (dict(dropout=1.0), "dropout"),
        (dict(positions="learned"), "positions"),
    ],
)
def test_sizes_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Transformer(**(TINY | arguments))
    with pytest.raises(ValueError, match="context"):
        model()(tokens(t=17))


def test_attention_of_one_head_equals_torch():
    """A check by another implementation than the formulas above."""
    mine = Attention(0, 8, 1, 1, False, 1e-6).double()
    theirs = torch.nn.MultiheadAttention(8, 1, bias=False, batch_first=True).double()
    with torch.no_grad():
        for p in mine.parameters():
            p.normal_(generator=torch.Generator().manual_seed(p.numel()))
        theirs.in_proj_weight.copy_(torch.cat((mine.query, mine.key, mine.value)))
        theirs.out_proj.weight.copy_(mine.output)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    mask = torch.ones(5, 5).triu(1).bool()
    expected, _ = theirs(x, x, x, attn_mask=mask)
    torch.testing.assert_close(mine(x, ForwardPass()), expected)
