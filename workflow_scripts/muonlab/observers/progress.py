"""A run's progress bar: steps, the time that is left, and beside them loss, rate and speed."""

import time
from typing import TextIO

from muonlab.hooks import Observer, Run

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class ProgressBar(Observer):
    """A bar on `file`, shown only if that is a terminal; `lr` is the peak learning rate, and `unit`
    names what `update.tokens` counts."""

    def __init__(self, file: TextIO | None, run: Run, lr: float, unit: str):
        self.bar = None
        if file is not None and file.isatty():  # even a bar that is not shown starts a thread
            from tqdm import tqdm

            self.bar = tqdm(initial=run.step, total=run.total, file=file, leave=False, unit="step")
        self.lr, self.unit = lr, unit
        self.throughput = Throughput()

    def after_updates(self, run: Run) -> None:
        if self.bar is None:  # saves making the postfix, which reads all records
            return
        self.throughput.add(run.update.tokens(run.step - self.bar.n))
        losses, factors = (run.metrics.series("train", m)[-1:] for m in ("loss", "lr_factor"))
        loss = losses[0][1] if losses else None
        lr = factors[0][1] * self.lr if factors else None
        beside = postfix(loss, lr, self.throughput.read(), self.unit)
        self.bar.set_postfix_str(beside, refresh=False)
        self.bar.update(run.step - self.bar.n)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()


class Throughput:
    """Units (tokens, examples) per second of wall time since the previous reading."""

    def __init__(self):
        self._units, self._since = 0, time.perf_counter()

    def add(self, units: int) -> None:
        self._units += units

    def read(self) -> float:
        """NaN if no time has passed."""
        now = time.perf_counter()
        units, seconds = self._units, now - self._since
        self._units, self._since = 0, now
        return units / seconds if seconds > 0 else float("nan")


def postfix(
    loss: float | None = None,
    lr: float | None = None,
    rate: float | None = None,
    unit: str = "tokens",
) -> str:
    """For tqdm's `set_postfix_str`: "loss 3.214, lr 3.0e-04, 12.3k tokens/s"; None is left out."""
    parts = []
    if loss is not None:
        parts.append(f"loss {loss:.4g}")
    if lr is not None:
        parts.append(f"lr {lr:.1e}")
    if rate is not None:
        parts.append(f"{scaled(rate)} {unit}/s")
    return ", ".join(parts)


def scaled(number: float) -> str:
    """Three digits and a prefix: 950, 12.3k, 1.40M."""
    for size, prefix in PREFIXES:
        if number >= 0.9995 * size:  # a number that rounds to 1000 gets the next prefix
            return f"{_three(number / size)}{prefix}"
    return _three(number)


def _three(number: float) -> str:
    """At least three digits, without an exponent."""
    decimals = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{decimals}f}"
