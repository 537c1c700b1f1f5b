"""How fast a report of many clips is made, and opens in a browser.

Claim: a report of 10,000 clips is drawn and ready in under 2 s in headless Chromium.

    python benchmarks/report.py [--clips 10000] [--classes 41] [--pictured 600] [--keep report.html] [--json]

The clips are made up: predictions at random, one stored spectrogram of noise a pictured clip in views of LH's and X's
shape, and a short sound. Ready means that the first page of the list is drawn and every control answers: the page says
when. Whole means that the embedded pictures and sounds are read, too. Each opening is one of a fresh browser. Where
there is no Chromium with its chromedriver, only the making is timed.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# In this folder "featurize" would be featurize.py, not the package.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import numpy as np
import pandas as pd
import soundfile

from cache import ClipRow, ShardPlan, StoreReader, open_store, write_shard
from featurize.modes import MODES
from infer.players import Players
from infer.report import Measured, Report
from infer.report_clips import choose_pictured, judge_clips, rank_lists
from infer.report_page import Media, write_page
from infer.report_run import RunFacts
from infer.report_scores import class_scores, count_confusions, order_classes, view_scores
from infer.thumbnails import Thumbnails

LIMIT_SECONDS = 2.0
ROUNDS = 5
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
OPTIONS += ("--disable-component-update", "--disable-sync")
_TIMES = """
const [page] = performance.getEntriesByType("navigation");
return [performance.getEntriesByName("earmark-ready")[0].startTime, page.domComplete, document.images.length];
"""


def made_up_clips(n_clips: int, n_classes: int, sound: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give a clip table, two thirds of it for training, and probabilities that are right more often than not."""
    rng = np.random.default_rng(0)
    labels = [f"Class_{number:03d}" for number in range(n_classes)]
    truth = rng.integers(0, n_classes, n_clips)
    train = np.arange(n_clips) < n_clips * 2 // 3
    scores = rng.normal(0, 1, (n_clips, n_classes))
    scores[np.arange(n_clips), truth] += 2.5
    scores[np.arange(n_clips), (truth + 1) % n_classes] += 1
    p = np.exp(2 * scores)
    names = [f"{hashlib.sha256(str(number).encode()).hexdigest()[:12]}.wav" for number in range(n_clips)]
    clips = pd.DataFrame({"fname": names, "path": str(sound), "label": [labels[k] for k in truth]})
    clips["split"] = np.where(train, "train", "test")
    clips["manually_verified"] = pd.array(rng.random(n_clips) < 0.4, dtype="boolean")
    clips["usage"] = pd.array(np.where(train, None, "Private"), dtype="string")
    clips["fold"], clips["group"] = pd.array([0] * n_clips, dtype="Int64"), pd.array([None] * n_clips, dtype="string")
    table = pd.DataFrame(p / p.sum(axis=1, keepdims=True), columns=labels)
    table.insert(0, "fname", names)
    return clips, table


def made_up_report(clips: pd.DataFrame, p: pd.DataFrame, most_pictured: int) -> Report:
    """Put a report together from made-up predictions."""
    classes = list(p.columns[1:])
    judged = judge_clips(clips, p, classes).assign(path=clips["path"])
    lists = rank_lists(judged, clips.loc[clips["split"] == "train", "fname"].iloc[:300].tolist())
    confusions = count_confusions(judged["truth"].to_numpy(), judged["top1"].to_numpy(), len(classes))
    test = p[clips["split"].eq("test").to_numpy()]
    epoch = np.arange(1.0, 121)
    curve = pd.DataFrame({"epoch": epoch, "loss": 2 / epoch, "valid_loss": 3 / epoch, "map3": 1 - 1 / epoch})
    return Report(
        corpus="made up",
        run="made-up",
        classes=classes,
        scores=[view_scores("lh + x", p, test, clips, dict.fromkeys(clips["fname"], 0))],
        facts=RunFacts({mode: dict.fromkeys(range(5), curve) for mode in ("lh", "x")}, [], {}),
        by_class=class_scores(judged, classes),
        order=order_classes(confusions),
        clips=judged,
        lists=lists,
        pictured=choose_pictured(judged, lists, most=most_pictured),
        quarantined={},
        measured=Measured(),
    )


def made_up_store(folder: Path, names: list[str]) -> dict[str, StoreReader]:
    """Store a spectrogram of noise a clip, of 4 s in LH and 10 s in X."""
    rng, readers = np.random.default_rng(1), {}
    for name, n_frames in (("lh", 201), ("x", 501)):
        mode = MODES[name]
        frames = rng.normal(-40, 12, (n_frames, mode.n_mels)).astype(mode.dtype)
        digests = [hashlib.sha256(clip.encode()).hexdigest() for clip in names]
        rows = [ClipRow(clip, digest, 4.0, frames) for clip, digest in zip(names, digests, strict=True)]
        write_shard(
            folder / mode.folder,
            ShardPlan.of(row.key for row in rows),
            rows,
            settings=mode.to_dict(),
            fingerprint=mode.fingerprint(),
            mode=name,
            versions={},
            n_mels=mode.n_mels,
            dtype=mode.dtype,
        )
        readers[name] = open_store(folder / mode.folder)
    return readers


def time_opening(page: Path) -> tuple[float, float]:
    """Open a page in a fresh browser; give seconds until it is ready, and until it is whole."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = find_chromium() or ""
    for word in OPTIONS:
        options.add_argument(word)
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.get(page.absolute().as_uri())
        ready, whole, n_images = browser.execute_script(_TIMES)
    if not n_images:
        raise SystemExit("the first page of the report shows no picture")
    return ready / 1000, whole / 1000


def find_chromium() -> str | None:
    """Give the path of Chromium, where it and its driver are installed."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found if shutil.which("chromedriver") else None


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make a report twice, and open it."""
    sound = folder / "sound.wav"
    soundfile.write(sound, np.sin(np.arange(8000) / 5), 16_000)
    clips, p = made_up_clips(options.clips, options.classes, sound)
    begun = time.perf_counter()
    report = made_up_report(clips, p, options.pictured)
    gathered = time.perf_counter() - begun
    readers = made_up_store(folder / "features", [clips["fname"][row] for row in report.pictured])
    page, made, written = options.keep or folder / "report.html", [], {}
    for _ in range(2):
        begun = time.perf_counter()
        written = write_page(
            report, Media(readers, Thumbnails(folder), Players(page.absolute().parent, 25_000_000)), page
        )
        made.append(round(time.perf_counter() - begun, 2))
    opened = [time_opening(page) for _ in range(ROUNDS)] if find_chromium() else []
    return {
        "clips": options.clips,
        "classes": options.classes,
        **written,
        "gather_seconds": round(gathered, 2),
        "write_seconds": made[0],
        "write_again_seconds": made[1],
        "ready_seconds": sorted(round(ready, 3) for ready, _ in opened),
        "whole_seconds": sorted(round(whole, 3) for _, whole in opened),
    }


def main() -> None:
    """Measure and print; exit 1 where the page is slower than claimed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=41)
    parser.add_argument("--pictured", type=int, default=600)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where to leave the report")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options)
    if options.json:
        print(json.dumps(result))
    else:
        _print(result)
    sys.exit(bool(result["whole_seconds"]) and result["whole_seconds"][ROUNDS // 2] >= LIMIT_SECONDS)


def _print(result: dict[str, Any]) -> None:
    size = f"{result['pictured']:,} with pictures, {result['bytes'] / 1e6:.1f} MB"
    print(f"{result['clips']:,} clips of {result['classes']} classes, {size}")
    for name in ("gather", "write", "write_again"):
        print(f"  {name.replace('_', ' '):12} {result[f'{name}_seconds']:7.2f} s")
    for name in ("ready", "whole"):
        if values := result[f"{name}_seconds"]:
            print(
                f"  {name:12} {values[len(values) // 2]:7.2f} s  ({values[0]} … {values[-1]}), {len(values)} openings"
            )
        else:
            print(f"  {name:12} not measured: Chromium or chromedriver is not there")


if __name__ == "__main__":
    main()
