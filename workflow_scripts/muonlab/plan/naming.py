"""Canonical names of runs: a function of the resolved settings alone, readable, safe as paths.

A run's name is data/model/training/optimizer/seed-N, or …/tuning-seed-N where the run serves the
choice of settings and must not read the test set. Each of the middle parts is the section's
kind followed by the fields that differ from their defaults, sorted: `muon,lr=0.005,ns_steps=10`.
Equal settings give equal names, so a run that two studies ask for is trained once.
"""

import hashlib
import re

from pydantic import BaseModel

LONGEST = 180  # bytes of one path component; file systems allow 255 and a suffix may follow
RUN_PATTERN = r"[^/]+/[^/]+/[^/]+/[^/]+/(tuning-)?seed-\d+"


def run_name(config: dict, defaults: dict[str, dict]) -> str:
    """The name of the run with that resolved config; `defaults` holds each section's defaults."""
    parts = [
        config["data"],
        section_name(config["model"]["name"], config["model"], defaults["model"]),
        section_name("train", config["training"], defaults["training"]),
        section_name(config["optimizer"]["name"], config["optimizer"], defaults["optimizer"]),
        f"{'tuning-' if config['phase'] == 'tuning' else ''}seed-{config['seed']}",
    ]
    return "/".join(parts)


def section_name(kind: str, section: dict, defaults: dict) -> str:
    """`kind` and the fields of `section` that differ from `defaults`, as a path component."""
    changed = {
        field: value
        for field, value in flatten(section).items()
        if field != "name" and value != flatten(defaults).get(field, ...)
    }
    name = ",".join(
        [kind, *(f"{field}={_text(value)}" for field, value in sorted(changed.items()))]
    )
    if len(name.encode()) <= LONGEST:
        return name
    return name[: LONGEST - 9] + "~" + hashlib.sha256(name.encode()).hexdigest()[:8]


def defaults_of(model: type[BaseModel]) -> dict:
    """A section's defaults as plain values; fields without one are left out."""
    return {
        field: value.model_dump() if isinstance(value, BaseModel) else value
        for field, info in model.model_fields.items()
        if not info.is_required()
        for value in [info.get_default(call_default_factory=True)]
    }


def flatten(section: dict, prefix: str = "") -> dict:
    """Nested sections as one level of dotted fields."""
    flat = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _text(value) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list):
        return "+".join(_text(v) for v in value) or "none"
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", str(value))
