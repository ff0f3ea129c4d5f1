"""The perceptron and the activations against their equations."""

import pytest
import torch

from muonlab.models.feedforward import ACTIVATIONS, FeedForward
from muonlab.models.mlp import MLP
from muonlab.optim.adamw import AdamW
from muonlab.optim.factory import Rates, groups_of_all_shapes, own_settings
from muonlab.optim.sgd import SGD

X = torch.linspace(-3, 3, 25, dtype=torch.float64)
BY_HAND = {
    "silu": X / (1 + torch.exp(-X)),
    "gelu": X * 0.5 * (1 + torch.erf(X / 2**0.5)),
    "relu2": torch.where(X > 0, X * X, 0.0),
    "swiglu": X / (1 + torch.exp(-X)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_their_formulas(name):
    torch.testing.assert_close(ACTIVATIONS[name](X), BY_HAND[name])


def drawn(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return module.double()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_feed_forward_part_is_two_products_about_its_activation(name):
    part, x = drawn(FeedForward(4, 6, name)), torch.randn(2, 3, 4, dtype=torch.float64)
    hidden = x @ part.up.T
    hidden = ACTIVATIONS[name](hidden if part.gate is None else x @ part.gate.T) * (
        1 if part.gate is None else hidden
    )
    torch.testing.assert_close(part(x), hidden @ part.down.T)


@pytest.mark.parametrize("bias", [True, False])
def test_the_perceptron_has_an_activation_between_its_layers_and_none_after_them(bias):
    model = drawn(MLP(inputs=4, classes=3, width=5, depth=2, activation="relu", bias=bias))
    x = y = torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for i, layer in enumerate(model.layers):
        y = y @ layer.weight.T + (layer.bias if bias else 0)
        y = y if i == 2 else y.clamp(min=0)
    torch.testing.assert_close(model(x), y)
    assert (y < 0).any()


def test_the_perceptron_says_what_its_tensors_are_and_starts_within_their_bounds():
    model = MLP(inputs=400, classes=3, width=100, depth=2, activation="relu", bias=True)
    model.initialise(1, "init")
    matrices = {name: kind for name, kind in model.components().items() if kind != "bias"}
    assert list(matrices.values()) == ["input", "hidden", "output"]
    assert sum(kind == "bias" for kind in model.components().values()) == 3
    for layer, fan_in in zip(model.layers, (400, 100, 100), strict=True):
        for p in layer.parameters():
            assert p.abs().max() <= fan_in**-0.5
        assert layer.weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.1)


# ---------------------------------------------------------------- torch's own optimizers


def of_every_tensor(kind, named, fields, parts):
    """An optimizer of all tensors, as the factory makes it for a section without matrices."""
    groups = groups_of_all_shapes(kind, "any", named, fields, parts, Rates({"lr": 0.1}))
    return kind(groups, lr=0.1, **own_settings(kind, fields))


def stepped(kind, **fields):
    """Two updates of a matrix and a vector under gradients of ones and of twos."""
    named = [(n, torch.nn.Parameter(torch.ones(s))) for n, s in (("w", (2, 2)), ("b", (2,)))]
    parts = dict.fromkeys(("w", "b"), "hidden")
    optimizer = of_every_tensor(kind, named, fields, parts)
    for scale in (1.0, 2.0):
        for _, p in named:
            p.grad = torch.full_like(p, scale)
        optimizer.step()
    return [p.detach().flatten()[0].item() for _, p in named]


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_decays_matrices_by_their_gradient_and_looks_ahead_with_nesterov(nesterov):
    def by_hand(decay):
        w, m = 1.0, 0.0
        for g in (1.0, 2.0):
            g += decay * w
            m = 0.9 * m + g
            w -= 0.1 * (g + 0.9 * m if nesterov else m)
        return w

    found = stepped(SGD, momentum=0.9, nesterov=nesterov, weight_decay=0.5)
    assert found == pytest.approx([by_hand(0.5), by_hand(0.0)])


def test_adamw_has_its_own_betas_eps_and_decay_of_matrices_alone():
    def by_hand(decay):
        w, m, v = 1.0, 0.0, 0.0
        for step, g in enumerate((1.0, 2.0), 1):
            m, v = 0.7 * m + 0.3 * g, 0.8 * v + 0.2 * g * g
            root = (v / (1 - 0.8**step)) ** 0.5 + 0.3
            w -= 0.1 * decay * w + 0.1 * m / (1 - 0.7**step) / root
        return w

    found = stepped(AdamW, beta1=0.7, beta2=0.8, eps=0.3, weight_decay=0.5)
    assert found == pytest.approx([by_hand(0.5), by_hand(0.0)])


def test_a_model_without_vectors_has_one_group():
    named = [("w", torch.nn.Parameter(torch.ones(2, 2)))]
    optimizer = of_every_tensor(AdamW, named, {}, {"w": "hidden"})
    assert [group["name"] for group in optimizer.param_groups] == ["matrices"]
