"""A SLURM cluster on one machine, for tests: munge, the controller, one node with pretend GPUs and,
if asked for, the accounting database. It needs root and Debian's packages, which it installs if
they are missing.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

CONFIG_HOME = Path("/etc/slurm")  # where SLURM looks in job steps, which lose SLURM_CONF
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
ACCOUNTING_PACKAGES = ("slurmdbd", "mariadb-server")
PORT = 26817  # of the controller; the node's, accounting's and the database's follow
PRIVATE = 0o600
NICE = 8  # of the jobs

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
SlurmdPort={node_port}
AuthInfo=socket={folder}/run/munge.socket
StateSaveLocation={folder}/spool/controller
SlurmdSpoolDir={folder}/spool/node
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
MinJobAge={remembered_seconds}
KillWait=5
SchedulerParameters=sched_interval=2,batch_sched_delay=1
{accounting}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:fake:{gpus}
PartitionName=cpu Nodes={host} Default=YES DefaultTime=10 MaxTime=1440 DefMemPerCPU=500
PartitionName=gpu Nodes={host} DefaultTime=10 MaxTime=1440 DefMemPerCPU=500
"""
WITH_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStoragePass={folder}/run/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment"""
WITHOUT_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
SLURMDBD_CONF = """\
AuthInfo=socket={folder}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting_port}
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_accounting
"""


class Unavailable(Exception):
    """Why there can be no cluster on this machine."""


def require(accounting: bool) -> None:
    """Raises Unavailable if this machine cannot start a cluster; installs missing packages."""
    if os.geteuid() != 0:
        raise Unavailable("SLURM's daemons need root")
    if not Path("/etc/debian_version").exists() or not shutil.which("apt-get"):
        raise Unavailable("SLURM is installed from Debian's packages, and this is not Debian")
    if any((CONFIG_HOME / name).exists() for name in FILES):
        raise Unavailable(f"{CONFIG_HOME} holds the configuration of another cluster")
    wanted = PACKAGES + (ACCOUNTING_PACKAGES if accounting else ())
    if missing := [name for name in wanted if not _is_installed(name)]:
        _install(missing)


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f=${Status}", package]
    answer = subprocess.run(query, capture_output=True, text=True)
    return answer.stdout.startswith("install ok installed")


def _install(packages: list[str]) -> None:
    """Installs Debian packages without starting the daemons that they bring."""
    guard = Path("/usr/sbin/policy-rc.d")
    ours = not guard.exists()
    if ours:
        guard.write_text("#!/bin/sh\nexit 101\n")
        guard.chmod(0o755)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-qy"]
    try:
        for command in (
            ["apt-get", "update", "-q"],
            [*install, "--no-install-recommends", *packages],
        ):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=300
            )
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines()[-1:]
                raise Unavailable(f"{', '.join(packages)} cannot be installed: {''.join(said)}")
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{', '.join(packages)} cannot be installed: no answer") from None
    finally:
        if ours:
            guard.unlink(missing_ok=True)


@dataclass
class Cluster:
    """A running cluster whose files lie in `folder`; `cpus` may exceed the real number."""

    folder: Path
    accounting: bool = False
    cpus: int = 2
    gpus: int = 2
    remembered_seconds: int = 300
    pids: dict[str, int] = field(default_factory=dict)

    def start(self) -> "Cluster":
        """Starts all daemons and waits until the node takes jobs."""
        require(self.accounting)
        try:
            self._configure()
            self._start_munge()
            if self.accounting:
                self._start_accounting()
            self.start_controller()
            self._start_node()
        except BaseException:
            self.stop()
            raise
        return self

    def start_controller(self) -> None:
        self._daemon("slurmctld", ["slurmctld"])
        self._until("the controller", ["scontrol", "ping"])

    def stop_controller(self) -> None:
        """Ends the controller; it keeps its state, and jobs go on running."""
        self._end("slurmctld")

    def stop(self) -> None:
        """Cancels all jobs and ends all daemons, each by its process id."""
        if "slurmctld" in self.pids and "slurmd" in self.pids:
            with_jobs = self.ask("squeue", "--noheader", "--format=%A").split()
            if with_jobs:
                subprocess.run(["scancel", *with_jobs], timeout=20)
                self._until("the jobs to end", ["sh", "-c", 'test -z "$(squeue --noheader)"'], 30)
        for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._end(name)
        for name in FILES:
            link = CONFIG_HOME / name
            if link.is_symlink() and link.readlink() == self.folder / "etc" / name:
                link.unlink()

    def ask(self, *command: str) -> str:
        """The output of one of SLURM's commands."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    # Files

    def _configure(self) -> None:
        for part in ("etc", "run", "log", "dev", "db", "spool/controller", "spool/node"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        key = self.folder / "etc/munge.key"
        key.touch(PRIVATE)
        key.write_bytes(secrets.token_bytes(1024))
        self.values = {
            "host": socket.gethostname().partition(".")[0],
            "folder": self.folder,
            "port": PORT,
            "node_port": PORT + 1,
            "accounting_port": PORT + 2,
            "database_port": PORT + 3,
            "remembered_seconds": self.remembered_seconds,
            "cpus": self.cpus,
            "gpus": self.gpus,
            "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 * 9 // 10,
            "password": secrets.token_hex(12),
        }
        storage = WITH_ACCOUNTING if self.accounting else WITHOUT_ACCOUNTING
        self.values["accounting"] = storage.format(**self.values)
        self._write("slurm.conf", SLURM_CONF.format(**self.values))
        self._write("gres.conf", "\n".join(map(self._pretend_gpu, range(self.gpus))) + "\n")
        self._write("cgroup.conf", "CgroupPlugin=cgroup/v1\n")
        CONFIG_HOME.mkdir(exist_ok=True)
        for name in FILES:
            (CONFIG_HOME / name).symlink_to(self.folder / "etc" / name)

    def _write(self, name: str, text: str) -> None:
        (self.folder / "etc" / name).write_text(text)

    def _pretend_gpu(self, number: int) -> str:
        """A twin of /dev/null: SLURM sets CUDA_VISIBLE_DEVICES only for real device nodes."""
        node = self.folder / f"dev/gpu{number}"
        os.mknod(node, 0o666 | 0o020000, os.makedev(1, 3))
        return f"NodeName={self.values['host']} Name=gpu Type=fake File={node}"

    # Daemons

    def _start_munge(self) -> None:
        run = self.folder / "run"
        files = [
            f"--key-file={self.folder}/etc/munge.key",
            f"--socket={run}/munge.socket",
            f"--pid-file={run}/munged.pid",
            f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={run}/munged.seed",
        ]
        self._daemon("munged", ["munged", "--force", *files])
        self._until("munge", ["munge", "-n", "-S", str(run / "munge.socket")])

    def _start_node(self) -> None:
        # Jobs inherit the node's priority; the tests shall not make the machine unusable.
        lower = max(0, NICE - os.nice(0))
        self._daemon("slurmd", ["nice", "-n", str(lower), "slurmd"])
        node = ["sh", "-c", "sinfo --noheader --format=%T | grep --quiet idle"]
        self._until("the node", node, 60)

    def _start_accounting(self) -> None:
        folder, data, run = self.folder, self.folder / "db", self.folder / "run"
        options = ["--no-defaults", "--user=root", f"--datadir={data}"]
        self._run(["mariadb-install-db", *options, "--skip-test-db"])
        database = subprocess.Popen(
            ["mariadbd", *options, f"--socket={run}/db.sock", "--bind-address=127.0.0.1"]
            + [f"--port={self.values['database_port']}", f"--pid-file={run}/mariadbd.pid"],
            stdin=subprocess.DEVNULL,
            stdout=(folder / "log/mariadbd.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pids["mariadbd"] = database.pid
        client = ["mariadb", "--no-defaults", "-S", f"{run}/db.sock"]
        self._until("the database", [*client, "-e", "select 1"], 60)
        user = f"slurm@'127.0.0.1' identified by '{self.values['password']}'"
        for statement in (
            "create database slurm_accounting",
            f"create user {user}",
            "grant all on slurm_accounting.* to slurm@'127.0.0.1'",
        ):
            self._run([*client, "-e", statement])
        settings = folder / "etc/slurmdbd.conf"
        settings.touch(PRIVATE)
        settings.write_text(SLURMDBD_CONF.format(**self.values))
        environment = os.environ | {"SLURM_CONF": str(folder / "etc/slurm.conf")}
        self._daemon("slurmdbd", ["slurmdbd"], environment)
        self._until("accounting", ["sacctmgr", "-n", "list", "cluster"], 60)
        self._run(["sacctmgr", "-iQ", "add", "cluster", "lab"])

    def _daemon(self, name: str, command: list[str], environment: dict | None = None) -> None:
        """Starts a daemon that puts itself into the background, and learns its process id."""
        # Daemons keep the files that they inherit open, so they get none of this process's pipes.
        with (self.folder / f"log/{name}.start").open("w") as log:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=(environment or os.environ) | {"PATH": f"{os.environ['PATH']}:/usr/sbin"},
                timeout=60,
            )
        if done.returncode:
            raise Unavailable(f"{name} does not start: {Path(log.name).read_text().strip()}")
        file = self.folder / f"run/{name}.pid"
        until = time.monotonic() + 20
        while not (file.exists() and file.read_text().strip()):
            if time.monotonic() > until:
                raise Unavailable(f"{name} does not start; see {self.folder}/log")
            time.sleep(0.1)
        self.pids[name] = int(file.read_text())

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Unavailable(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")

    def _until(self, what: str, command: list[str], seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                if not subprocess.run(command, capture_output=True, timeout=10).returncode:
                    return
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > until:
                raise Unavailable(f"gave up waiting for {what}; see {self.folder}/log")
            time.sleep(0.2)

    def _end(self, name: str) -> None:
        pid = self.pids.pop(name, None)
        if pid is None or not _is_alive(pid):
            return
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 30
        while _is_alive(pid):
            if time.monotonic() > until:
                raise Unavailable(f"{name} ({pid}) does not end")
            time.sleep(0.1)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
