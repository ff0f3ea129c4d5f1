"""The observers of a run: which ones its config asks for, and how they continue after a resume."""

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from muonlab.hooks import Observer
from muonlab.observers.components import ComponentMonitor
from muonlab.observers.geometry import GeometryMonitor
from muonlab.observers.gradients import GradientMonitor
from muonlab.observers.momentum import momentum_of
from muonlab.observers.snapshots import FOLDER, Snapshots
from muonlab.training.loop import Trainer

Makers = dict[str, Callable[[], Observer]]


class Recorders:
    """The observers that write records of a run; a tuning run has none. They are made while the
    model has its initial weights, since some of them compare later weights with these.

    `code` is the digest of the observers' code. A checkpoint that was saved with other observers'
    code is still used. An observer that cannot continue from it starts anew at its step, and
    `restarted` says so. `codes` are the digests of all code that contributed.
    """

    def __init__(self, trainer: Trainer, folder: Path, code: str):
        self.makers = makers(trainer, folder)
        self.observers = {name: make() for name, make in self.makers.items()}
        self.codes = [code]
        self.restarted: list[dict] = []

    def __iter__(self) -> Iterator[Observer]:
        return iter(self.observers.values())

    def state_dict(self) -> dict:
        states = {name: observer.state_dict() for name, observer in self.observers.items()}
        return {"states": states, "codes": self.codes, "restarted": self.restarted}

    def load_state_dict(self, state: dict, step: int) -> None:
        """Continues from `state`, saved after `step` updates, perhaps by other code. Call it before
        the model gets the weights of that step: an observer that starts anew needs the initial
        ones."""
        own = self.codes
        self.codes = [*(code for code in state.get("codes", []) if code not in own), *own]
        self.restarted = list(state.get("restarted", []))
        for name, make in self.makers.items():
            try:
                self.observers[name].load_state_dict(state.get("states", {})[name])
            except Exception as failure:  # noqa: BLE001 (whatever it is, the weights are not lost)
                print(
                    f"the observer {name} cannot go on from the checkpoint "
                    f"({type(failure).__name__}: {failure}); its records start anew at step {step}"
                )
                self.observers[name] = make()
                self.restarted.append({"observer": name, "step": step})

    def provenance(self) -> dict:
        """Which observers' code recorded the run, which records are incomplete, and the seconds of
        the observers that measure them."""
        facts: dict = {"observer_digest": self.codes[-1], "observers_restarted": self.restarted}
        costs = {name: getattr(observer, "cost", None) for name, observer in self.observers.items()}
        facts["seconds_in_observers"] = {
            name: cost.seconds for name, cost in costs.items() if cost is not None
        }
        return facts | ({"observer_digests": self.codes} if len(self.codes) > 1 else {})


def makers(trainer: Trainer, folder: Path) -> Makers:
    """The functions that make the observers that write records, by name; snapshots are kept in a
    folder inside `folder` until the run is finished."""
    training, model, made = trainer.training, trainer.model, {}
    if trainer.config["phase"] != "reporting":
        return {}
    tokens, every = trainer.update.tokens, training.get("geometry_every")
    if every:
        optimizer = trainer.optimizer

        def momentum() -> dict[str, Tensor]:
            return momentum_of(model, [optimizer])

        made["geometry"] = lambda: GeometryMonitor(model, every, tokens, momentum)
    if training.get("components_every"):
        made["components"] = lambda: ComponentMonitor(model, training["components_every"])
        if every:
            made["gradients"] = lambda: GradientMonitor(model, every, tokens)
    keep = trainer.config.get("keep", {"snapshots": "none", "updates": False})
    if keep["snapshots"] != "none":
        along = {"all": training, "end": None}[keep["snapshots"]]
        made["snapshots"] = lambda: Snapshots(
            folder / FOLDER, trainer.total, keep["updates"], along
        )
    return made
