"""The memory that runs ask for grows with what they hold; parameters are counted as models do."""

import pytest
import torch

from muonlab.models.size import parameter_count
from muonlab.models.transformer import Transformer
from muonlab.plan.memory import BASE_MB, parameters, train_megabytes
from muonlab.plan.models import Transformer as Section

SHAPES = [
    {"width": 64, "heads": 4, "feedforward": 96, "layers": 3},
    {
        "width": 64,
        "heads": 4,
        "kv_heads": 2,
        "feedforward": 96,
        "layers": 2,
        "activation": "swiglu",
    },
    {"width": 32, "heads": 2, "feedforward": 48, "layers": 2, "experts": 4, "tied": False},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_those_of_the_model_but_for_norms(shape):
    section = Section(name="transformer", context=16, **shape).model_dump()
    with torch.device("meta"):
        model = Transformer(vocab=300, **{k: v for k, v in section.items() if k != "name"})
    norms = sum(p.numel() for p in model.parameters() if p.ndim == 1)
    assert parameters(section, 300) == parameter_count(model) - norms


def test_larger_models_batches_and_vocabularies_ask_for_more():
    def asked(batch=8, vocab=512, **shape):
        section = Section(name="transformer", **shape).model_dump()
        config = {"model": section, "training": {"batch_size": batch}}
        return train_megabytes(config, {"vocab_size": vocab, "tokenizer": None})

    small = asked()
    assert BASE_MB < small < min(asked(batch=64), asked(vocab=49152), asked(layers=40))
    assert train_megabytes({"model": {"name": "mlp"}}, {}) == BASE_MB
    # Of many experts, a token keeps the units of those that it goes to.
    assert asked(experts=8, top_k=2) < asked(experts=8, top_k=4)
