"""The viewer in a real browser: a robot that can be seen, and controls that work."""

import socket
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from agents import mutations
from agents.play import Player
from agents.play_config import PlayConfig

pytest.importorskip("viser", reason="the extra [viewer] is not installed")


@pytest.fixture
def viewer():
    from agents.viewer import Viewer

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
    assert viewer.player.status().step >= 1
    assert "decision" in viewer.summary() and "ms" in viewer.text.content
    assert capfd.readouterr().out == ""
    viewer.pause.value = True
    step = viewer.player.status().step
    viewer.run(seconds=0.3)
    assert viewer.player.status().step == step
    viewer.sliders["num_samples"].value = 16
    viewer.configure()
    assert viewer.player._wanted[0].num_samples == 16


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
        viewer.text.content = viewer.summary()
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
