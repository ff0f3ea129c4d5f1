"""Files that appear whole or not at all, logs, and the lock of a run."""

import errno
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muonlab.io.atomic import replacing, write_json
from muonlab.io.locks import exclusive
from muonlab.io.logs import remove_empty_logs

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_finished_write_replaces_the_file(tmp_path):
    with replacing(tmp_path / "deep" / "file.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "deep" / "file.txt").exists()
    assert (tmp_path / "deep" / "file.txt").read_text() == "new"


def test_json_without_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def run_logged(tmp_path, body):
    code = (
        "import os, sys\nfrom muonlab.io.errors import UserError\n"
        "from muonlab.io.logs import logged\n"
        f"with logged({str(tmp_path / 'job.log')!r}) as user:\n    {body}\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SCRIPTS)},
    )
    return outcome, (tmp_path / "job.log").read_text()


def test_all_output_goes_to_the_log(tmp_path):
    outcome, log = run_logged(tmp_path, "print('python'); os.system('echo from C')")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
    assert "python" in log
    assert "from C" in log


def test_a_job_that_had_nothing_to_say_leaves_no_log(tmp_path):
    with pytest.raises(FileNotFoundError):
        run_logged(tmp_path, "pass")


def test_empty_logs_are_removed_and_those_with_words_stay(tmp_path):
    for name, words in (("a/b/empty.log", ""), ("a/c/told.log", "a word"), ("empty.log", "")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(words)
    remove_empty_logs(tmp_path)
    assert [p.name for p in sorted(tmp_path.rglob("*"))] == ["a", "c", "told.log"]
    remove_empty_logs(tmp_path / "nowhere")


def test_a_users_mistake_is_one_sentence_without_traceback(tmp_path):
    outcome, log = run_logged(tmp_path, "raise UserError('data.x.folder: is missing')")
    assert outcome.returncode != 0
    assert outcome.stderr == "error: data.x.folder: is missing\n"
    assert "Traceback" not in log


def test_a_failure_of_ours_leaves_its_traceback_in_the_log(tmp_path):
    outcome, log = run_logged(tmp_path, "1 / 0")
    assert outcome.returncode != 0
    assert "Traceback" in log
    assert outcome.stderr.count("\n") == 1
    assert "ZeroDivisionError" in outcome.stderr


def hold(path, journal, seconds):
    with exclusive(path, poll_seconds=0.01):
        with open(journal, "a") as file:
            file.write("in\n")
        time.sleep(seconds)
        with open(journal, "a") as file:
            file.write("out\n")


def test_only_one_process_is_inside_at_a_time(tmp_path):
    journal = tmp_path / "journal"
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=hold, args=(tmp_path / "x.lock", journal, 0.03)) for _ in range(6)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert journal.read_text().split() == ["in", "out"] * 6
    assert not (tmp_path / "x.lock").exists()


def test_who_waits_is_told_for_whom_and_learns_that_it_waited(tmp_path, capsys):
    context = multiprocessing.get_context("fork")
    holder = context.Process(target=hold, args=(tmp_path / "x.lock", tmp_path / "journal", 0.5))
    holder.start()
    while not (tmp_path / "journal").exists():
        time.sleep(0.01)
    with exclusive(tmp_path / "x.lock", poll_seconds=0.01) as waited:
        assert waited
        assert (tmp_path / "journal").read_text().split() == ["in", "out"]
    holder.join()
    told = capsys.readouterr().out
    assert told.count("waiting: another process is working on this run") == 1
    assert f"pid {holder.pid} on " in told
    with exclusive(tmp_path / "x.lock") as waited:
        assert not waited


def test_a_lock_dies_with_its_holder(tmp_path):
    context = multiprocessing.get_context("fork")
    holder = context.Process(target=hold, args=(tmp_path / "x.lock", tmp_path / "journal", 60))
    holder.start()
    while not (tmp_path / "journal").exists():
        time.sleep(0.01)
    os.kill(holder.pid, 9)
    holder.join()
    with exclusive(tmp_path / "x.lock", poll_seconds=0.01):
        assert str(os.getpid()) in (tmp_path / "x.lock").read_text()


def without_flock(*arguments):
    """Holds a lock as `hold` does, where the file system has no flock."""
    deny_flock()
    hold(*arguments)


def deny_flock():
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    fcntl.flock = refuse


def test_without_flock_a_lease_keeps_the_others_away(tmp_path):
    journal = tmp_path / "journal"
    context = multiprocessing.get_context("spawn")
    holders = [
        context.Process(target=without_flock, args=(tmp_path / "x.lock", journal, 0.05))
        for _ in range(3)
    ]
    for holder in holders:
        holder.start()
    for holder in holders:
        holder.join()
        assert holder.exitcode == 0
    words = journal.read_text().split()
    assert words == ["in", "out"] * 3
    assert [file.name for file in tmp_path.iterdir()] == ["journal"]


def test_a_lease_dies_with_its_holder(tmp_path, monkeypatch, capfd):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # put back after the test
    context = multiprocessing.get_context("spawn")
    args = (tmp_path / "x.lock", tmp_path / "journal", 60)
    holder = context.Process(target=without_flock, args=args)
    holder.start()
    while not (tmp_path / "journal").exists():
        time.sleep(0.01)
    holder.kill()
    holder.join()
    deny_flock()
    with exclusive(tmp_path / "x.lock", poll_seconds=0.05, lease_seconds=1.0):
        assert "has no file locks (flock)" in capfd.readouterr().out
    assert not list(tmp_path.glob("x.lock*"))
