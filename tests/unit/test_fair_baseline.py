"""What a fair baseline needs: rates by group, frozen anchors, initialisation, whole evaluation."""

import copy
import math

import pytest
import torch
from torch import nn

from muonlab.models.mlp import MLP
from muonlab.models.transformer import Transformer
from muonlab.optim.factory import build_optimizer
from muonlab.optim.routing import freeze, manifest
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.training.metrics import WHOLE, Metrics, summarise

RATIOS = {"embedding_ratio": 8.0, "head_ratio": 0.25, "vector_ratio": 3.0}


def language_model(**settings):
    model = Transformer(vocab=40, context=8, width=16, layers=2, heads=2, feedforward=24,
                        tied=False, **settings)  # fmt: skip
    model.initialise(3, "init")
    return model


def section(name, **fields):
    return OPTIMIZERS[name](name=name, lr=0.01, **fields).model_dump()


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd", "normuon"])
def test_each_group_has_lr_times_its_ratio_whoever_trains_it(name):
    model = language_model()
    routes = manifest(model, build_optimizer(model, section(name, **RATIOS)))
    expected = {"embedding": 0.08, "head": 0.0025, "norm": 0.03}
    for route in routes:
        assert route.lr == pytest.approx(expected.get(route.component, 0.01)), route
    assert {route.component for route in routes} >= {"embedding", "head", "norm", "query"}


def test_a_perceptrons_first_and_last_matrix_are_its_embedding_and_head():
    model = MLP(20, 5, 8, 2, True, "relu")
    config = section("muon", components=["input", "hidden"], **RATIOS)
    rates = {r.tensor: r.lr for r in manifest(model, build_optimizer(model, config))}
    assert rates["layers.0.weight"] == pytest.approx(0.08)  # trained by Muon
    assert rates["layers.1.weight"] == pytest.approx(0.01)
    assert rates["layers.2.weight"] == pytest.approx(0.0025)  # trained by AdamW
    assert rates["layers.0.bias"] == pytest.approx(0.03)


def test_ratios_scale_the_update_and_nothing_else():
    """With AdamW and no decay, a group's first step is its rate, whatever the gradient."""
    model, plain = language_model(), language_model()
    for net, ratios in ((model, RATIOS), (plain, {})):
        optimizer = build_optimizer(net, section("adamw", weight_decay=0.0, **ratios))
        torch.manual_seed(0)
        for p in net.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    start = dict(language_model().named_parameters())
    other, components = dict(plain.named_parameters()), model.components()
    factors = {"embedding": 8.0, "head": 0.25, "norm": 3.0}
    for name, p in model.named_parameters():
        step, without = p - start[name], other[name] - start[name]
        factor = factors.get(components[name], 1.0)
        torch.testing.assert_close(step, factor * without, rtol=1e-3, atol=1e-6)


def test_frozen_matrices_keep_their_values_and_all_others_move():
    model = language_model()
    before = copy.deepcopy(model.state_dict())
    freeze(model, ["query", "up"])
    optimizer = build_optimizer(model, section("muon"))
    loss = nn.functional.cross_entropy(
        model(torch.arange(8)[None]).flatten(0, 1), torch.arange(1, 9)
    )
    loss.backward()
    optimizer.step()
    components = model.components()
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (components[name] in ("query", "up")), name


def test_freezing_what_the_model_lacks_is_refused():
    with pytest.raises(ValueError, match="training.frozen: the model has none of router"):
        freeze(language_model(), ["router"])


def test_initial_weights_follow_the_width_or_have_the_given_deviation():
    wide = Transformer(vocab=300, context=8, width=256, layers=2, heads=2, feedforward=512)
    wide.initialise(0, "init")
    components = wide.components()
    for name, p in wide.named_parameters():
        if components[name] == "norm":
            assert torch.equal(p, torch.ones_like(p))
            continue
        expected = 1 / math.sqrt(3 * p.shape[-1])
        if components[name] in ("attention_output", "down"):
            expected /= math.sqrt(2 * 2)
        assert float(p.detach().std()) == pytest.approx(expected, rel=0.03), name
    fixed = language_model(initial_std=0.02)
    assert float(fixed.embedding.detach().std()) == pytest.approx(0.02, rel=0.1)
    # One stream of random numbers for both: only the size differs.
    ratio = language_model().embedding / fixed.embedding
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0, 0])))


def test_a_scaled_embedding_enters_the_stream_times_the_root_of_the_width():
    plain, scaled = language_model(), language_model(scaled_embedding=True)
    twin = copy.deepcopy(plain)
    with torch.no_grad():
        twin.embedding.mul_(4.0)  # the head is not tied, so only the stream changes
    tokens = torch.randint(0, 40, (2, 8))
    torch.testing.assert_close(scaled(tokens), twin(tokens))


def test_the_final_loss_is_that_of_the_whole_split():
    metrics = Metrics()
    for step, loss in ((0, 2.0), (10, 1.0)):
        metrics.add(step, "validation", loss=loss, accuracy=0.5)
    metrics.add(10, WHOLE, loss=1.25, accuracy=0.75)
    config = {"training": {"evaluate_on": "validation"}, "seed": 1}
    found = summarise(config, metrics, 10, None)
    assert (found["final_loss"], found["final_accuracy"], found["best_loss"]) == (1.25, 0.75, 1.0)


def test_fused_attention_is_the_same_function_of_the_same_weights():
    plain, fused = language_model(), language_model(fused_attention=True)
    with torch.no_grad():
        for a, b in zip(plain.layers, fused.layers, strict=True):
            a, b = a.attention, b.attention
            b.query_key_value.copy_(torch.cat((a.query, a.key, a.value)))
            b.output.copy_(a.output)
        for name, p in plain.named_parameters():
            if "attention." not in name:
                fused.get_parameter(name).copy_(p)
    tokens = torch.randint(0, 40, (2, 8))
    torch.testing.assert_close(plain(tokens), fused(tokens))
    for mine, theirs in zip(
        plain.layers[0].attention.query_and_key(),
        fused.layers[0].attention.query_and_key(),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    routes = manifest(fused, build_optimizer(fused, section("muon")))
    assert {r.optimizer for r in routes if r.component == "query_key_value"} == {"muon"}
