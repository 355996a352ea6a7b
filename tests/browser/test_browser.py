"""The explorers in a real Chromium: JupyterLab and Voila as `workbench lab` starts them.

Pictures of what was seen and the measured times are kept under build/browser. Nothing here passes or fails by a time.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium"),
]

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "browser"
TOKEN = "the-token-of-the-browser-tests"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
PATIENCE = 120_000  # milliseconds: the machine may be busy with the other tests
FIGURES_LEFT = (
    "import gc\nfrom matplotlib.figure import Figure\ngc.collect()\n"
    'print("figures left:", sum(type(thing) is Figure for thing in gc.get_objects()))'
)
# One step of a slider: from the key to the frame after the canvas was drawn.
STEPS = """async (number) => {
  const canvas = document.querySelector(".workbench-transport canvas");
  const handle = document.querySelector(".explore-epsilon .noUi-handle");
  const times = [];
  handle.focus();
  for (let step = 0; step < number; step++) {
    const before = canvas.dataset.frame;
    const begun = performance.now();
    const key = Math.floor(step / 10) % 2 ? "ArrowLeft" : "ArrowRight";
    handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    while (canvas.dataset.frame === before) {
      if (performance.now() - begun > 60000) throw new Error("the slider moved and no picture came");
      await new Promise((done) => setTimeout(done, 1));
    }
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - begun);
    await new Promise((done) => setTimeout(done, 20));
  }
  return times;
}"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of what a lab needs: a browser saves the notebooks that it runs."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    (folder / "data").symlink_to(ROOT / "data")
    path = folder / "notebooks" / "course" / "transport.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(FIGURES_LEFT))
    nbformat.write(notebook, path)
    return folder


def status(url: str) -> int:
    """The status with which a server answers, redirections not followed; 0 while there is none."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
        return opener.open(url, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextmanager
def serving(project: Path, *options: str):
    """`workbench lab` with these options; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "workbench.commands.cli", "lab", "--no-browser", "--port", str(port), *options]
    own = {"JUPYTER_TOKEN": TOKEN, "HOME": str(project), "JUPYTER_CONFIG_DIR": str(project), "OMP_NUM_THREADS": "1"}
    address = f"http://127.0.0.1:{port}"
    with (
        (project / "server.log").open("w") as log,
        subprocess.Popen(command, env=os.environ | own, cwd=project, stdout=log, stderr=log) as server,
    ):
        try:
            deadline = time.monotonic() + 240
            while not status(f"{address}/?token={TOKEN}"):
                assert server.poll() is None, (project / "server.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.3)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(project):
    with serving(project) as address:
        yield address


@pytest.fixture
def page(chromium):
    """A page; whatever goes wrong in it fails the test. What cannot be fetched from elsewhere does not count."""
    made = chromium.new_page(viewport={"width": 1500, "height": 1080})
    made.set_default_timeout(PATIENCE)
    wrong = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on(
        "console",
        lambda message: (
            wrong.append(message.text)
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )
    yield made
    made.close()
    assert wrong == []


def keep(page, name: str) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=KEPT / f"{name}.png")


def run_all(page, address: str, notebook: str) -> None:
    """Open a notebook in JupyterLab and choose Run All Cells."""
    page.goto(f"{address}/lab/tree/{notebook}?reset&token={TOKEN}")
    page.locator(".jp-Notebook").wait_for()
    page.get_by_text("| Idle").wait_for()
    page.keyboard.press("Control+b")  # the file browser out of the way
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def at(canvas, x: float, y: float) -> tuple[float, float]:
    """The place on the page of an image pixel of the map."""
    box = canvas.bounding_box()
    left, top, scale = (float(canvas.get_attribute(f"data-{name}")) for name in ("left", "top", "scale"))
    return box["x"] + left + x * scale, box["y"] + top + y * scale


def until(page, canvas, **wanted: str) -> None:
    """Wait until the canvas shows this."""
    for name, value in wanted.items():
        page.wait_for_function(
            "([canvas, name, value]) => canvas.dataset[name] === value", arg=[canvas.element_handle(), name, value]
        )


def heads(canvas) -> int:
    return int(canvas.get_attribute("data-heads"))


def test_the_start_page_lists_the_notebooks(page, lab, project):
    page.goto(f"{lab}/?token={TOKEN}")
    listed = page.locator(".jp-MarkdownViewer table")
    listed.first.wait_for()
    text = " ".join(listed.all_inner_texts())
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert path.stem in text
    keep(page, "start")
    page.locator(".jp-MarkdownViewer a", has_text="000_quickstart").first.click()
    page.locator(".jp-Notebook").wait_for()


def test_heads_and_sliders_change_the_plan(page, lab, capsys):
    run_all(page, lab, "notebooks/course/transport.ipynb")
    canvas = page.locator(".workbench-transport canvas")
    canvas.wait_for()
    page.get_by_text("figures left:").last.wait_for()
    until(page, canvas, heads="5")
    keep(page, "transport")

    page.locator(".explore-example select").select_option("scene 1")
    page.wait_for_function("(canvas) => Number(canvas.dataset.heads) >= 20", arg=canvas.element_handle())
    keep(page, "transport_scene")
    times = page.evaluate(STEPS, 200)
    measured = {
        "moves": len(times),
        "heads": heads(canvas),
        "median_ms": statistics.median(times),
        "p95_ms": sorted(times)[189],
    }
    measured = {name: round(value, 1) for name, value in measured.items()} | {"load": os.getloadavg()[0]}
    (KEPT / "latency.json").write_text(json.dumps(measured, indent=1))
    assert page.locator("canvas").count() == 1
    page.locator(".explore-example select").select_option("five people")
    until(page, canvas, heads="5")

    page.mouse.click(*at(canvas, 20, 64))
    until(page, canvas, heads="6")
    before = canvas.get_attribute("data-frame")
    page.mouse.move(*at(canvas, 20, 64))
    page.mouse.down()
    page.mouse.move(*at(canvas, 40, 50), steps=5)
    page.mouse.up()
    page.wait_for_function("([canvas, frame]) => canvas.dataset.frame !== frame", arg=[canvas.element_handle(), before])
    keep(page, "transport_edited")

    canvas.focus()
    page.keyboard.press("Enter")
    until(page, canvas, heads="7")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    until(page, canvas, heads="6")
    assert page.locator(".jp-Cell").count() == 3  # the notebook has taken none of the keys for its own

    status = page.locator(".workbench-ground [aria-live]")
    given = status.inner_text()
    page.locator(".explore-tool button", has_text="paint").click()
    page.mouse.click(*at(canvas, 100, 70))
    page.wait_for_function("([node, text]) => node.textContent !== text", arg=[status.element_handle(), given])
    keep(page, "transport_painted")

    page.locator(".jp-Notebook .jp-Cell .jp-InputArea-editor").last.click()
    page.keyboard.press("Control+Enter")
    page.locator(".jp-Cell").last.get_by_text("figures left: 0").wait_for()
    with capsys.disabled():
        print(f"\ntransport, 32 x 32 cells, from a slider's key to the picture: {measured}; no figure left")


@pytest.mark.parametrize(
    ("name", "slider", "shown"),
    [
        ("losses", "step", ".workbench-losses img"),
        ("locality", "error", ".workbench-locality img >> nth=1"),
        ("margins", "digit", ".workbench-margins img"),
        ("experts", "picture", ".workbench-experts canvas"),
    ],
)
def test_each_explorer_answers_its_slider(page, lab, name, slider, shown):
    run_all(page, lab, f"notebooks/course/{name}.ipynb")
    picture = page.locator(shown)
    picture.wait_for()
    seen = "(node) => node.src ?? node.dataset.drawn"
    before = picture.evaluate(seen)
    page.locator(f".explore-{slider} .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"([node, seen]) => ({seen})(node) !== seen", arg=[picture.element_handle(), before])
    keep(page, name)


def test_the_weights_follow_the_pointer(page, lab):
    run_all(page, lab, "notebooks/course/experts.ipynb")
    canvas = page.locator(".workbench-experts canvas[data-drawn]")
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 90)
    page.wait_for_function("(node) => Number(node.dataset.x) < 60", arg=canvas.element_handle())
    label = canvas.get_attribute("aria-label")
    canvas.focus()
    page.keyboard.press("Shift+ArrowDown")
    page.wait_for_function("([node, text]) => node.ariaLabel !== text", arg=[canvas.element_handle(), label])
    keep(page, "experts_pixel")


def test_dashboards_for_a_class_want_their_token(page, project):
    with serving(project, "--course") as address:
        for path in ("/", "/voila/render/transport.ipynb", "/?token=wrong"):
            assert status(address + path) == 302  # to where one logs in
        page.goto(f"{address}/voila/render/transport.ipynb?token={TOKEN}", wait_until="commit")
        canvas = page.locator(".workbench-transport canvas[data-frame]")
        canvas.wait_for()
        before = canvas.get_attribute("data-frame")
        page.locator(".explore-tau .noUi-handle").focus()
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(
            "([canvas, frame]) => canvas.dataset.frame !== frame", arg=[canvas.element_handle(), before]
        )
        assert heads(canvas) == 5
        keep(page, "course")
        page.goto("about:blank")  # before its server goes
