"""Changes one field of an arm's settings, and checks that it can be changed to that value."""

from collections.abc import Mapping

from muonlab.plan.models import MODELS, READS
from muonlab.plan.naming import flatten
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.training import Training
from muonlab.plan.tuned_fields import with_value
from muonlab.plan.validate import Sources, check, did_you_mean, refuse


def put(
    settings: dict,
    dotted: str,
    value: object,
    where: tuple,
    sources: Sources,
    data: Mapping[str, str],
) -> dict:
    """`settings` with one field changed; the whole section is then checked again. `data` gives the
    kind of each data set, images or text.

    Raises UserError for the field at `where` if it cannot be changed, or not to this value.
    """
    if dotted == "data":
        return settings | {"data": _other_data(value, where, sources, data, settings)}
    flat = flatten(settings)
    if dotted not in flat or dotted in ("model.name", "optimizer.name"):
        changeable = {k for k in flat if not k.endswith(".name")}
        hint = did_you_mean(dotted, changeable)
        refuse(sources, where, "is not a field that an arm can change" + hint)
    section, *path = dotted.split(".")
    changed = with_value(settings[section], path, value)
    kinds = {"model": MODELS, "optimizer": OPTIMIZERS, "training": {None: Training}}[section]
    model = kinds[changed.get("name")]
    # Only this field is new, so it is the one to blame for any error in the section.
    checked = check(model, changed, sources, where, exactly=True)
    return settings | {section: checked.model_dump()}


def _other_data(
    name: object, where: tuple, sources: Sources, data: Mapping[str, str], settings: dict
) -> str:
    if not isinstance(name, str) or name not in data:
        refuse(sources, where, f"{name!r} is not in data", data)
    model = settings["model"]["name"]
    if data[name] != READS[model]:
        sentence = f"the model {model} reads {READS[model]}, and {name!r} holds {data[name]}"
        refuse(sources, where, sentence)
    return name
