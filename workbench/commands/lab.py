"""``workbench lab``: JupyterLab at a page that lists the notebooks, or the explorers as dashboards for a class."""

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from workbench.io.files import write_json, write_text
from workbench.io.project import list_notebooks, project_root

LOOPBACK = "127.0.0.1"
SETTINGS = {
    # the start page is to be read, and nothing is asked of the network
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
"""Defaults of JupyterLab's settings; whoever has chosen otherwise keeps that."""
# Code and outputs go between server and kernel through ports of this machine, which every local user can reach.
ENCRYPTED = "--KernelManager.transport_encryption=auto"
IDLE_SECONDS = 1800  # a kernel that nobody used for so long is ended


def lab(
    port: Annotated[int, typer.Option(help="The first port to try.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    course: Annotated[bool, typer.Option("--course", help="The explorers as dashboards for a class (Voila).")] = False,
    ip: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine's own are seen.")
    ] = LOOPBACK,
) -> None:
    """Open JupyterLab on the notebooks, or the explorers as dashboards: this machine only, and with a token."""
    # In the environment, as other users can read a command line.
    token = os.environ.get("JUPYTER_TOKEN") or secrets.token_urlsafe(32)
    if ip != LOOPBACK:
        typer.echo(f"listening on {ip}: whoever has the address with the token can come in", err=True)
    if course:
        _dashboards(port, browser, ip, token)
        return
    page = write_start_page(project_root())
    settings = page.parent / "lab"
    settings.mkdir(exist_ok=True)
    write_json(settings / "overrides.json", SETTINGS)
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.ip={ip}",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={project_root()}",
        f"--LabApp.default_url=/lab/tree/{page.relative_to(project_root()).as_posix()}",
        f"--LabApp.app_settings_dir={settings}",
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


def write_start_page(root: Path) -> Path:
    """Write build/start.md, which lists the notebooks with their titles; returns where it lies."""
    rows = [f"| [{path.stem}](../notebooks/{path.name}) | {_title(path)} |" for path in list_notebooks()]
    boards = [
        f"| [{path.stem}](../notebooks/course/{path.name}) | {_title(path)} |"
        for path in sorted((root / "notebooks" / "course").glob("*.ipynb"))
    ]
    lines = [
        "# Crowd counting workbench",
        "",
        "Open a notebook, then choose *Run > Run All Cells*. The first one to read is "
        "[000_quickstart](../notebooks/000_quickstart.ipynb).",
        "",
        "| notebook | what it is about |",
        "| --- | --- |",
        *rows,
        "",
        "To work by hand, without reading first (`workbench lab --course` serves these to a class):",
        "",
        "| explorer | what one does with it |",
        "| --- | --- |",
        *boards,
        "",
    ]
    page = root / "build" / "start.md"
    page.parent.mkdir(exist_ok=True)
    write_text(page, "\n".join(lines))
    return page


def _title(path: Path) -> str:
    """The notebook's first heading, or its name."""
    import nbformat

    for cell in nbformat.read(path, as_version=4).cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
            if line.startswith("# "):
                return line[2:].strip().replace("|", "\\|")
    return path.stem
