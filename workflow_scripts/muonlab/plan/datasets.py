"""The `data` section of the config: data sets of images and of text, by their source."""

import pkgutil
from typing import Annotated, Any, Union

from pydantic import Field

from muonlab.data import sources
from muonlab.data.sections import IMAGES, TEXT, Source, opened, source_class

__all__ = ["IMAGES", "TEXT"]
SOURCES: dict[str, type[Source]] = {
    module.name: source_class(module.name) for module in pkgutil.iter_modules(sources.__path__)
}
KINDS = {name: section.kind for name, section in SOURCES.items()}
DataConfig = Annotated[Union[*SOURCES.values()], Field(discriminator="source")]


def source_files(name: str, plan: Any) -> list[str]:
    """The files that the data set `name` of a plan is read from, sorted; empty if it needs none."""
    section = opened(plan.data[name])
    return sorted(map(str, section.inputs(lambda *field: plan.place("data", name, *field))))
