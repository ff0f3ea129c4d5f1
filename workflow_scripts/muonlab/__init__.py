"""Muon against AdamW: the optimizers, and the library of the workflow that compares them.

The names below are the package's public ones. They are imported when they are first used, so that
`import muonlab` does not wait for torch.
"""

PUBLIC = {
    "Muon": "muonlab.optim.muon",
    "muon_with_adamw": "muonlab.optim.whole_model",
    "newton_schulz": "muonlab.optim.newton_schulz",
}
__all__ = ["Muon", "muon_with_adamw", "newton_schulz"]


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'muonlab' has no attribute {name!r}")
    # Not at the top: every job of the workflow imports this package, and few of them these modules.
    import importlib
    import warnings

    with warnings.catch_warnings():
        # torch says so when it starts without numpy, which nothing here needs.
        warnings.filterwarnings("ignore", "Failed to initialize NumPy", UserWarning)
        found = getattr(importlib.import_module(PUBLIC[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
