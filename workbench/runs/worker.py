"""Execute one notebook with papermill in this process, and say truthfully how it ended."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import papermill
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets.config import Config

from workbench.io.project import ROOT, clone_of
from workbench.runs.parameters import read_notebook
from workbench.runs.run import OWNED
from workbench.runs.status import Failure, Job, RunState

COLOURS = r"\x1b\[[0-9;]*m"  # of a terminal
START_TIMEOUT = 120


def execute(job: Job, place: str) -> tuple[RunState, Failure | None]:
    """Execute the notebook of ``job`` into its folder, and say how it ended and why.

    The kernel's sockets and keys lie in ``place``, a folder that only this user can enter.
    """
    assert job.notebook is not None
    # No port that somebody else could reach or take.
    private = {"transport": "ipc", "ip": f"{place}/k", "connection_file": f"{place}/k.json"}
    output = job.folder / job.notebook.name
    sources = [cell.source for cell in read_notebook(job.notebook).cells]
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what goes wrong comes back as an exception
    try:
        papermill.execute_notebook(
            _unformatted(job.notebook),
            _unformatted(output),
            parameters=job.parameters | {"run_dir": str(job.folder)},
            progress_bar=False,
            kernel_name="python3",  # whatever name the notebook has of its kernel; see _manager
            language="python",
            start_timeout=START_TIMEOUT,
            execution_timeout=job.timeout,
            coalesce_streams=True,
            kernel_manager_class=_manager(job),
            config=Config({"KernelManager": private}),
        )
    except papermill.PapermillExecutionError as error:
        lines = re.sub(COLOURS, "", "\n".join(error.traceback))
        where = _index(sources, error.source)
        return "failed", Failure(type=error.ename, message=error.evalue, cell=where, traceback=lines)
    except CellTimeoutError:
        message = f"the cell took longer than {job.timeout:g} s"
        return "timeout", Failure(type="CellTimeoutError", message=message, cell=_index(sources, _last(output)))
    except DeadKernelError:
        message = "the kernel's process ended while the cell ran (killed, out of memory, or a crash)"
        return "died", Failure(type="DeadKernelError", message=message, cell=_index(sources, _last(output)))
    except RuntimeError as error:
        if "Kernel died" not in str(error):
            raise
        return "died", Failure(type="DeadKernelError", message="the kernel's process ended before the first cell")
    return "completed", None


def _manager(job: Job) -> type[AsyncKernelManager]:
    """The manager of a kernel of this interpreter, whatever kernels other tools have registered."""

    class Manager(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=make_ipkernel_cmd(), language="python", display_name="Python 3")

        async def start_kernel(self, **options: Any) -> Any:  # type: ignore[override]  # a coroutine here
            return await super().start_kernel(**options | {"env": _environment(job)})

    return Manager


def _environment(job: Job) -> dict[str, str]:
    """The kernel's environment: the folder that is its own, and the clone that the notebook lies in."""
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # pictures go into the notebook
    clone = None if job.notebook is None else clone_of(job.notebook)
    return kept | {OWNED: str(job.folder)} | ({} if clone is None else {ROOT: str(clone)})


def _unformatted(path: Path) -> str:
    """``path`` for papermill, which formats the paths that it is given."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _index(sources: Sequence[str], source: str | None) -> int | None:
    """Which cell of the notebook has ``source``; papermill's own count has one cell more, the one it puts in."""
    return sources.index(source) if source in sources else None


def _last(output: Path) -> str | None:
    """The source of the last cell that was started."""
    cells = reversed(read_notebook(output).cells)
    return next((cell.source for cell in cells if cell.metadata.get("papermill", {}).get("start_time")), None)
