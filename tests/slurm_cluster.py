"""A SLURM cluster of one node, in a folder of its own, for as long as a test needs it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from commands import without_coverage

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
CPUS = 64  # more than there are, so that the shipped scripts run as they are
GPUS = 4  # none of them is real
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=1
MpiDefault=none
ReturnToService=2
KillWait=10
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class CannotStart(Exception):
    """Why there is no cluster on this machine."""


class Cluster:
    """munged, slurmctld and slurmd; ends them all when it is closed.

    Args:
        folder: configuration, keys, logs and state.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen] = []
        self.env = without_coverage() | {"SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> "Cluster":
        """Starts the daemons.

        Raises:
            CannotStart: a program is missing, or the node does not come up.
        """
        if os.geteuid() != 0:
            raise CannotStart("SLURM's daemons need root")
        missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
        if missing:
            raise CannotStart(f"{', '.join(missing)} not installed (apt: slurm-wlm, munge)")
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *command: str, env: dict[str, str] | None = None) -> str:
        """Standard output of a client command; its error where it fails."""
        env = self.env | {"PATH": _path()} | (env or {})
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=env, timeout=60
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def submit(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        """`sbatch`; returns the job's number."""
        return self.run("sbatch", "--parsable", *arguments, env=env).strip()

    def show(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, *states: str, seconds: float = 240) -> dict[str, str]:
        """Waits until the job is in one of the states, final ones when none is given."""
        limit = time.monotonic() + seconds
        while True:
            found = self.show(job)
            if found["JobState"] in (states or FINAL):
                return found
            assert time.monotonic() < limit, (found, self._logs())
            time.sleep(0.3)

    def close(self) -> None:
        """Cancels what runs, ends the daemons, and kills what they left."""
        if len(self.daemons) == 3:
            with contextlib.suppress(AssertionError, subprocess.SubprocessError):
                self.run("scancel", "--user=root")
                limit = time.monotonic() + 15
                while self.run("squeue", "--noheader").strip() and time.monotonic() < limit:
                    time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons.clear()
        for number in self._left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def _left(self) -> list[int]:
        """Processes of this cluster's jobs: they have its configuration in their environment."""
        mark = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def _start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        host = socket.gethostname().split(".")[0]
        values = {"host": host, "folder": self.folder, "ports": _free_ports(2)}
        conf = CONF.format(**values, cpus=CPUS, gpus=GPUS)
        (self.folder / "slurm.conf").write_text(conf)
        for number in range(GPUS):
            (self.folder / f"gpu{number}").touch()
        gres = f"Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n"
        (self.folder / "gres.conf").write_text(gres)
        key = str(self.folder / "munge.key")
        self.run("mungekey", "--create", f"--keyfile={key}")
        self._daemon(
            *("munged", "--foreground", "--force", f"--key-file={key}"),
            f"--socket={self.folder}/munge.socket",
            *(f"--{name}-file={self.folder}/munge.{name}" for name in ("pid", "log", "seed")),
        )
        self._until((self.folder / "munge.socket").exists, "munged")
        self._daemon("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._daemon("slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", host)

        def up() -> bool:
            try:
                return "idle" in self.run("sinfo", "--noheader", "--format=%t")
            except (AssertionError, subprocess.TimeoutExpired):
                return False

        self._until(up, "the node")

    def _daemon(self, *command: str) -> None:
        log = (self.folder / f"{command[0]}.out").open("w")
        env = self.env | {"PATH": _path()}
        self.daemons.append(
            subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
        )

    def _until(self, ready, what: str, seconds: float = 30) -> None:
        limit = time.monotonic() + seconds
        while not ready():
            dead = [daemon.args for daemon in self.daemons if daemon.poll() is not None]
            if dead or time.monotonic() > limit:
                raise CannotStart(f"{what} does not come up: {self._logs()}")
            time.sleep(0.1)

    def _logs(self) -> str:
        """The last lines of each daemon."""
        files = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
        return "\n".join(f"{f.name}: {f.read_text(errors='replace')[-600:]}" for f in files)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
