"""The values that an observer has recorded: one vector for each record, on the model's device."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


class Kept:
    """Records of one observer. The labels of a record's values are stored once for each kind of
    record (the first, the usual, the last), so that records cost a run little."""

    def __init__(self):
        self.labels: dict[str, list[tuple]] = {}
        self.records: list[tuple[int, str, Tensor]] = []

    def add(self, step: int, kind: str, labels: Callable[[], list[tuple]], values: Tensor) -> None:
        """Keeps the record of `step`: `values` (n,), described by n labels of its kind."""
        if kind not in self.labels:
            self.labels[kind] = labels()
        self.records.append((step, kind, values))

    def rows(self) -> Iterator[tuple[int, tuple, float]]:
        """(step, label, value), in the order of recording."""
        for step, kind, values in self.records:
            for label, value in zip(self.labels[kind], values.tolist(), strict=True):
                yield step, label, value

    def state_dict(self) -> dict:
        return {
            "labels": self.labels,
            "records": [(step, kind, len(values)) for step, kind, values in self.records],
            "values": torch.cat([values for *_, values in self.records]) if self.records else None,
        }

    def load_state_dict(self, state: dict) -> None:
        self.labels = state["labels"]
        lengths = [length for *_, length in state["records"]]
        values = state["values"].split(lengths) if lengths else []
        self.records = [
            (step, kind, own) for (step, kind, _), own in zip(state["records"], values, strict=True)
        ]
