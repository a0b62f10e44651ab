"""Headless Chromium by the WebDriver protocol, with nothing but the standard library.

Specification: https://www.w3.org/TR/webdriver2/; console and network logs, media and screen size are
chromedriver's own (`goog:loggingPrefs`, `goog:cdp`).
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final, Self

from tests.programs import require_program

if TYPE_CHECKING:
    from pathlib import Path

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
TAB: Final = "\ue004"
ENTER: Final = "\ue007"
SPACE: Final = " "
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One session; a context manager."""

    def __init__(self) -> None:
        chromium, driver = require_program("chromium"), require_program("chromedriver")
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._driver = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._session = ""
        try:
            self._url = f"http://127.0.0.1:{self._port()}"
            self._session = self._start(chromium)
        except BaseException:
            self._end()
            raise

    def _start(self, chromium: str) -> str:
        options = {
            "binary": chromium,
            "args": [*_FLAGS, f"--user-data-dir={self._profile.name}"],
        }
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        return f"/session/{session['sessionId']}"

    def _port(self) -> int:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if "successfully on port " in line:
                return int(line.rpartition("on port ")[2].strip().rstrip("."))
        raise AssertionError("chromedriver did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._call("DELETE", self._session, None)
        self._end()

    def _end(self) -> None:
        self._driver.terminate()
        self._driver.wait()
        if self._driver.stdout is not None:
            self._driver.stdout.close()
        self._profile.cleanup()

    def _call(self, method: str, path: str, body: object) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with self._opener.open(request, timeout=60) as response:
                return json.loads(response.read())["value"]
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{method} {path}: {e.read()[:800]!r}") from None

    def _do(self, path: str, body: object) -> Any:
        return self._call("POST", self._session + path, body)

    def open(self, path: Path, fragment: str = "") -> None:
        """Open a file."""
        self._do("/url", {"url": path.as_uri() + fragment})

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page; return its value."""
        return self._do("/execute/sync", {"script": script, "args": list(arguments)})

    def cdp(self, command: str, **parameters: object) -> Any:
        """Give a command of the DevTools protocol."""
        return self._do("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Set the size of the viewport."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def scheme(self, name: str) -> None:
        """Prefer `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.cdp("Emulation.setEmulatedMedia", media="screen", features=features)

    def press(self, *keys: str) -> None:
        """Press and release keys, one after the other."""
        actions = []
        for key in keys:
            actions += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._do("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a picture of the viewport, or of the whole page."""
        data = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data["data"]))

    def console(self) -> list[str]:
        """Return what the console says, and forget it."""
        return [entry["message"] for entry in self._do("/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Return every address that a page asked for."""
        found = []
        for entry in self._do("/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def wait(self, script: str, *arguments: object, seconds: float = 5) -> None:
        """Wait until a script returns something true."""
        end = time.monotonic() + seconds
        while not self.run(script, *arguments):
            assert time.monotonic() < end, script
            time.sleep(0.02)
