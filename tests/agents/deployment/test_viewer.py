"""The viewer in a real browser: a robot that can be seen, and controls that work."""

import contextlib
import io
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from agents.deployment.origin import guarded
from agents.deployment.viewer.config import PlayConfig
from agents.deployment.viewer.play import Player
from tests.soak import mutations

pytest.importorskip("viser", reason="the extra [viewer] is not installed")


@pytest.fixture
def viewer():
    from agents.deployment.viewer.viewer import Viewer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    player = Player(mutations.specimen())
    made = Viewer(player, PlayConfig("x", port=port))
    yield made
    made.server.stop()
    player.close()


@pytest.mark.slow
def test_it_listens_on_this_machine_alone_and_runs_on(viewer, capfd):
    assert viewer.server.get_host() == "127.0.0.1"
    url = f"http://127.0.0.1:{viewer.server.get_port()}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.status == 200
    viewer.run(seconds=1.0)
    assert viewer.player.decisions >= 1
    assert "decision" in viewer.player.summary() and "ms" in viewer.text.content
    assert capfd.readouterr().out == ""
    viewer.pause.value = True
    step = viewer.player.decisions
    viewer.run(seconds=0.3)
    assert viewer.player.decisions == step
    viewer.sliders["num_samples"].value = 16
    viewer.configure()
    assert viewer.player._wanted[0].num_samples == 16


def test_viser_answers_its_own_pages_alone():
    """A foreign page, by its Origin or under its own name for this machine, gets nothing."""
    import viser

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with contextlib.redirect_stdout(io.StringIO()), guarded("127.0.0.1"):
        made = viser.ViserServer("127.0.0.1", port, "page", False)
    try:
        url, own = f"ws://127.0.0.1:{made.get_port()}", f"http://127.0.0.1:{made.get_port()}"
        protocol = [f"viser-v{viser.__version__}"]
        with connect(url, origin=own, subprotocols=protocol) as line:
            assert line.recv(timeout=30)
        for origin in ("http://evil.example", "null"):
            with pytest.raises(InvalidStatus, match="403"):
                connect(url, origin=origin, subprotocols=protocol)
        asked = urllib.request.Request(own, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(asked, timeout=30)
        assert urllib.request.urlopen(own, timeout=30).status == 200
    finally:
        made.stop()


@pytest.mark.slow
def test_what_a_browser_sends_is_what_the_controls_show(viewer):
    """Beyond the sliders, of another type, or none that there is: nothing of it is obeyed."""
    for name, value in {"Speed": 0.0, "Noise on actions": 1e30, "num_samples": 10**9}.items():
        viewer.sliders[name]._impl.value = value
    viewer.sliders["temperature"]._impl.value = "hot"
    viewer.mode._impl.value, viewer.body._impl.value = "fast", "nobody"
    viewer.configure()
    planner, mode = viewer.player._wanted
    assert (planner.num_samples, mode) == (512, "plan")
    assert planner.temperature == viewer.player.ready.planner.temperature
    viewer.pause.value = True
    viewer.advance()
    assert viewer.player.noise == 1.0 and viewer.player.decisions == 1
    handled = [m.__name__ for m in viewer.server._websock_server._incoming_handlers]
    assert not [name for name in handled if "Share" in name or "FileTransfer" in name]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_chromium_shows_the_robot(viewer, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from browser import CHROMIUM, Browser

    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    page = Browser(tmp_path / "profile", f"http://127.0.0.1:{viewer.server.get_port()}", 300)
    try:
        robot = [n for n in viewer._nodes.values() if hasattr(n, "vertices")]
        shown = settled(page)
        for node in robot:
            node.visible = False
        hidden = settled(page)
        changed = np.abs(shown.astype(int) - hidden).max(-1)[:, :640] > 30
        rows, columns = np.nonzero(changed)
        assert changed.mean() > 0.003, "the robot covers too little of the picture"
        assert np.ptp(rows) > 30 and np.ptp(columns) > 10
        viewer.text.content = viewer.player.summary()
        wait_until(lambda: "cartpole-swingup" in page.evaluate("document.body.innerText"))
        page.evaluate(
            "[...document.querySelectorAll('button')].find(b => b.innerText == 'Reset').click()"
        )
        wait_until(lambda: viewer._reset_asked)
    finally:
        page.close()


def settled(page) -> np.ndarray:
    """The page once two pictures in a row are alike and not blank."""
    last = page.picture()
    for _ in range(40):
        time.sleep(0.5)
        now = page.picture()
        if now[:, :640].std() > 5 and np.abs(now.astype(int) - last)[:, :640].max() < 10:
            return now
        last = now
    raise AssertionError("the page does not come to rest")


def wait_until(holds, patience: float = 60.0):
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
