"""Parameters and operations of the published shapes, on the meta device: no memory is taken."""

import pytest
import torch

from muonlab.models.size import active_parameter_count, flops_per_token, parameter_count
from muonlab.models.transformer import Transformer

VOCAB = 49152
MOE = dict(vocab=VOCAB, context=512, width=384, layers=6, heads=8, feedforward=1536, experts=8)
DENSE = dict(vocab=VOCAB, context=256, width=256, layers=4, heads=8, feedforward=1024)
DEEP = dict(
    vocab=VOCAB,
    context=2048,
    width=512,
    layers=22,
    heads=8,
    kv_heads=4,
    feedforward=2048,
    activation="relu2",
    qk_norm=True,
)


def meta(**arguments):
    with torch.device("meta"):
        return Transformer(**arguments)


def count(model, *components):
    of = model.components()
    return sum(p.numel() for name, p in model.named_parameters() if of[name] in components)


def test_the_mixture_of_experts_has_its_published_size():
    model = meta(**MOE)
    assert parameter_count(model) == pytest.approx(79.1e6, abs=0.05e6)
    assert active_parameter_count(model) == pytest.approx(36.6e6, abs=0.05e6)
    matrices = parameter_count(model) - count(model, "embedding", "norm")
    assert matrices == pytest.approx(60.2e6, abs=0.05e6)


def test_the_deep_dense_model_has_its_published_size():
    model = meta(**DEEP)
    assert parameter_count(model) == active_parameter_count(model)
    assert parameter_count(model) == pytest.approx(88.6e6, abs=0.05e6)
    assert count(model, "key") == count(model, "query") / 2 == 22 * 256 * 512


@pytest.mark.parametrize(
    "sizes, per_layer",
    [
        (DENSE, 4 * 256**2 + 2 * 256 * 1024),
        (dict(width=256, heads=4, layers=4, feedforward=1024, experts=4), 0),
        (dict(width=512, heads=8, layers=8, feedforward=2048, experts=8), 0),
        (dict(width=768, heads=12, layers=12, feedforward=3072, experts=16), 0),
    ],
)
def test_sizes_follow_from_the_shape(sizes, per_layer):
    sizes = dict(vocab=VOCAB, context=512) | sizes
    d, f, e, layers = sizes["width"], sizes["feedforward"], sizes.get("experts", 0), sizes["layers"]
    total = per_layer or 4 * d * d + e * d + e * 2 * d * f
    model = meta(**sizes)
    outside = VOCAB * d + (2 * layers + 1) * d
    assert parameter_count(model) == outside + layers * total
    active = total if not e else 4 * d * d + e * d + 2 * 2 * d * f
    assert active_parameter_count(model) == outside + layers * active
    untied = meta(**sizes, tied=False)
    assert parameter_count(untied) == parameter_count(model) + VOCAB * d


def test_gated_experts_have_three_matrices():
    sizes = dict(vocab=7, context=4, width=8, layers=2, heads=2, feedforward=12, experts=5)
    silu, swiglu = meta(**sizes), meta(**sizes, activation="swiglu")
    assert parameter_count(swiglu) - parameter_count(silu) == 2 * 5 * 8 * 12
    assert active_parameter_count(swiglu) - active_parameter_count(silu) == 2 * 2 * 8 * 12


@pytest.mark.parametrize("arguments", [{}, dict(kv_heads=1), dict(tied=False, activation="swiglu")])
def test_operations_equal_those_counted_while_running(arguments):
    """Torch's own counter, which counts masked attention pairs too, on forward and backward."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    t, d, layers = 16, 32, 2
    model = Transformer(
        vocab=64, context=t, width=d, layers=layers, heads=4, feedforward=64, **arguments
    )
    model.initialise(0, "init")
    # The first product's input, the embedding, has a gradient too, so backward is twice forward.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, t, dtype=torch.int64)).sum().backward()
    masked_pairs = 6 * layers * d * (t - 1)
    assert counter.get_total_flops() / t == flops_per_token(model, t) + masked_pairs


def test_idle_experts_cost_no_operations():
    sizes = dict(vocab=64, context=16, width=32, layers=2, heads=4, feedforward=64)
    dense = flops_per_token(meta(**sizes), 16)
    one = flops_per_token(meta(**sizes, experts=8, top_k=1), 16)
    assert one - dense == 6 * 2 * 8 * 32  # the router alone
