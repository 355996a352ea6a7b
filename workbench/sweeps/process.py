"""A process that does jobs one after another, and ends with the process that started it.

:class:`Worker` starts ``python -m workbench.sweeps.process`` and writes it one job a line; each answer is a line, too.
The process ends as soon as its input ends: its owner has closed it, or is gone, even by ``kill -9``. It then kills the
kernel and whatever else it started, and writes the status "interrupted".
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir, mkdtemp
from threading import Lock, Thread

from workbench.io.lock import FolderInUseError, own_folder
from workbench.runs.status import LOG, Failure, Job, RunState, Status, read_status
from workbench.sweeps.history import WatchedHistory
from workbench.sweeps.plan import train

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GRACE_SECONDS = 10.0
HANDOVER_SECONDS = 1.0  # an owner that was just killed still ends its worker: measured, a few hundredths of a second
INTERRUPTED = 130
SOCKET_NAME = 103  # bytes of a socket's longest name on macOS; Linux has four more


class Worker:
    """The owner's side: one such process, started anew when it dies.

    Args:
        threads: of the numeric libraries there, and in the kernels; None leaves the environment's.
    """

    def __init__(self, threads: int | None = None) -> None:
        chosen = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._environment = os.environ | chosen
        self._stopped = False
        self._kernels = _kernels_folder()  # the owner removes it, as a killed process cannot
        self._process = self._start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.wait(GRACE_SECONDS)

    def run(self, job: Job) -> Status:
        """Do a job and return how it ended, even if the process died before it could answer.

        Raises:
            FolderInUseError: somebody else writes into the job's folder.
            OSError: the folder cannot be written.
        """
        with own_folder(job.folder, wait=HANDOVER_SECONDS):
            status = job.begin()
        begun = time.perf_counter()
        if self._process.poll() is not None and not self._stopped:
            self._process = self._start()
        answer = self._ask(job.model_dump_json())
        if answer:
            content = json.loads(answer)
            if "refused" in content:
                raise FolderInUseError(content["refused"])
            return Status.model_validate(content)
        code = self._process.wait()
        with own_folder(job.folder, wait=GRACE_SECONDS):
            status = read_status(job.folder)
            if status.state != "running":
                return status
            seconds = time.perf_counter() - begun
            if self._stopped:
                return status.end(job.folder, "interrupted", seconds=seconds)
            message = f"the process that ran it ended with code {code}"
            return status.end(job.folder, "died", Failure(type="DeadWorkerError", message=message), seconds)

    def stop(self) -> None:
        """Let the process end, and the job that it does with it."""
        self._stopped = True
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def wait(self, seconds: float) -> None:
        """Wait for the end of a process that was stopped; kill it after so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        rmtree(self._kernels, ignore_errors=True)

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", __spec__.name, self._kernels],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=self._environment,
            start_new_session=True,  # a Ctrl-C reaches the owner alone, which stops its workers
        )

    def _ask(self, line: str) -> str:
        """What the process answers; "" where it died or was stopped."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError, ValueError):  # a broken or closed pipe
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()
        return ""


def _kernels_folder() -> str:
    """A folder that only this user can enter, with a name short enough for the sockets in it.

    It lies in the folder for temporary files, or in /tmp where that folder's own name is too long.
    """
    socket = "/kernel-12345678/tmp12345678/k-5"
    short = len(os.fsencode(gettempdir() + socket)) <= SOCKET_NAME
    return mkdtemp(prefix="kernel-", dir=None if short else "/tmp")


class _CurrentJob:
    """The process's side: the job under way. It ends once, by itself or by an interruption."""

    def __init__(self, kernels: str | None) -> None:
        self._lock = Lock()
        self._job: Job | None = None
        self._begun = 0.0
        self._kernels = kernels

    def do(self, job: Job) -> Status:
        with own_folder(job.folder, wait=HANDOVER_SECONDS, again=True):
            status = read_status(job.folder)
            self._job, self._begun = job, time.perf_counter()
            with TemporaryDirectory(dir=self._kernels) as place, _printing_to(job.folder / LOG):
                state, error = _execute(job, place)
            with self._lock:
                self._job = None
                return status.end(job.folder, state, error, time.perf_counter() - self._begun)

    def interrupt(self, waiting: "SimpleQueue[str]") -> None:
        """Kill what the job started, write "interrupted" for it and for a job that waits, and end the process."""
        import psutil

        with self._lock:
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    child.kill()
            if self._kernels is not None:
                rmtree(self._kernels, ignore_errors=True)
            if self._job is not None:
                with suppress(OSError, ValueError):
                    status = read_status(self._job.folder)  # not there any more if somebody removed the folder
                    status.end(self._job.folder, "interrupted", seconds=time.perf_counter() - self._begun)
            while not waiting.empty():  # this process was still at its imports
                job = Job.model_validate_json(waiting.get())
                with suppress(OSError, ValueError, FolderInUseError):
                    status = read_status(job.folder)
                    with own_folder(job.folder):
                        status.end(job.folder, "interrupted")
            os._exit(INTERRUPTED)


@contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Whatever this process and those that it starts print meanwhile goes to ``log``."""
    kept = os.dup(1), os.dup(2)
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)


def _execute(job: Job, place: str) -> tuple[RunState, Failure | None]:
    try:
        if job.notebook is None:
            from workbench.training.loggers import open_logger

            log = open_logger("auto", job.folder, job.parameters)
            watched = WatchedHistory(job.folder, log)
            log.close(train(job.kind, job.parameters, job.folder, watched).metrics)
            return "completed", None
        from workbench.runs.worker import execute

        return execute(job, place)
    except Exception as error:
        return "failed", Failure(type=type(error).__name__, message=str(error), traceback=traceback.format_exc())


def _listen(lines: "SimpleQueue[str]", task: _CurrentJob) -> None:
    for line in sys.stdin:
        lines.put(line)
    task.interrupt(lines)


def main() -> None:
    """Do the jobs that come in until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: SimpleQueue[str] = SimpleQueue()
    task = _CurrentJob(sys.argv[1] if len(sys.argv) > 1 else None)
    Thread(target=_listen, args=(lines, task), daemon=True).start()
    with suppress(ImportError):  # before the first job, as it takes a second
        import workbench.runs.worker  # noqa: F401
    while True:
        job = Job.model_validate_json(lines.get())
        try:
            answer = task.do(job).model_dump_json()
        except FolderInUseError as error:
            answer = json.dumps({"refused": str(error)})
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
