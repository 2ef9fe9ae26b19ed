"""A real Chromium without a screen, driven over a pipe by its DevTools protocol: real clicks, keys, files and sizes."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip
PIPE_IN, PIPE_OUT = 3, 4  # where Chromium reads and writes
WAIT_SEC = 60.0
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}


class BrowserError(AssertionError):
    """What was waited for did not happen, or the page failed."""


class Page:
    """One page of a browser that lives as long as the block."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.requests: list[str] = []  # addresses that the page asked for
        self.failures: list[str] = []  # errors that no script caught
        self.number, self.session = 0, ""

    def __enter__(self) -> Self:
        assert CHROMIUM is not None
        (theirs_in, self.write_end), (self.read_end, theirs_out) = os.pipe(), os.pipe()

        def hand_over() -> None:
            ends = [os.dup(theirs_in), os.dup(theirs_out)]  # either may be 3 or 4
            for source, wanted in zip(ends, (PIPE_IN, PIPE_OUT), strict=True):
                os.dup2(source, wanted)

        # None of the numbers 3 and 4 may be closed in the child after they were set.
        self.process = subprocess.Popen(
            [CHROMIUM, f"--user-data-dir={self.folder / 'profile'}", *FLAGS], preexec_fn=hand_over, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer = b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.folder))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.write_end)
        self.process.kill()
        self.process.wait()
        os.close(self.read_end)

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Ask Chromium, and return its answer."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": values}
        if self.session and not method.startswith("Browser."):
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self.number:
            self._note(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, width: int, height: int, *, dark: bool = False) -> None:
        """Load the page in a window of so many pixels."""
        self.resize(width, height, dark=dark)
        self.call("Page.navigate", url=self.address)
        self.wait_for("document.readyState === 'complete'")

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the window another size, and a light or a dark theme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited"""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = WAIT_SEC) -> None:
        """Wait until an expression is true. Raises BrowserError if that takes longer."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise BrowserError(f"not true in {seconds:g} s: {expression}; failures: {self.failures}")
            time.sleep(0.03)

    def click(self, selector: str) -> None:
        """Press the mouse on the middle of an element."""
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key of KEYS."""
        text = {"text": {"Enter": "\r"}.get(key, key)} if key in ("Enter", " ") else {}
        code = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def choose_file(self, selector: str, file: Path) -> None:
        """Give a file to an input, as its dialogue would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screenshot(self) -> bytes:
        """What the window shows, as PNG"""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            piece = os.read(self.read_end, 2**20)
            if not piece:
                raise BrowserError(f"Chromium ended with status {self.process.wait()}")
            self.buffer += piece
        message, _, self.buffer = self.buffer.partition(b"\0")
        value: dict[str, Any] = json.loads(message)
        return value

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.failures.append(str(event["params"]["exceptionDetails"]))
