"""A headless Chromium over its DevTools protocol: open a page, look at it."""

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
FLAGS = (
    "--headless=new --no-sandbox --disable-dev-shm-usage --no-first-run --hide-scrollbars "
    "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--remote-debugging-port=0 --window-size=1000,640"
).split()


class Browser:
    """One page in one browser."""

    def __init__(self, folder: Path, url: str, patience: float = 90.0):
        self.deadline = time.monotonic() + patience
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", url]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = self._until(lambda: (folder / "DevToolsActivePort").read_text().split()[0])

        def page():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
                return next(t for t in json.load(answer) if t["type"] == "page")

        target = self._until(page)
        self.socket = connect(target["webSocketDebuggerUrl"], max_size=None, open_timeout=60)
        self._number = 0

    def _until(self, attempt):
        while True:
            try:
                return attempt()
            except (OSError, StopIteration, IndexError):
                if time.monotonic() > self.deadline:
                    raise
                time.sleep(0.2)

    def call(self, method: str, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=120))
            if answer.get("id") == self._number:
                return answer.get("result", answer)

    def evaluate(self, script: str):
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    def picture(self, file: Path | None = None) -> np.ndarray:
        """What the page looks like, uint8 [H, W, 3]."""
        from PIL import Image

        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if file:
            file.write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
