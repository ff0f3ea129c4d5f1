"""Optimizer sections of the config, made of what the optimizers of `muonlab.optim` declare.

A setting's type, default and sentence stand in the optimizer's class. Here is what all have, and
what decides which tensors an optimizer for matrices gets.
"""

from typing import Annotated, Literal, Union, get_args

from pydantic import Field, create_model, field_validator

from muonlab.optim.declared import declarations
from muonlab.optim.fields import Component
from muonlab.section import Section

COMPONENTS: tuple[Component, ...] = get_args(Component)
GroupOfComponents = Literal["attention", "feedforward"]
GROUPS: dict[GroupOfComponents, tuple[Component, ...]] = {
    "attention": ("query", "key", "value", "attention_output"),
    "feedforward": ("up", "gate", "down", "expert_up", "expert_gate", "expert_down"),
}


def _section(
    title: str, base: type[Section], sentence: str, settings: dict, **own
) -> type[Section]:
    """A section with the fields of `base`, `own` ones and an optimizer's settings."""
    fields = {
        field: (kind, Field(default=default, description=sentence))
        for field, (kind, default, sentence) in settings.items()
    }
    # There is no text of a class here, in which pydantic could look for sentences.
    text = {"use_attribute_docstrings": False}
    return create_model(
        title, __base__=base, __doc__=sentence, __cls_kwargs__=text, **own, **fields
    )


class _Tuned(Section):
    """What every optimizer has."""

    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate, where tuning does not choose it."""


AdamWGroup = _section(
    "AdamWGroup",
    Section,
    "AdamW for the tensors that a matrix optimizer leaves.",
    declarations()["adamw"].settings,
    lr=(
        float | None,
        Field(
            default=None, gt=0, description="Peak learning rate; null takes the matrix optimizer's."
        ),
    ),
)


class _ForMatrices(_Tuned):
    """An optimizer for the matrices of the named components, with AdamW for the rest."""

    weight_decay: float
    """Decoupled weight decay; each optimizer has a default of its own."""
    components: list[Literal[Component, GroupOfComponents]] = Field(
        default=[c for c in COMPONENTS if c not in ("embedding", "head")], min_length=1
    )
    """Parts of the model whose matrices it trains: attention stands for query, key, value and
    attention_output, feedforward for all of up, gate and down, experts' too. A model has to have
    one of them; by default all but embeddings and language-model heads."""
    adamw: AdamWGroup = AdamWGroup()
    """AdamW for everything else."""

    @field_validator("components")
    @classmethod
    def _one_spelling(cls, value: list[str]) -> list[Component]:
        """Groups taken apart, each component once and in one order: one setting, one run."""
        named = {component for name in value for component in GROUPS.get(name, (name,))}
        return [component for component in COMPONENTS if component in named]


OPTIMIZERS: dict[str, type[Section]] = {
    name: _section(
        declared.name,
        _ForMatrices if declared.for_matrices else _Tuned,
        declared.sentence,
        declared.settings,
        name=(Literal[name], ...),
    )
    for name, declared in declarations().items()
}
OptimizerConfig = Annotated[Union[*OPTIMIZERS.values()], Field(discriminator="name")]
