"""The optimizer sections of the config, made from the declarations in `muonlab.optim`.

The class of an optimizer declares the type, default and description of each setting, in the form
that `optim.hyperparameters` explains. They are read from the source text, so that nothing here
imports torch. This module adds the fields that every optimizer's section has, and those that decide
which tensors an optimizer for matrices trains.
"""

import ast
import inspect
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args

from pydantic import Field, create_model, field_validator

from muonlab.optim import coefficients, hyperparameters
from muonlab.section import Section

# The names that the models give their matrices: first the perceptron's, then the transformer's.
Component = Literal[
    "input",
    "hidden",
    "output",
    "embedding",
    "query",
    "key",
    "value",
    "query_key_value",
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
    "attention": ("query", "key", "value", "query_key_value", "attention_output"),
    "feedforward": ("up", "gate", "down", "expert_up", "expert_gate", "expert_down"),
}
FOLDER = Path(hyperparameters.__file__).parent
# Defaults of a config's section that are not those of the class: a study's numbers must not depend
# on which instructions the machine has.
STUDY_DEFAULTS = {"dtype": None}
TYPES = {**vars(coefficients), **vars(hyperparameters), "Component": Component}


def spelled_out(names: list[str]) -> list[Component]:
    """The components that the names stand for, sorted and each once, so that two spellings of the
    same setting name the same run."""
    named = {component for name in names for component in GROUPS.get(name, (name,))}
    return [component for component in COMPONENTS if component in named]


class Declaration(NamedTuple):
    """What an optimizer's module declares: the name of its class, a sentence that describes it,
    whether it trains matrices only, and the type, default and description of each setting."""

    name: str
    sentence: str
    for_matrices: bool
    settings: dict[str, tuple[Any, Any, str]]


def _read(path: Path) -> Declaration | None:
    """What the module declares, including the settings of the optimizers that it inherits from;
    None if it declares no optimizer."""
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
                settings={
                    n: (kind, STUDY_DEFAULTS.get(n, default), text)
                    for n, (kind, default, text) in settings.items()
                    if kind is not Final
                },
            )
    return None


def _settings(node: ast.ClassDef) -> dict[str, tuple[Any, Any, str]]:
    """The annotated attributes of a class. Raises TypeError if one lacks its default or text."""
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
    """A section with the fields of `base`, the fields `own` and the settings of an optimizer."""
    fields = {
        field: (kind, Field(default=default, description=sentence))
        for field, (kind, default, sentence) in settings.items()
    }
    # This class has no source text in which pydantic could look for the fields' docstrings.
    text = {"use_attribute_docstrings": False}
    return create_model(
        title, __base__=base, __doc__=sentence, __cls_kwargs__=text, **own, **fields
    )


DECLARED = {path.stem: found for path in sorted(FOLDER.glob("*.py")) if (found := _read(path))}


class _Tuned(Section):
    """The fields that every optimizer has."""

    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate, if tuning does not choose it."""
    embedding_ratio: float = Field(default=1.0, gt=0)
    """Learning rate of the embedding (in a perceptron: of the input matrix) as a multiple of `lr`,
    whichever optimizer trains it."""
    head_ratio: float = Field(default=1.0, gt=0)
    """Learning rate of the head (in a perceptron: of the output matrix) as a multiple of `lr`. A
    head that shares the embedding's matrix has the embedding's rate."""
    vector_ratio: float = Field(default=1.0, gt=0)
    """Learning rate of vectors (gains of norms, biases) as a multiple of `lr`."""


AdamWGroup = _section(
    "AdamWGroup",
    Section,
    "AdamW for the tensors that a matrix optimizer does not train.",
    DECLARED["adamw"].settings,
)


class _ForMatrices(_Tuned):
    """An optimizer for the matrices of the named components; AdamW trains everything else."""

    weight_decay: float
    """Decoupled weight decay. Each optimizer has its own default."""
    components: list[Literal[Component, GroupOfComponents]] = Field(
        default=[c for c in COMPONENTS if c not in ("embedding", "head")], min_length=1
    )
    """The components of the model whose matrices this optimizer trains; the model must have at
    least one of them. attention means all matrices of the attention; feedforward means up,
    gate and down, also those of experts. The default is everything except embedding and head."""
    adamw: AdamWGroup = AdamWGroup()
    """Settings of AdamW, which trains everything else."""

    @field_validator("components")
    @classmethod
    def _one_spelling(cls, value: list[str]) -> list[Component]:
        return spelled_out(value)


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
