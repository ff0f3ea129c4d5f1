"""What stands beside the progress bar."""

import math

import pytest

from muonlab.observers import progress
from muonlab.observers.progress import Throughput, postfix, scaled


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
