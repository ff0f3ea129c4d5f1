"""What every section of the config has in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the config: unknown keys and loose types ("3e-4" for 3.0e-4) are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)
