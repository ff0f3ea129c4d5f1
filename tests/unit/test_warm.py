"""A job that is handed over to a warm worker does what it would do by itself."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from muonlab.io.locks import exclusive
from muonlab.jobs import client, warm

LIBRARY = Path(warm.__file__).parents[2]
HEAD = """\
import sys
sys.path.append({library!r})
from types import SimpleNamespace
from muonlab.jobs.warm import hand_over
hand_over(SimpleNamespace(threads={threads}, resources={resources}), {modules!r})
import os
from muonlab.io.logs import logged
"""
PARENT = "import os; print(os.getppid())"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="workers run on Linux only"
)


def heed_signals():
    """What the process of the tests ignores, as under nohup, its jobs do not."""
    for number in client.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


class Jobs:
    """Jobs of one driver, which is this process, with a worker of their own."""

    def __init__(self, folder, **head):
        self.folder, self.number = folder, 0
        self.head = {"library": str(LIBRARY), "threads": 1, "resources": {}, "modules": ("csv",)}
        self.head |= head
        self.environment = os.environ | {"JOBS": str(folder)}
        for name in ("SLURM_JOB_ID", "MUONLAB_WARM"):
            self.environment.pop(name, None)

    def start(self, body, inline=False, stdout=PIPE, stderr=PIPE, **variables):
        script = self.folder / f"job{self.number}.py"
        self.number += 1
        script.write_text(HEAD.format(**self.head) + body)
        environment = self.environment | variables
        if inline:
            environment["MUONLAB_WARM"] = "0"
        streams = {"stdin": PIPE, "stdout": stdout, "stderr": stderr, "text": True}
        command = [sys.executable, str(script)]
        around = {"cwd": self.folder, "env": environment, "preexec_fn": heed_signals}
        return subprocess.Popen(command, **around, **streams)

    def run(self, body, inline=False, said="", **variables):
        """Exit status, output, errors without the script's name, and the job's log."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        job = self.start(body, inline, **variables)
        out, err = job.communicate(said, timeout=60)
        script = job.args[1]
        text = log.read_text() if log.exists() else ""
        return job.returncode, out, err.replace(script, "JOB"), text.replace(script, "JOB")

    def worker(self):
        """Its process id; it is started where there is none."""
        code, out, err, _ = self.run(PARENT)
        assert (code, err) == (0, "")
        return int(out)


@pytest.fixture
def jobs(tmp_path):
    jobs = Jobs(tmp_path)
    yield jobs
    worker = jobs.worker()
    assert worker != os.getpid()
    os.kill(worker, signal.SIGKILL)


def gone(pid, seconds=20):
    """Whether the process ends; one that is dead and not yet waited for has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def wait_for(path, seconds=20):
    until = time.monotonic() + seconds
    while not path.exists() or not path.read_text():
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.01)
    return path.read_text()


def test_jobs_of_one_driver_share_a_worker(jobs):
    first, second = jobs.worker(), jobs.worker()
    assert first == second != os.getpid()
    assert os.getsid(first) == first  # a terminal's Ctrl-C reaches it through its jobs alone


def test_jobs_that_start_at_once_share_a_worker(jobs):
    started = [jobs.start(PARENT) for _ in range(6)]
    parents = {job.communicate(timeout=60)[0] for job in started}
    assert parents == {f"{jobs.worker()}\n"}


SURROUNDINGS = """
import io, json, signal, time, threading
print("to stderr", file=sys.stderr)
facts = {
    "name": __name__, "file": __file__, "arguments": sys.argv, "path": sys.path,
    "folder": os.getcwd(), "said": sys.stdin.read(), "main": sys.modules["__main__"].__file__,
    "environment": {k: v for k, v in os.environ.items() if k != "MUONLAB_WARM"},
    "signals": [str(signal.getsignal(n)) for n in range(1, 30)],
    "stdout": [sys.stdout.line_buffering, sys.stdout.encoding, sys.stdout.errors],
    "stderr": [sys.stderr.line_buffering, sys.stderr.encoding, sys.stderr.errors],
    "umask": os.umask(0), "nice": os.nice(0), "threads": threading.active_count(),
    "files": sorted(n for n in os.listdir("/proc/self/fd") if int(n) < 3),
    "clock": time.process_time() < 5, "excepthook": callable(sys.excepthook),
}
print(json.dumps(facts).replace(__file__, "JOB"))
"""


def test_a_job_sees_the_same_surroundings(jobs):
    variables = {"ODD": "\udcff ü", "PYTHONIOENCODING": "utf-8:surrogateescape"}
    alone = jobs.run(SURROUNDINGS, inline=True, said="three\nlines", **variables)
    handed = jobs.run(SURROUNDINGS, said="three\nlines", **variables)
    assert handed[0] == 0, handed
    assert json.loads(handed[1]) == json.loads(alone[1])
    assert handed == alone


ENDS = {
    "nothing": "print('done')",
    "status": "sys.exit(3)",
    "large status": "sys.exit(259)",
    "sentence": "sys.exit('a sentence')",
    "early": "print('lost'); os._exit(7)",
    "failure": "def f():\n    raise ValueError('why')\nf()",
    "chained": "try:\n    1 / 0\nexcept ArithmeticError as e:\n    raise OSError('x') from e",
    "syntax": "(",
    "interrupt": "raise KeyboardInterrupt",
    "kill": "os.kill(os.getpid(), 9)",
    "abort": "os.abort()",
    "exit functions": "import atexit; atexit.register(print, 'last'); print('first')",
    "thread": "import threading, time\n"
    "threading.Timer(0.2, lambda: print('later')).start(); print('now')",
    "logged": "with logged('log') as user:\n"
    "    print('x'); os.system('echo y'); print('z', file=user)",
    "user error": "from muonlab.io.errors import UserError\n"
    "with logged('log'):\n    raise UserError('one sentence')",
    "logged failure": "with logged('log'):\n    [][1]",
    "logged exit": "with logged('log'):\n    raise SystemExit(143)",
}


@pytest.mark.parametrize("body", ENDS.values(), ids=ENDS)
def test_a_job_ends_and_speaks_as_it_would_by_itself(body, jobs):
    alone, handed = jobs.run(body, inline=True), jobs.run(body)
    assert handed == alone


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_terminal_is_a_terminal_in_the_job_too(unbuffered, jobs):
    jobs.environment["PYTHONUNBUFFERED"] = unbuffered
    body = (
        "with logged('log') as user:\n"
        "    size = os.get_terminal_size(user.fileno())\n"
        "    print(user.isatty(), sys.stdout.line_buffering, size.columns, file=user)"
    )
    seen = []
    for inline in (True, False):
        terminal, end = os.openpty()
        termios.tcsetwinsize(end, (24, 77))
        job = jobs.start(body, inline, stdout=end, stderr=end)
        os.close(end)
        job.communicate(timeout=60)
        seen.append((job.returncode, os.read(terminal, 1000)))
        os.close(terminal)
    buffered = "False" if unbuffered else "True"
    assert seen == [(0, f"True {buffered} 77\r\n".encode())] * 2


WAITING = """
import signal, time
def stop(number, _):
    print("stopped by", number, flush=True)
    sys.exit(128 + number)
for number in {handled}:
    signal.signal(number, stop)
from pathlib import Path
from muonlab.io.locks import exclusive
with exclusive("lock"):
    Path("begun").write_text(str(os.getpid()))
    time.sleep(60)
"""


@pytest.mark.parametrize("handled", [[], [15], [2, 1]], ids=["none", "term", "int and hup"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_job(number, handled, jobs):
    ends = []
    for inline in (True, False):
        job = jobs.start(WAITING.format(handled=handled), inline)
        child = int(wait_for(jobs.folder / "begun"))
        assert (child == job.pid) == inline
        time.sleep(0.2)  # it has written the file and is about to sleep
        job.send_signal(number)
        out, err = job.communicate(timeout=60)
        ends.append((job.returncode, out, err.replace(job.args[1], "JOB")))
        assert gone(child)
        (jobs.folder / "begun").unlink()
    assert ends[0] == ends[1]


def test_a_job_that_is_killed_leaves_nothing_running(jobs):
    job = jobs.start(WAITING.format(handled=[]))
    child = int(wait_for(jobs.folder / "begun"))
    job.kill()
    assert gone(child)
    with exclusive(jobs.folder / "lock", poll_seconds=0.01):  # nobody holds it any more
        pass
    job.communicate()
    assert jobs.worker() != os.getpid()  # which goes on


def test_a_job_can_be_stopped_and_continued(jobs):
    def state(pid):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    def reaches(wanted):
        until = time.monotonic() + 20
        while {state(child), state(job.pid)} - wanted and time.monotonic() < until:
            time.sleep(0.01)
        return {state(child), state(job.pid)} <= wanted

    job = jobs.start(WAITING.format(handled=[]))
    child = int(wait_for(jobs.folder / "begun"))
    job.send_signal(signal.SIGTSTP)
    assert reaches({"T"})
    job.send_signal(signal.SIGCONT)
    assert reaches({"S", "R"})
    job.kill()
    job.communicate()


SLOW_ONCE = """
import time
from pathlib import Path
with logged("log"):
    print("worked as", "child" if os.getppid() != {driver} else "itself")
    if not os.path.exists("begun"):
        Path("begun").write_text(f"{{os.getpid()}} {{os.getppid()}}")
        time.sleep(60)
"""


def test_when_the_worker_dies_the_job_runs_by_itself(jobs):
    job = jobs.start(SLOW_ONCE.format(driver=os.getpid()))
    child, worker = map(int, wait_for(jobs.folder / "begun").split())
    os.kill(worker, signal.SIGKILL)
    _, err = job.communicate(timeout=60)
    assert (job.returncode, err) == (0, "")
    assert gone(child)
    note, outcome = (jobs.folder / "log").read_text().splitlines()
    assert note.startswith("no warm worker (it ended in the middle of the job)")
    assert outcome == "worked as itself"
    assert jobs.worker() not in (worker, os.getpid())  # the next job starts another


def test_sigterm_to_all_processes_lets_jobs_end_in_their_own_way(jobs):
    job = jobs.start(WAITING.format(handled=[15]))
    child = int(wait_for(jobs.folder / "begun"))
    worker = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (worker, job.pid):
        os.kill(pid, signal.SIGTERM)
    out, _ = job.communicate(timeout=60)
    assert (job.returncode, out) == (143, "stopped by 15\n")
    assert gone(worker)


def address_of(jobs, monkeypatch, **variables):
    """The socket's name for jobs of this very process."""
    for name in set(os.environ) - set(jobs.environment):
        monkeypatch.delenv(name)
    for name, value in (jobs.environment | variables).items():
        monkeypatch.setenv(name, value)
    return client.address_of((os.getpid(), client.process(os.getpid())[2]), jobs.head["modules"])


def test_a_name_that_is_taken_and_silent_costs_a_second(jobs, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as squatter:
        squatter.bind(address_of(jobs, monkeypatch, TAKEN="1"))
        outcome = jobs.run(f"with logged('log'):\n    {PARENT}", TAKEN="1")
    assert outcome[0] == 0
    note, parent = outcome[3].splitlines()
    assert note.startswith("no warm worker (it does not listen)")
    assert int(parent) == os.getpid()


def test_a_worker_that_hangs_up_costs_nothing(jobs, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address_of(jobs, monkeypatch, TAKEN="2"))
        listener.listen()
        job = jobs.start(f"with logged('log'):\n    {PARENT}", TAKEN="2")
        listener.accept()[0].close()
        job.communicate(timeout=60)
    assert job.returncode == 0
    assert "no warm worker" in (jobs.folder / "log").read_text()


@pytest.mark.parametrize(
    "head, variables",
    [
        ({"threads": 2}, {}),
        ({"resources": {"gpu": 1}}, {}),
        ({}, {"SLURM_JOB_ID": "7"}),
        ({}, {"MUONLAB_WARM": "0"}),
    ],
    ids=["threads", "gpu", "slurm", "switched off"],
)
def test_some_jobs_run_by_themselves(head, variables, tmp_path):
    assert Jobs(tmp_path, **head).run(PARENT, **variables) == (0, f"{os.getpid()}\n", "", "")


def test_another_environment_or_other_modules_mean_another_worker(jobs, tmp_path):
    workers = [jobs.worker(), int(jobs.run(PARENT, LC_ALL="C.UTF-8")[1])]
    workers.append(Jobs(tmp_path, modules=("csv", "wave")).worker())
    assert len(set(workers)) == 3
    for worker in workers[1:]:
        os.kill(worker, signal.SIGKILL)


@pytest.fixture
def library(tmp_path):
    """A copy of what workers need, to be edited."""
    library = tmp_path / "library"
    for room in ("io", "jobs"):
        shutil.copytree(LIBRARY / "muonlab" / room, library / "muonlab" / room)
    (library / "muonlab" / "__init__.py").touch()
    return library


def test_edited_code_means_another_worker(library, tmp_path):
    jobs = Jobs(tmp_path, library=str(library), modules=("muonlab.edited",))
    edited = library / "muonlab" / "edited.py"
    workers = set()
    for value in (1, 2):
        edited.write_text(f"VALUE = {value}\n")
        os.utime(edited, (value, value))
        body = f"from muonlab.edited import VALUE; print(VALUE); {PARENT}"
        code, out, err, _ = jobs.run(body, PYTHONDONTWRITEBYTECODE="1")
        assert (code, err, out.split()[0]) == (0, "", str(value))
        workers.add(int(out.split()[1]))
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGKILL)


def test_a_worker_leaves_when_it_has_nothing_to_do(library, tmp_path):
    server = library / "muonlab" / "jobs" / "server.py"
    text = server.read_text()
    assert "IDLE_SECONDS = 30" in text
    server.write_text(text.replace("IDLE_SECONDS = 30", "IDLE_SECONDS = 0.3"))
    jobs = Jobs(tmp_path, library=str(library))
    assert jobs.run("import time; time.sleep(1); print('long')")[:2] == (0, "long\n")
    assert gone(jobs.worker())


DRIVER = """
import subprocess, sys
for line in sys.stdin:
    command = ["bash", "-c", f"set -e; {sys.executable} {line.strip()}; true"]
    print(subprocess.run(command, capture_output=True, text=True).stdout.strip(), flush=True)
"""


def test_each_driver_has_its_own_worker_and_takes_it_along(tmp_path):
    jobs = Jobs(tmp_path)
    script = tmp_path / "job.py"
    script.write_text(HEAD.format(**jobs.head) + PARENT)
    pipes = {"stdin": PIPE, "stdout": PIPE, "text": True}
    environment = jobs.environment
    command = [sys.executable, "-c", DRIVER]
    drivers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    workers = []
    for _ in range(2):
        for driver in drivers:
            driver.stdin.write(f"{script}\n")
            driver.stdin.flush()
            workers.append(int(driver.stdout.readline()))
    assert workers[:2] == workers[2:] and workers[0] != workers[1]
    drivers[0].kill()
    drivers[0].communicate()
    assert gone(workers[0])
    assert not gone(workers[1], seconds=0.3)
    drivers[1].communicate()  # ends by itself
    assert gone(workers[1])


def test_a_job_outlives_its_driver_as_it_would_by_itself(tmp_path):
    jobs = Jobs(tmp_path)
    script = tmp_path / "job.py"
    body = "import time; print(os.getpid(), flush=True); open('begun', 'w').write('x')\n"
    script.write_text(
        HEAD.format(**jobs.head) + body + "time.sleep(1)\nopen('whole', 'w').write('x')"
    )
    command = [sys.executable, "-c", DRIVER]
    driver = subprocess.Popen(command, env=jobs.environment, cwd=tmp_path, stdin=PIPE, text=True)
    driver.stdin.write(f"{script}\n")
    driver.stdin.flush()
    wait_for(tmp_path / "begun")
    driver.kill()
    driver.communicate()
    wait_for(tmp_path / "whole")


@pytest.fixture
def given(tmp_path):
    """Jobs whose worker imports a module of that text."""
    started = []

    def jobs(text):
        (tmp_path / "given.py").write_text(text)
        started.append(Jobs(tmp_path, modules=("given",)))
        started[0].environment["PYTHONPATH"] = str(tmp_path)
        return started[0]

    yield jobs
    worker = int(started[0].run(PARENT)[1].split()[-1])
    if worker != os.getpid():
        os.kill(worker, signal.SIGKILL)


def test_a_worker_with_threads_does_not_fork(given):
    jobs = given(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    code, _, err, log = jobs.run(f"with logged('log'):\n    {PARENT}")
    assert (code, err) == (0, "")
    note, parent = log.splitlines()
    assert note.startswith("no warm worker (it has several threads")
    assert int(parent) == os.getpid()


def test_what_modules_say_when_they_are_imported_is_said_in_each_job(given):
    jobs = given("import warnings; warnings.warn('old', UserWarning)")
    alone, *handed = (jobs.run("import given; print(1)", inline) for inline in (True, False, False))
    assert "UserWarning: old" in alone[2]
    assert handed == [alone, alone]


def test_a_module_that_cannot_be_imported_fails_in_the_job(given):
    jobs = given("import no_such_module")
    body = "with logged('log'):\n    import given"
    alone, handed = jobs.run(body, inline=True), jobs.run(body)
    assert alone[0] == 1 and "no_such_module" in alone[2]
    assert handed == alone


def test_chance_differs_between_jobs(given):
    jobs = given("import random, numpy")
    body = "import random, numpy; print(random.random(), numpy.random.random())"
    draws = [jobs.run(body)[1].split() for _ in range(2)]
    assert draws[0][0] != draws[1][0] and draws[0][1] != draws[1][1]


def test_memory_is_the_jobs_own(jobs):
    body = (
        "import resource\n"
        "a = b'x' * {size}\n"
        "print(os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    outputs = [jobs.run(body.format(size=size))[1].split() for size in (1, 300_000_000, 1)]
    assert len({process for process, _ in outputs}) == 1
    small, large, after = (float(peak) for _, peak in outputs)
    assert 290e6 < large - small < 320e6
    assert abs(after - small) < 20e6


SAME = "print(os.getpid())"


def test_a_job_that_came_to_its_end_leaves_its_process_to_the_next(jobs):
    assert jobs.run(SAME) == jobs.run(SAME)


@pytest.mark.parametrize(
    "last",
    [
        "sys.exit(0)",
        "1 / 0",
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "import signal; signal.signal(15, signal.SIG_IGN)\n"
        "open('begun', 'w').write('x'); import time; time.sleep(1)",
    ],
    ids=["exit", "failure", "thread", "signal"],
)
def test_any_other_job_takes_its_process_along(last, jobs):
    job = jobs.start(f"{SAME}; sys.stdout.flush()\n{last}")
    if "begun" in last:
        wait_for(jobs.folder / "begun")
        job.send_signal(signal.SIGTERM)
    process = int(job.communicate(timeout=60)[0])
    assert gone(process)
    assert int(jobs.run(SAME)[1]) != process


def test_a_process_ends_after_its_share_of_jobs_and_after_a_long_one(library, tmp_path):
    child = library / "muonlab" / "jobs" / "child.py"
    text = child.read_text()
    assert "MOST_JOBS = 100" in text and "LONGEST_SECONDS = 10.0" in text
    text = text.replace("MOST_JOBS = 100", "MOST_JOBS = 2")
    child.write_text(text.replace("LONGEST_SECONDS = 10.0", "LONGEST_SECONDS = 0.5"))
    jobs = Jobs(tmp_path, library=str(library))
    first, second, third = (int(jobs.run(SAME)[1]) for _ in range(3))
    assert first == second != third
    assert int(jobs.run(f"{SAME}\nimport time; time.sleep(0.6)")[1]) == third
    assert int(jobs.run(SAME)[1]) not in (first, third)
    os.kill(jobs.worker(), signal.SIGKILL)


@pytest.mark.parametrize("last", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_job_runs_although_the_process_that_was_free_for_it_ends(last, library, tmp_path):
    child = library / "muonlab" / "jobs" / "child.py"
    text = child.read_text()
    for told in ("control.send(DONE)\n", "control.send(TAKEN)\n"):
        assert told in text
    # The process ends when it is free, or when it should read its next job.
    ends = {"control.send(DONE)\n": f"control.send(DONE); {last}\n"}
    ends["control.send(TAKEN)\n"] = f"control.send(TAKEN) if number == 1 else {last}\n"
    for place, (told, changed) in enumerate(ends.items()):
        child.write_text(text.replace(told, changed))
        os.utime(child, (place, place))
        jobs = Jobs(tmp_path, library=str(library))
        for number in range(6):
            body = f"with logged('log'):\n    open('{place} {number}', 'x').close()"
            assert jobs.run(body)[:3] == (0, "", "")
            assert (tmp_path / f"{place} {number}").exists()


def test_a_process_that_may_train_ends_if_much_memory_is_left(tmp_path):
    jobs = Jobs(tmp_path, modules=("torch",))
    leave = f"{SAME}; import csv; csv.left = b'x' * (40 << 20)"
    first, second, third = (int(jobs.run(body)[1]) for body in (SAME, leave, SAME))
    os.kill(jobs.worker(), signal.SIGKILL)
    assert first == second != third


def test_a_process_that_waits_holds_no_stream_of_its_last_job(jobs):
    body = (
        "with logged('log') as user:\n"
        "    print(os.getpid())\n"
        "def kept():\n"
        "    return user, opened\n"
        "opened = open(__file__)"
    )
    waits = int(jobs.run(body)[3])
    files = [os.readlink(link) for link in Path(f"/proc/{waits}/fd").iterdir()]
    assert files and not [f for f in files if f.startswith(("pipe:", str(jobs.folder)))]


UNTIDY = """
import atexit, random, signal, warnings
print(os.getpid())
os.environ["LEFT"] = "1"
os.chdir("/")
sys.path.append("/left")
sys.argv.append("left")
sys.excepthook = None
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
warnings.simplefilter("ignore")
atexit.register(print, "the end")
random.seed(1)
left = 1
"""


def test_nothing_that_a_job_sets_is_seen_by_the_next(jobs):
    variables = {"PYTHONIOENCODING": "utf-8:surrogateescape"}
    body = f"{SURROUNDINGS}\nprint(sorted(vars()))"
    body += "\nimport warnings; warnings.warn('once', UserWarning)"
    jobs.environment |= variables
    first, before = jobs.run(SAME), jobs.run(body)
    process, end = jobs.run(UNTIDY)[1].splitlines()
    assert end == "the end"
    after = jobs.run(body)
    assert jobs.run(SAME) == first == (0, f"{process}\n", "", "")
    assert "UserWarning: once" in after[2]

    def without_numbers(outcome):
        return re.sub("job[0-9]+", "", repr(outcome))

    assert without_numbers(after) == without_numbers(before)


def test_torchs_own_generator_begins_anew_in_each_job(tmp_path):
    jobs = Jobs(tmp_path, modules=("torch",))
    body = "import torch; print(os.getpid(), torch.initial_seed(), torch.rand(1).item())"
    first, second = (jobs.run(body)[1].split() for _ in range(2))
    os.kill(jobs.worker(), signal.SIGKILL)
    assert first[0] == second[0]
    assert first[1] != second[1] and first[2] != second[2]


def test_a_process_with_an_odd_name_is_read(tmp_path):
    odd = tmp_path / "a) (b 1"
    shutil.copy(shutil.which("sleep"), odd)
    with subprocess.Popen([odd, "60"]) as sleeper:
        until = time.monotonic() + 20
        while (facts := client.process(sleeper.pid))[0] != odd.name and time.monotonic() < until:
            time.sleep(0.01)
        assert facts[:2] == (odd.name, os.getpid())
        assert int(facts[2]) >= int(client.process(os.getpid())[2])
        sleeper.kill()
