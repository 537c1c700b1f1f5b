"""Make README's pictures from the demo: spectrograms of a clip, learning curves, the page of the report.

    cli demo demo
    python docs/pictures.py [demo] [--clip NAME] [--out docs/pictures]

The pictures are those of ``cli report --pictures``, made smaller, and a screenshot of the page in headless Chromium
(with its chromedriver on the PATH; ``pip install selenium``). Each has less than 150 kB.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

MOST_BYTES = 150_000
WIDTH, HEIGHT = 1180, 900
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
OPTIONS += ("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-prefers-reduced-motion")


def run_cli(*words: object) -> None:
    """Run a command of the program, and let its errors be seen."""
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def shrink(source: Path, target: Path, *, width: int) -> None:
    """Write a picture with so many pixels a row at most and 256 colours."""
    with Image.open(source) as image:
        height = round(image.height * min(1.0, width / image.width))
        small = image.convert("RGB").resize((min(width, image.width), height), Image.Resampling.LANCZOS)
    small.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(target, optimize=True)
    n_bytes = target.stat().st_size
    if n_bytes >= MOST_BYTES:
        raise SystemExit(
            f"{target} has {n_bytes:,} bytes, and must have less than {MOST_BYTES:,}: give --clip another clip"
        )
    print(f"{target}: {small.width} × {small.height}, {n_bytes / 1000:.0f} kB")


def take_screenshots(page: Path, folder: Path) -> None:
    """Photograph the top of the page, its confusions, and its first clip to review."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    for word in OPTIONS:
        options.add_argument(word)
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        for name, place in (("report", "body"), ("report-confusions", "#confusions"), ("report-clip", "#list")):
            browser.execute_script(f"document.querySelector({place!r}).scrollIntoView()")
            time.sleep(1)  # for sounds to tell their length
            browser.save_screenshot(str(folder / f"{name}.png"))


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, nargs="?", default=Path("demo"), help="the folder of cli demo")
    parser.add_argument("--clip", default="29f8254d.wav", help="the clip whose spectrograms are shown")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pictures"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        places = ("--store", options.demo / "features", "--runs", options.demo / "runs")
        run_cli("report", options.demo / "data", *places, "--out", folder / "report.html", "--pictures", folder)
        run_cli("cache", "show", options.clip, *places[:2], "--out", folder / "spectrograms.png")
        take_screenshots(folder / "report.html", folder)
        for name, width in (
            ("spectrograms", 900),
            ("learning-curves-lh", 900),
            ("report", WIDTH),
            ("report-confusions", WIDTH),
            ("report-clip", WIDTH),
        ):
            shrink(folder / f"{name}.png", options.out / f"{name}.png", width=width)


if __name__ == "__main__":
    main()
