"""What every section of the config has in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A section of the config: unknown keys and loose types ("3e-4" for 3.0e-4) are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)
