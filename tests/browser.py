"""A real browser for tests of pages, without a window; they skip where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


@contextmanager
def browser(profile: Path, *flags: str) -> Iterator[Any]:
    """A driver of chromium that logs what the page says and asks for. profile: an empty folder."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("needs chromium and chromedriver on the path (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=chromedriver)
    with webdriver.Chrome(options=options, service=service) as started:
        yield started


def resize(driver: Any, pixels: int) -> None:
    """Makes the window so many pixels wide."""
    metrics = {"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def until(driver: Any, script: str, *arguments: object, seconds: float = 20) -> Any:
    """Waits until a script returns something that is true, and returns it."""
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
    return wait(driver, seconds).until(lambda page: page.execute_script(script, *arguments))
