"""The console: what a user reads while jobs run, when one fails, and at the end."""

import logging
import types

import pytest
from snakemake.logging import ColorizingTextHandler, DefaultFormatter, LogEvent
from snakemake.settings.enums import Quietness

from muonlab.jobs.closing import closing, opening, plain
from muonlab.jobs.console import Console, install
from muonlab.jobs.pace import Pace, duration, percent

AT_THE_END = "WorkflowError:\nAt least one job did not complete successfully."


class Stream:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.fixture
def logger():
    made = logging.Logger("a logger of its own", logging.INFO)
    made.addHandler(
        ColorizingTextHandler(stream=Stream(), formatter=DefaultFormatter({Quietness.REASON}))
    )
    return made


def shown(logger):
    return logger.handlers[0].stream.text


def with_console(logger, quiet=False):
    install(
        title=lambda rule, wildcards: (
            f"Training run {wildcards['run']}" if "run" in wildcards else None
        ),
        ahead=lambda: {"train_run": 6},
        quiet=lambda: quiet,
        logger=logger,
    )
    return logger


def say(logger, event, text="", **more):
    logger.info(text, extra={"event": event} | more)


def begin(logger, **stats):
    stats = {**stats, "total": sum(stats.values())}
    say(logger, LogEvent.RUN_INFO, "a table of 85 lines", stats=stats)


def job(logger, number, rule, message="", **wildcards):
    rest = {"wildcards": wildcards, "rule_msg": message, "indent": False}
    say(logger, LogEvent.JOB_INFO, jobid=number, rule_name=rule, **rest)


def fail(logger, number, rule, log, message=None):
    told = {"rule_name": rule, "rule_msg": message, "jobid": number, "log": [str(log)], "aux": {}}
    logger.error("Error in rule", extra={"event": LogEvent.JOB_ERROR, **told})


def test_a_run_is_called_by_its_title_and_another_job_by_its_message(logger):
    with_console(logger)
    job(logger, 1, "train_trial", "Training muon-lr0.01-7bd64dbc96/seed-1", run="x")
    job(logger, 2, "plot_effects", "Drawing the effects of moe")
    lines = [line.split(" ", 1)[1] for line in shown(logger).splitlines() if line]
    assert lines == ["Training run x", "Drawing the effects of moe"]


def test_lines_that_say_nothing_are_left_out(logger):
    with_console(logger)
    for text in (
        "Select jobs to execute...",
        "Execute 2 jobs...",
        "Updating checkpoint dependencies.",
    ):
        logger.info(text)
    say(logger, LogEvent.JOB_FINISHED, "Finished jobid: 4 (Rule: select)", job_id=4)
    assert shown(logger) == ""
    logger.info("Nothing to be done (all requested files are present and up to date).")
    assert "Nothing to be done" in shown(logger)


def test_the_beginning_says_how_many_jobs_follow(logger):
    with_console(logger)
    begin(logger, train_trial=8, select=1, all=1)
    assert "10 jobs to do; about 6 more follow when tuning has chosen settings" in shown(logger)
    assert "85 lines" not in shown(logger)


def test_a_dry_run_is_shown_as_snakemake_shows_it(logger):
    with_console(logger, quiet=True)
    begin(logger, train_trial=8)
    logger.info("Select jobs to execute...")
    job(logger, 1, "train_trial", "Training a long name", run="x")
    assert "85 lines" in shown(logger) and "Select jobs" in shown(logger)
    assert "Training a long name" in shown(logger)


def test_another_formatter_is_left_alone():
    class Mine(logging.Formatter):
        pass

    made = logging.Logger("one with a plugin", logging.INFO)
    made.addHandler(logging.StreamHandler(Stream()))
    made.handlers[0].setFormatter(Mine())
    with_console(made)
    assert type(made.handlers[0].formatter) is Mine


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (
            "step 4\nTraceback …\nerror: ValueError: a (traceback in x.log)\n",
            "ValueError: a (trace",
        ),
        ("error: first\nerror: last\n", "last"),
        ("Killed\n", "the job ended without a word; see"),
        (None, "the job ended without a word; see"),
    ],
)
def test_a_job_that_failed_says_its_sentence_last(logger, tmp_path, log, sentence):
    with_console(logger)
    file = tmp_path / "job.log"
    if log is not None:
        file.write_text(log)
    job(logger, 3, "train_trial", run="x")
    failed = "RuleException:\nCalledProcessError in file 'x', line 3:\n"
    failed += "Command returned non-zero exit status 1."
    logger.error(failed, extra={"event": LogEvent.ERROR, "exception": "RuleException"})
    fail(logger, 3, "train_trial", file)
    logger.error(AT_THE_END, extra={"event": LogEvent.ERROR, "exception": "WorkflowError"})
    assert "RuleException" not in shown(logger) and "At least one" not in shown(logger)
    last = shown(logger).strip().splitlines()[-1]
    assert last.startswith(f"error: Training run x: {sentence}")


def test_what_a_cluster_says_of_a_failed_job_is_shown(logger, tmp_path):
    with_console(logger)
    job(logger, 3, "train_trial", run="x")
    fail(logger, 3, "train_trial", tmp_path / "none.log", "SLURM status is: 'TIMEOUT'. ")
    assert "SLURM status is: 'TIMEOUT'" in shown(logger)
    logger.error(AT_THE_END, extra={"event": LogEvent.ERROR})
    assert "error: Training run x: SLURM status is: 'TIMEOUT'; see" in shown(logger)


def test_a_job_that_succeeds_when_tried_again_is_no_failure(logger, tmp_path):
    with_console(logger)
    job(logger, 3, "train_trial", run="x")
    fail(logger, 3, "train_trial", tmp_path / "log")
    job(logger, 3, "train_trial", run="x")
    job(logger, 4, "train_trial", run="y")
    fail(logger, 4, "train_trial", tmp_path / "log")
    logger.error(AT_THE_END, extra={"event": LogEvent.ERROR})
    ends = [line for line in shown(logger).splitlines() if line.startswith("error: ")]
    assert len(ends) == 1 and "run y" in ends[0]


def test_the_share_never_falls_when_the_graph_grows():
    now = iter(range(10_000))
    pace = Pace({"train_trial": 4, "select": 1, "all": 1}, {"train_run": 4}, lambda: next(now))
    shares, total = [], 6
    for done in range(1, 13):
        if done == 5:
            total = 12  # two more than was thought
        pace.starts(done, "train_trial" if done < 5 else "train_run")
        pace.ends(done)
        pace.reaches(done, total)
        shares.append(pace.share)
    assert shares == sorted(shares) and shares[-1] == 1
    assert shares[3] == pytest.approx(0.4)  # of the ten that were expected, not of six


def test_time_left_is_the_work_left_at_the_pace_so_far():
    at = [0.0]
    pace = Pace({"train_trial": 20, "plot_effects": 10}, {}, lambda: at[0])
    for number in range(10):  # two at a time, each of eight seconds
        pace.starts(number, "train_trial")
        at[0] += 4
        pace.starts(100 + number, "other")
        at[0] += 4 if number % 2 else 0
        pace.ends(number)
        pace.reaches(number + 1, 30)
    worked = sum(map(sum, pace._seconds.values()))
    typical = worked / 10
    wanted = (10 * typical + 10 * 2.0) * at[0] / worked
    assert pace.seconds_left == pytest.approx(wanted)


def test_too_few_jobs_tell_no_time():
    pace = Pace({"train_trial": 20}, {}, lambda: 0.0)
    pace.starts(1, "train_trial")
    pace.ends(1)
    pace.reaches(1, 20)
    assert pace.seconds_left is None
    assert pace.sentence() == "1 of 20 jobs done (5.0 %)"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (61, "1 min"), (3600 * 2 + 300, "2 h 5 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.004, "0.4 %"), (0.173, "17 %"), (0.9999, "99 %"), (1.0, "100 %")]
)
def test_only_the_end_is_a_hundred_percent(share, text):
    assert percent(share) == text


FINDINGS = """\
- **Muon ends at a lower loss than AdamW** (−0.1 nats, 4 seeds).
- 1 of 7 anchor checks fails: a `field`.

Data: digits.
**Warning:** the setting of *AdamW* lies at the edge (lr=high).

Each cell is a_b * c.
"""


def test_findings_are_said_with_their_warnings():
    assert list(opening(FINDINGS)) == [
        "Muon ends at a lower loss than AdamW (−0.1 nats, 4 seeds).",
        "1 of 7 anchor checks fails: a field.",
        "Warning: the setting of AdamW lies at the edge (lr=high).",
    ]


def test_words_with_underscores_keep_them():
    assert plain("the field lr_factors and 2 * 3") == "the field lr_factors and 2 * 3"


def test_the_end_names_only_files_that_exist(tmp_path):
    (tmp_path / "moe").mkdir()
    (tmp_path / "moe" / "findings.md").write_text(FINDINGS)
    (tmp_path / "claims.md").write_text("# Claims\n\nOf 18 claims **3 hold**.\n\nMore.")
    (tmp_path / "report.html").write_text("")
    said = closing(tmp_path, {"moe": "Mixture of experts", "fashion": "Images"})
    assert said.startswith("moe: Mixture of experts")
    assert "Of 18 claims 3 hold." in said
    assert "report.html" in said and "thesis" not in said and "Images" not in said


def test_install_twice_is_once(logger):
    with_console(with_console(logger))
    assert isinstance(logger.handlers[0].formatter, Console)
    assert isinstance(logger.handlers[0].formatter.usual, DefaultFormatter)
    assert isinstance(logger.handlers[0].filters[0], types.MethodType)
    assert len(logger.handlers[0].filters) == 1
