"""The job that a worker gets, and its status: one status.json a run, written when it starts and when it ends.

After a kernel's death or a time-out papermill's own file calls every cell completed; this one does not.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.io.files import write_json
from workbench.runs.record import now, read_model

MOST_LINES = 30  # of a traceback
LOG = "kernel.log"

RunState = Literal["running", "completed", "failed", "died", "timeout", "interrupted"]


class Failure(BaseModel):
    """Why a notebook or a training did not complete.

    Attributes:
        type: name of the exception.
        message: of the exception.
        cell: index of the cell from 0, where known.
        traceback: the last lines of it, or of what the kernel printed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    message: str
    cell: int | None = None
    traceback: str = ""

    def __str__(self) -> str:
        """In one line; cells are counted from 1, as readers do."""
        where = "" if self.cell is None else f" in cell {self.cell + 1}"
        return f"{self.type}{where}: {self.message}"


class Status(BaseModel):
    """The status of one run.

    Attributes:
        name: of the notebook, without its suffix, or of the training.
        state: "running" also stands where the machine went down before the end.
        started: UTC, ISO 8601.
        seconds: from start to end; 0 while it runs.
        parameters: what it was given, without the preset and the run's folder.
        preset: what it was given, if any.
        notebook: name of the executed notebook, a file beside the status; "" for a training.
        error: why it did not complete.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    state: RunState
    started: str
    seconds: float = Field(default=0, ge=0)
    parameters: dict[str, Any] = {}
    preset: str | None = None
    notebook: str
    error: Failure | None = None

    @property
    def completed(self) -> bool:
        """Whether everything ran to its end."""
        return self.state == "completed"

    def write(self, folder: Path) -> None:
        """Write status.json into ``folder``, whole or not at all."""
        write_json(folder / "status.json", self.model_dump())

    def end(self, folder: Path, state: RunState, error: Failure | None = None, seconds: float = 0.0) -> "Status":
        """Bring the status in ``folder`` to its end; an error without a traceback gets the end of the kernel's log."""
        log = folder / LOG
        quiet = state in ("completed", "interrupted") or not log.is_file()
        printed = "" if quiet else log.read_text(errors="replace")
        if error is not None:
            lines = (error.traceback or printed).splitlines()[-MOST_LINES:]
            error = error.model_copy(update={"traceback": "\n".join(lines)})
        ended = self.model_copy(update={"state": state, "error": error, "seconds": round(seconds, 2)})
        ended.write(folder)
        if not printed:  # what cells print is in the notebook; this is the kernel's own chatter
            log.unlink(missing_ok=True)
        return ended


def read_status(folder: str | Path) -> Status:
    """The status in ``folder``.

    Raises:
        FileNotFoundError: there is no status.json.
        ValueError: the file is not a status.
    """
    return read_model(Status, Path(folder) / "status.json", "a status")


class Job(BaseModel):
    """What a worker is asked to do.

    Attributes:
        name: of the run.
        kind: what runs, a notebook or a training, see :data:`workbench.sweeps.plan.TRAININGS`.
        notebook: path of the notebook; None for a training.
        folder: where the run's files go.
        parameters: values in the types that the notebook declares, or the configuration of the training.
        timeout: seconds that one cell of the notebook may take, None for no limit.
    """

    name: str
    kind: str = "notebook"
    notebook: Path | None
    folder: Path
    parameters: dict[str, Any]
    timeout: float | None = None

    def begin(self) -> Status:
        """Write into the folder that the job runs, and remove what an earlier run of a notebook left there."""
        if self.notebook is not None:
            for name in (self.notebook.name, "record.json", LOG):
                (self.folder / name).unlink(missing_ok=True)
        status = self.status("running")
        status.write(self.folder)
        return status

    def status(self, state: RunState, error: Failure | None = None) -> Status:
        """A status of the job, not written."""
        return Status(
            name=self.name,
            state=state,
            started=now(),
            parameters={name: value for name, value in self.parameters.items() if name != "preset"},
            preset=self.parameters.get("preset"),
            notebook="" if self.notebook is None else self.notebook.name,
            error=error,
        )
