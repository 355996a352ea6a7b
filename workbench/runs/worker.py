"""Execute one notebook with papermill in this process, and say truthfully how it ended.

:mod:`workbench.sweeps.notebooks` starts one such process a notebook: ``python -m workbench.runs.worker JOB``.
"""

import logging
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets.config import Config

from workbench.runs.parameters import read_notebook
from workbench.runs.status import Failure, Job, State, Status, kernel_environment, read_status

TRACEBACK_LINES = 30
START_TIMEOUT = 120


def execute(job: Job) -> Status:
    """Execute the notebook of ``job``; the status in its folder is brought to its end and returned."""
    begun = time.perf_counter()
    status = read_status(job.folder)
    state, error = _execute(job, job.folder / status.notebook)
    seconds = round(time.perf_counter() - begun, 2)
    status = status.model_copy(update={"state": state, "error": error, "seconds": seconds})
    status.write(job.folder)
    return status


def _execute(job: Job, output: Path) -> tuple[State, Failure | None]:
    sources = [cell.source for cell in read_notebook(job.notebook).cells]
    try:
        with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
            papermill.execute_notebook(
                _unformatted(job.notebook),
                _unformatted(output),
                parameters=job.parameters,
                progress_bar=False,
                start_timeout=START_TIMEOUT,
                execution_timeout=job.timeout,
                coalesce_streams=True,
                kernel_manager_class=_manager(job),
                # Sockets in files: no port that another kernel could take, and no warning of ipykernel's about them.
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/k"}}),
            )
    except papermill.PapermillExecutionError as error:
        lines = strip_colours("\n".join(error.traceback)).splitlines()
        failure = Failure(
            type=error.ename,
            message=error.evalue,
            cell=_index(sources, error.source),
            traceback="\n".join(lines[-TRACEBACK_LINES:]),
        )
        return "failed", failure
    except CellTimeoutError:
        message = f"the cell took longer than {job.timeout:g} s"
        return "timeout", Failure(type="CellTimeoutError", message=message, cell=_index(sources, _last(output)))
    except DeadKernelError:
        message = "the kernel's process ended while the cell ran (killed, out of memory, or a crash)"
        return "died", Failure(type="DeadKernelError", message=message, cell=_index(sources, _last(output)))
    except RuntimeError as error:
        if "Kernel died" not in str(error):
            return "failed", Failure(type=type(error).__name__, message=str(error))
        return "died", Failure(type="DeadKernelError", message="the kernel's process ended before the first cell")
    except Exception as error:
        return "failed", Failure(type=type(error).__name__, message=str(error))
    return "completed", None


def _manager(job: Job) -> type[AsyncKernelManager]:
    """The manager of a kernel in its own environment, with its own log where ``job`` asks for one."""

    class Manager(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> Any:  # type: ignore[override]  # a coroutine here
            options["env"] = kernel_environment(job.threads)
            if not job.kernel_log:
                return await super().start_kernel(**options)
            with open(job.folder / "kernel.log", "wb") as log:
                return await super().start_kernel(**options, stdout=log, stderr=log)

    return Manager


def _unformatted(path: Path) -> str:
    """``path`` for papermill, which formats the paths that it is given."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _index(sources: Sequence[str], source: str | None) -> int | None:
    """Which cell of the notebook has ``source``; papermill's own count has one cell more, the one it puts in."""
    return sources.index(source) if source in sources else None


def _last(output: Path) -> str | None:
    """The source of the last cell that was started."""
    started = [
        cell.source for cell in read_notebook(output).cells if cell.metadata.get("papermill", {}).get("start_time")
    ]
    return started[-1] if started else None


def strip_colours(text: str) -> str:
    """``text`` without a terminal's escape sequences."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


if __name__ == "__main__":
    # What goes wrong comes back as an exception; papermill's warnings about help texts are of no use.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    execute(Job.model_validate_json(sys.argv[1]))
