"""What became of a notebook: one status.json a run, written when it starts and again when it ends.

papermill's own file says that every cell completed after a kernel's death or a time-out; this one does not.
"""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.io.files import write_json
from workbench.runs.record import read_model

LOG_LINES = 20
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

State = Literal["running", "completed", "failed", "died", "timeout", "interrupted"]


class Failure(BaseModel):
    """Why a notebook did not complete.

    Attributes:
        type: name of the exception.
        message: of the exception.
        cell: index of the cell from 0, where known.
        traceback: the last lines of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    message: str
    cell: int | None = None
    traceback: str = ""


class Status(BaseModel):
    """Of one run of one notebook.

    Attributes:
        name: of the notebook, without its suffix.
        state: "running" also stands where the machine went down before the end.
        started: UTC, ISO 8601.
        seconds: from start to end; 0 while it runs.
        parameters: that it was given, the preset and the run's folder not among them.
        preset: that it was given, if any.
        notebook: name of the executed notebook, a file beside the status.
        error: why it did not complete.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    state: State
    started: str
    seconds: float = Field(default=0, ge=0)
    parameters: dict[str, Any] = {}
    preset: str | None = None
    notebook: str
    error: Failure | None = None

    @property
    def completed(self) -> bool:
        """Whether every cell ran to its end."""
        return self.state == "completed"

    def write(self, folder: Path) -> None:
        """Write status.json into ``folder``, whole or not at all."""
        write_json(folder / "status.json", self.model_dump())


def read_status(folder: str | Path) -> Status:
    """The status in ``folder``.

    Raises:
        FileNotFoundError: there is no status.json.
        ValueError: the file is not a status.
    """
    return read_model(Status, Path(folder) / "status.json", "a status")


def log_tail(folder: Path) -> str:
    """The last lines of kernel.log in ``folder``, "" where there is none."""
    log = folder / "kernel.log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:]) if log.is_file() else ""


def kernel_environment(threads: int | None) -> dict[str, str]:
    """The environment that a kernel starts in: ``threads``, and pictures drawn into the notebook."""
    environment = dict(os.environ) | ({} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads)))
    environment.pop("MPLBACKEND", None)
    return environment


class Job(BaseModel):
    """What a worker is asked to execute.

    Attributes:
        notebook: path of the notebook.
        folder: of the run; the status of the run that begins lies there already.
        parameters: values in the types that the notebook declares.
        timeout: seconds that one cell may take, None for no limit.
        kernel_log: what the kernel says outside the notebook goes into kernel.log, else where the worker's goes.
        threads: of the numeric libraries in the kernel; None leaves the environment's.
    """

    notebook: Path
    folder: Path
    parameters: dict[str, Any]
    timeout: float | None = None
    kernel_log: bool = False
    threads: int | None = None
