"""``workbench lab``: JupyterLab at the list of the notebooks, or the explorers as dashboards for a class."""

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from workbench.io.project import find_notebook, project_root

LOOPBACK = "127.0.0.1"
# Defaults that a user's own settings override: Markdown is shown as a page, and nothing is asked of the network.
SETTINGS = Path(__file__).parent / "lab_settings"
# Code and outputs go between server and kernel through ports of this machine, which every local user can reach.
ENCRYPTED = "--KernelManager.transport_encryption=auto"
IDLE_SECONDS = 1800  # a kernel that nobody used for so long is ended


def lab(
    notebook: Annotated[
        str | None,
        typer.Argument(metavar="[NOTEBOOK]", help="One of the project's notebooks; their list unless given."),
    ] = None,
    port: Annotated[int, typer.Option(help="The first port to try.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    course: Annotated[bool, typer.Option("--course", help="The explorers as dashboards for a class (Voila).")] = False,
    ip: Annotated[
        str, typer.Option(help="The address to listen on; with another one, other machines can reach it.")
    ] = LOOPBACK,
) -> None:
    """Open JupyterLab on the notebooks, or the explorers as dashboards: on this machine only, with a token."""
    # In the environment, as other users can read a command line.
    token = os.environ.get("JUPYTER_TOKEN") or secrets.token_urlsafe(32)
    if ip != LOOPBACK:
        typer.echo(f"listening on {ip}: whoever has the address with the token can come in", err=True)
    if course:
        _dashboards(port, browser, ip, token)
        return
    root = project_root()
    first = find_notebook(notebook).resolve() if notebook else root / "notebooks" / "README.md"
    if not first.is_relative_to(root.resolve()):
        raise ValueError(f"{first} lies outside {root}, expected a notebook of this project")
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.ip={ip}",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{quote(first.relative_to(root.resolve()).as_posix())}",
        f"--LabApp.app_settings_dir={SETTINGS}",
        f"--ServerApp.open_browser={browser}",
        ENCRYPTED,
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--ServerApp.allow_root=True")
    os.execve(sys.executable, command, os.environ | {"JUPYTER_TOKEN": token})


def _dashboards(port: int, browser: bool, ip: str, token: str) -> None:
    """Serve the course's dashboards until Ctrl-C; nobody who only has a dashboard can run code of their own."""
    from voila.app import Voila

    folder = project_root() / "notebooks" / "course"
    if not list(folder.glob("*.ipynb")):
        raise FileNotFoundError(f"{folder} holds no dashboard")
    typer.echo(f"The dashboards: http://{ip}:{port}/?token={token}")
    arguments = [
        str(folder),
        f"--Voila.ip={ip}",
        f"--port={port}",
        "--Voila.port_retries=0",  # the address above shall be right
        f"--Voila.open_browser={browser}",
        f"--MappingKernelManager.cull_idle_timeout={IDLE_SECONDS}",
        "--MappingKernelManager.cull_interval=60",
        ENCRYPTED,
    ]
    Voila.launch_instance(arguments, token=token)
