"""Jobs that the queue no longer lists are decided by their outputs, once, and not too early."""

import threading
from types import SimpleNamespace

import pytest

from muonlab.jobs.vanished import Watcher


class Job:
    def __init__(self, output):
        self.name, self.output, self.attempt = "train", output, 1


class Executor:
    """What every remote executor of Snakemake has."""

    def __init__(self, jobs):
        self.lock, self.wait, self.run_uuid = threading.Lock(), True, "name"
        self.active_jobs = [
            SimpleNamespace(external_jobid=job, job=Job(outputs)) for job, outputs in jobs.items()
        ]
        self.done, self.failed = [], []

    def report_job_success(self, info):
        self.done.append(info.external_jobid)

    def report_job_error(self, info, msg):
        self.failed.append((info.external_jobid, msg))


@pytest.fixture
def watched(tmp_path):
    written, absent = tmp_path / "written", tmp_path / "absent"
    executor = Executor({"1": [written], "2_1": [absent], "2_2": [written, absent], "3": [written]})
    said = []
    running = {info.job for info in executor.active_jobs}
    queue = {"listed": {"1", "2_1", "2_2", "3"}, "ended": set()}

    def ask():
        if queue["listed"] is None:
            return None
        return {job: "FAILED" if job in queue["ended"] else "RUNNING" for job in queue["listed"]}

    watcher = Watcher(executor, running, ask, said.append, patience=100)
    watcher.look(0)
    written.write_text("whole")
    return SimpleNamespace(
        executor=executor, watcher=watcher, queue=queue, said=said, running=running
    )


def test_nothing_is_decided_while_the_queue_lists_a_job(watched):
    for now in (100, 200, 10_000):
        watched.watcher.look(now)
    assert not watched.executor.done and not watched.executor.failed and not watched.said


def test_a_missing_job_is_decided_by_its_outputs(watched):
    watched.queue["listed"] = {"3"}
    for now in (10, 60, 109):
        watched.watcher.look(now)
    assert not watched.executor.done and not watched.executor.failed, "it is too early"
    watched.watcher.look(110)
    assert watched.executor.done == ["1"]
    assert [job for job, _ in watched.executor.failed] == ["2_1", "2_2"]
    assert [info.external_jobid for info in watched.executor.active_jobs] == ["3"]
    assert len(watched.said) == 3
    assert all("has forgotten job" in sentence for sentence in watched.said)
    watched.watcher.look(1000)
    assert len(watched.said) == 3, "once"


def test_time_without_an_answer_does_not_count(watched):
    watched.queue["listed"] = set()
    watched.watcher.look(10)
    watched.queue["listed"] = None
    watched.watcher.look(60)
    watched.queue["listed"] = set()
    watched.watcher.look(120)
    assert not watched.executor.done and not watched.executor.failed
    watched.watcher.look(220)
    assert watched.executor.done == ["1", "3"]


def test_a_job_that_is_listed_again_starts_anew(watched):
    watched.queue["listed"] = {"2_1", "2_2", "3"}
    watched.watcher.look(10)
    watched.queue["listed"] |= {"1"}
    watched.watcher.look(60)
    watched.queue["listed"] -= {"1"}
    watched.watcher.look(115)
    assert not watched.executor.done


def test_a_job_at_which_the_plugin_is_looking_is_left_to_it(watched):
    watched.queue["listed"] = set()
    watched.watcher.look(10)
    active = list(watched.executor.active_jobs)

    def ask():
        watched.executor.active_jobs.clear()  # as the plugin does while it asks
        return {}

    watched.watcher.ask = ask
    watched.watcher.look(200)
    assert not watched.executor.done and not watched.executor.failed
    watched.executor.active_jobs[:] = active
    watched.watcher.ask = lambda: {}
    watched.watcher.look(260)
    assert watched.executor.done == ["1", "3"]


def test_an_output_from_before_the_submission_does_not_count(watched, tmp_path):
    import os

    os.utime(tmp_path / "written", (1, 1))
    watched.queue["listed"] = {"2_1", "2_2", "3"}
    for now in (10, 110):
        watched.watcher.look(now)
    assert [job for job, _ in watched.executor.failed] == ["1"]


def test_jobs_that_the_plugin_lost_sight_of_are_decided_once_they_have_ended(watched):
    """Without an answer of the queue the plugin drops all jobs from its list."""
    watched.executor.active_jobs.clear()
    for now in (10, 200, 1000):
        watched.watcher.look(now)
    assert not watched.executor.done and not watched.executor.failed, "they are still running"
    watched.queue["ended"] = {"1", "2_1"}
    watched.watcher.look(1010)
    watched.watcher.look(1100)
    assert not watched.executor.done and not watched.executor.failed, "it is too early"
    watched.watcher.look(1110)
    assert watched.executor.done == ["1"]
    assert [job for job, _ in watched.executor.failed] == ["2_1"]


def test_an_ended_job_that_the_plugin_holds_is_left_to_the_plugin(watched):
    watched.queue["ended"] = {"1", "2_1"}
    for now in (10, 200, 1000):
        watched.watcher.look(now)
    assert not watched.executor.done and not watched.executor.failed


def test_a_job_that_ended_or_is_tried_again_is_no_longer_watched(watched):
    ended, again = (info.job for info in watched.executor.active_jobs[:2])
    watched.executor.active_jobs.clear()
    watched.running.remove(ended)
    again.attempt = 2
    watched.queue["listed"] = set()
    for now in (10, 200):
        watched.watcher.look(now)
    assert watched.executor.done == ["3"]
    assert [job for job, _ in watched.executor.failed] == ["2_2"]
