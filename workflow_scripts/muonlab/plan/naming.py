"""Names of runs: short, with the most informative part first, and equal for equal settings.

A reporting run is named <settings>/seed-N, a tuning run <settings>/tuning-seed-N. <settings>
consists of the optimizer, its learning rate, those of its other fields that differ from their
defaults, as far as there is room, and a digest of all settings. Equal settings give equal names,
so a run that two studies need is trained once. The table `run_index` of each study lists the
settings of each name.
"""

import hashlib
import json
import re
from functools import cache

from pydantic import BaseModel

LONGEST = 80  # characters of a run's name, with its seed
# Hexadecimal digits of a digest. Among a thousand different settings, the chance that any two share
# a digest is about one in two million.
DIGEST = 10
_SETTINGS = r"[a-z0-9][A-Za-z0-9_.+-]*"
REPORTING_PATTERN, TUNING_PATTERN = rf"{_SETTINGS}/seed-\d+", rf"{_SETTINGS}/tuning-seed-\d+"
RUN_PATTERN = f"{REPORTING_PATTERN}|{TUNING_PATTERN}"
_SEED = len("/tuning-seed-2147483647")


def settings_name(config: dict, defaults: dict) -> str:
    """The name of the folder of the runs with these settings.

    `config` is a run's config without seed and phase, `defaults` the defaults of its optimizer.
    """
    shown, usual = config["optimizer"], flatten(defaults)
    changed = [
        (field, value)
        for field, value in flatten(shown).items()
        if field not in ("name", "lr") and value != usual.get(field, ...)
    ]
    words = [shown["name"], f"lr{_text(shown['lr'])}"]
    words += [f"{_short(field)}{_text(value)}" for field, value in changed]
    words.append(config["data"])
    name, room = words[0], LONGEST - _SEED - DIGEST - 1
    for word in words[1:]:
        if len(name) + 1 + len(word) > room:
            break
        name += f"-{word}"
    return f"{name}-{settings_digest(config)}"


def settings_digest(config: dict) -> str:
    """A digest of all settings of a run except its seed, its phase and what is kept of it."""
    settings = {k: v for k, v in config.items() if k not in ("seed", "phase", "keep")}
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST]


def seed_name(seed: int, phase: str) -> str:
    """The last part of a run's name: seed-N or tuning-seed-N."""
    return f"{'tuning-' if phase == 'tuning' else ''}seed-{seed}"


@cache
def defaults_of(model: type[BaseModel]) -> dict:
    """A section's defaults as plain values. Fields without a default are left out."""
    return {
        field: value.model_dump() if isinstance(value, BaseModel) else value
        for field, info in model.model_fields.items()
        if not info.is_required()
        for value in [info.get_default(call_default_factory=True)]
    }


def flatten(section: dict, prefix: str = "") -> dict:
    """Nested sections as a flat dictionary with dotted names."""
    flat = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _short(field: str) -> str:
    """`momentum`, but `adamw.beta1` as `adamw_beta1`."""
    return field.replace(".", "_")


def _text(value) -> str:
    if isinstance(value, bool) or value is None:
        return f"_{str(value).lower()}"
    if isinstance(value, list):
        return "+".join(_text(v) for v in value) or "_none"
    text = f"_{value}" if isinstance(value, str) else f"{value:g}"
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", text)
