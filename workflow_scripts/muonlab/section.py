"""The base class of every section of the config, and types of fields that sections share."""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A section of the config: unknown keys and loose types ("3e-4" for 3.0e-4) are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


def field_limits(model: type[BaseModel]) -> dict[str, tuple[float, float]]:
    """The (lowest, highest) values that the model allows, for each of its fields."""
    found = {}
    for field, info in model.model_fields.items():
        bounds = {name: [] for name in ("ge", "gt", "le", "lt")}
        for check in info.metadata:
            for name, values in bounds.items():
                if getattr(check, name, None) is not None:
                    values.append(getattr(check, name))
        low = max(bounds["ge"] + bounds["gt"], default=-math.inf)
        found[field] = (low, min(bounds["le"] + bounds["lt"], default=math.inf))
    return found
