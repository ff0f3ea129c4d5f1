"""The progress bar, and what stands beside it."""

import io
import math
from types import SimpleNamespace

import pytest

from muonlab.observers import progress
from muonlab.observers.progress import ProgressBar, Throughput, postfix, scaled
from muonlab.training.metrics import Metrics


def test_the_postfix_says_what_it_is_given():
    assert postfix(3.21449, 3e-4, 12_345.6) == "loss 3.214, lr 3.0e-04, 12.3k tokens/s"
    assert postfix(loss=math.inf, rate=950, unit="images") == "loss inf, 950 images/s"
    assert postfix() == ""


@pytest.mark.parametrize(
    "number, text",
    [
        (0, "0.00"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (1400, "1.40k"),
        (123_456, "123k"),
        (999_600, "1.00M"),
        (2.5e9, "2.50G"),
        (4e13, "40000G"),
        (math.nan, "nan"),
    ],
)
def test_numbers_have_three_digits_and_the_right_prefix(number, text):
    assert scaled(number) == text


def test_throughput_is_of_the_time_since_the_last_reading(monkeypatch):
    now = iter([100.0, 102.0, 106.0, 106.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(now))
    throughput = Throughput()
    throughput.add(512)
    throughput.add(512)
    assert throughput.read() == 512
    throughput.add(400)
    assert throughput.read() == 100
    assert math.isnan(throughput.read())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def a_run():
    metrics = Metrics([(10, "train", "loss", 2.5), (10, "train", "lr_factor", 0.5)])
    update = SimpleNamespace(tokens=lambda steps: 64 * steps)
    return SimpleNamespace(step=10, total=100, metrics=metrics, update=update)


def test_a_bar_goes_on_where_a_resumed_run_does():
    run, terminal = a_run(), Terminal()
    with ProgressBar(terminal, run, lr=0.02, unit="images") as bar:
        run.step = 35
        bar.after_updates(run)
        assert bar.bar.n == 35
        bar.bar.refresh()
    assert "35/100" in terminal.getvalue()
    assert "loss 2.5, lr 1.0e-02" in terminal.getvalue() and "images/s" in terminal.getvalue()


@pytest.mark.parametrize("file", [None, io.StringIO()], ids=["none", "no terminal"])
def test_a_bar_that_nobody_sees_looks_through_no_records(file):
    run = a_run()
    run.metrics = None
    with ProgressBar(file, run, lr=0.02, unit="images") as bar:
        bar.after_updates(run)
    assert file is None or file.getvalue() == ""
