"""Optimizer sections of the config, made of what the optimizers of `muonlab.optim` declare.

A setting's type, default and sentence stand in the optimizer's class, as `optim.hyperparameters`
says, and are read off the source, so that nothing here imports torch. Besides, here is what every
section has, and what decides which tensors an optimizer for matrices gets.
"""

import ast
import inspect
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args

from pydantic import Field, create_model, field_validator

from muonlab.optim import coefficients, hyperparameters
from muonlab.section import Section

# What the models call their matrices: the perceptron's first, then the transformer's.
Component = Literal[
    "input",
    "hidden",
    "output",
    "embedding",
    "query",
    "key",
    "value",
    "attention_output",
    "up",
    "gate",
    "down",
    "expert_up",
    "expert_gate",
    "expert_down",
    "router",
    "head",
]
COMPONENTS: tuple[Component, ...] = get_args(Component)
GroupOfComponents = Literal["attention", "feedforward"]
GROUPS: dict[GroupOfComponents, tuple[Component, ...]] = {
    "attention": ("query", "key", "value", "attention_output"),
    "feedforward": ("up", "gate", "down", "expert_up", "expert_gate", "expert_down"),
}
LR_OF_THE_REST = "Peak learning rate; null takes the matrix optimizer's."
FOLDER = Path(hyperparameters.__file__).parent
TYPES = {**vars(coefficients), **vars(hyperparameters), "Component": Component}


class Declaration(NamedTuple):
    """An optimizer's class by name, the sentence about it, whether it is for matrices alone, and
    the type, default and sentence of each setting."""

    name: str
    sentence: str
    for_matrices: bool
    settings: dict[str, tuple[Any, Any, str]]


def _read(path: Path) -> Declaration | None:
    """What the module declares, its bases' settings included."""
    if not path.is_file():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and "optimizer" in map(ast.unparse, node.decorator_list):
            names = [ast.unparse(base) for base in node.bases]
            bases = list(filter(None, [_read(FOLDER / f"{name.lower()}.py") for name in names]))
            settings = {n: s for base in bases for n, s in base.settings.items()} | _settings(node)
            return Declaration(
                name=node.name,
                sentence=ast.get_docstring(tree).split("\n\n")[0].replace("\n", " "),
                for_matrices="MatrixOptimizer" in names or any(b.for_matrices for b in bases),
                settings={n: setting for n, setting in settings.items() if setting[0] is not Final},
            )
    return None


def _settings(node: ast.ClassDef) -> dict[str, tuple[Any, Any, str]]:
    """The attributes with a type in a class's body; TypeError where one is not complete."""
    found = {}
    for line, below in zip(node.body, [*node.body[1:], node], strict=True):
        if isinstance(line, ast.AnnAssign):
            name = line.target.id
            try:
                kind = eval(ast.unparse(line.annotation), dict(TYPES))
                sentence = "" if kind is Final else inspect.cleandoc(below.value.value)
                found[name] = kind, ast.literal_eval(line.value), sentence
            except (NameError, AttributeError, ValueError) as failure:
                raise TypeError(
                    f"{node.name}.{name}: a setting needs a type of optim/hyperparameters.py, a "
                    f"literal as its default and a sentence below ({failure})"
                ) from failure
    return found


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


DECLARED = {path.stem: found for path in sorted(FOLDER.glob("*.py")) if (found := _read(path))}


class _Tuned(Section):
    """What every optimizer has."""

    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate, where tuning does not choose it."""


AdamWGroup = _section(
    "AdamWGroup",
    Section,
    "AdamW for the tensors that a matrix optimizer leaves.",
    DECLARED["adamw"].settings,
    lr=(float | None, Field(default=None, gt=0, description=LR_OF_THE_REST)),
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
        found.name,
        _ForMatrices if found.for_matrices else _Tuned,
        found.sentence,
        found.settings,
        name=(Literal[name], ...),
    )
    for name, found in DECLARED.items()
}
OptimizerConfig = Annotated[Union[*OPTIMIZERS.values()], Field(discriminator="name")]
