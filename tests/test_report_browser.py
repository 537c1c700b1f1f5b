"""The report in headless Chromium: it works, keeps verdicts, and hostile names do nothing."""

import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_samples import BIDI, HOSTILE, LABELS, write_hostile_corpus, write_run
from stores import HEAD, LONG
from test_cli import run_json

from corpus.relabel import apply_relabels, read_relabels
from corpus.tables import read_corpus

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="NOT TESTED: the report in a browser needs chromium and chromedriver on the PATH"
)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
OPTIONS += ("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--force-prefers-reduced-motion")
WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of the hostile corpus; every second sound is linked."""
    folder = tmp_path_factory.mktemp("browser %23 ?")
    corpus = write_hostile_corpus(folder / "data #1")
    write_run(folder / "runs", read_corpus(corpus), modes=(HEAD, LONG))
    places = ["--store", folder / "features", "--runs", folder / "runs", "--jobs", 1, "--sound-mb", 0.2]
    written = run_json("report", corpus, *places, "--out", folder / "report.html")
    assert written["embedded"] > 3 < written["linked"]
    return folder


@pytest.fixture(scope="module")
def browser(folder):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in OPTIONS:
        options.add_argument(word)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.set_capability("unhandledPromptBehavior", {"default": "ignore", "beforeUnload": "accept"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER)) as driver:
            yield driver


@pytest.fixture
def page(browser, folder):
    """The page, freshly opened by a browser that has forgotten everything."""
    address = (folder / "report.html").as_uri()
    browser.get(address)
    browser.execute_script("localStorage.clear()")
    browser.get(address)
    yield browser
    messages = [entry["message"] for entry in browser.get_log("browser")]
    # Chromium asks nobody on behalf of a page that no hand has touched, and says so.
    assert [message for message in messages if "'beforeunload'" not in message] == []


def script(page, text, *args):
    return page.execute_script(text, *args)


def press(page, by, what):
    """Click an element where a reviewer would see it: in the middle of the window, above the bar of verdicts."""
    element = page.find_element(by, what)
    script(page, "arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def wait_for(page, text, seconds=10.0):
    """Wait until an expression is true."""
    until = time.monotonic() + seconds
    while not (found := script(page, f"return {text}")):
        assert time.monotonic() < until, text
        time.sleep(0.05)
    return found


def choose(page, name, value):
    script(
        page,
        "const f = document.getElementById(arguments[0]); f.value = arguments[1];"
        "f.dispatchEvent(new Event('change', {bubbles: true})); f.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        str(value),
    )


def names(page):
    return script(page, "return [...document.querySelectorAll('#list .card h3')].map((h) => h.textContent)")


def all_cards(page):
    """Go through all pages of all clips; yield once a page."""
    choose(page, "f-list", "all")
    while True:
        yield
        following = page.find_element("css selector", "#pager button[aria-label='Next page']")
        if not following.is_displayed() or not following.is_enabled():
            return
        press(page, "css selector", "#pager button[aria-label='Next page']")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_window_in_light_and_dark(page, width, scheme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    try:
        assert script(page, "return document.documentElement.scrollWidth") <= width
        background = script(page, "return getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        press(page, "id", "theme")
        assert script(page, "return getComputedStyle(document.body).backgroundColor") != background
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def count_loaded(page):
    """Wait for every picture and player of every page; give the number of clips, of their pictures and players."""
    seen = np.zeros(3, int)
    for _ in all_cards(page):
        wait_for(page, "[...document.images].every((image) => image.complete && image.naturalWidth > 100)")
        wait_for(page, "[...document.querySelectorAll('audio')].every((player) => player.readyState >= 1)")
        kinds = ("#list .card", "#list img", "#list audio")
        seen += [script(page, "return document.querySelectorAll(arguments[0]).length", kind) for kind in kinds]
    return seen.tolist()


def test_every_picture_and_player_loads(page):
    assert count_loaded(page) == [18, 36, 18]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_report_of_the_demo_loads(browser, tmp_path):
    run_json("demo", tmp_path / "demo", "--clips", 82, "--epochs", 2)
    places = ["--store", tmp_path / "demo" / "features", "--runs", tmp_path / "demo" / "runs"]
    run_json("report", tmp_path / "demo" / "data", *places, "--out", tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    n_clips, n_pictures, n_players = count_loaded(browser)
    assert n_clips == n_players == n_pictures / 2 > 82
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_charts_are_drawn(page):
    assert script(page, "return document.querySelectorAll('#score-plot svg circle').length") >= 9
    assert script(page, "return document.querySelectorAll('#curves .pair > div > div > svg').length") == 4


def test_hostile_names_are_text(page):
    shown = []
    for _ in all_cards(page):
        shown += names(page)
        assert script(page, "return document.querySelectorAll('#list img:not([src^=\"data:image\"])').length") == 0
    assert HOSTILE in shown
    assert BIDI.replace("\u202e", "\\u202e") in shown
    assert "new\\x0aline.wav" in shown
    assert script(page, "return document.scripts.length") == script(
        page, "return document.querySelectorAll('body > script').length"
    )
    labels = script(
        page, "return [...document.querySelectorAll('#class-table tbody th')].map((th) => th.textContent.trim())"
    )
    assert sorted(labels) == sorted(LABELS)


def test_filters_search_and_order(page, folder):
    clips = read_corpus(folder / "data #1")
    choose(page, "f-list", "all")
    assert page.find_element("id", "found").text == "18 clips"
    choose(page, "f-split", "t")
    assert page.find_element("id", "found").text == "6 clips"
    choose(page, "f-truth", sorted(LABELS).index("plain"))
    assert set(names(page)) == set(clips.loc[(clips["split"] == "test") & (clips["label"] == "plain"), "fname"])
    press(page, "css selector", "#filters button[type=reset]")
    wait_for(page, "document.getElementById('f-split').value === ''")
    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    choose(page, "f-verified", "0")
    assert page.find_element("id", "found").text == "6 clips"
    choose(page, "f-verified", "")
    page.find_element("id", "f-text").send_keys("SCRIPT>")
    assert names(page) == [HOSTILE]
    choose(page, "f-text", "no such name")
    assert "No clip is like this" in page.find_element("id", "list").text
    choose(page, "f-text", "")
    choose(page, "f-view", "table")
    choose(page, "f-order", "pl")
    cells = script(page, "return [...document.querySelectorAll('#list tbody tr')].map((r) => r.cells[4].textContent)")
    shares = [float(text.split()[0]) for text in cells]
    assert len(shares) == 12
    assert shares == sorted(shares)
    press(page, "css selector", "#list thead button")
    first = page.find_element("css selector", "#list tbody th").text
    assert first == min(clips.loc[clips["split"] == "train", "fname"]).replace("\u2028", "\\u2028")


def test_a_clip_of_the_table_opens(page):
    choose(page, "f-list", "all")
    choose(page, "f-view", "table")
    assert script(page, "return document.images.length") == 0
    press(page, "css selector", "#list tbody th button")
    assert len(names(page)) == 1
    wait_for(page, "document.images.length === 2 && document.images[0].naturalWidth > 0")


def test_the_class_table_sorts_and_lists(page):
    head = page.find_elements("css selector", "#class-table thead button")[0]
    column = "return [...document.querySelectorAll('#class-table tbody th')].map((th) => th.textContent.trim())"
    script(page, "arguments[0].click()", head)
    rising = script(page, column)
    script(page, "arguments[0].click()", head)
    assert script(page, column) == rising[::-1]
    script(page, "document.querySelector('#class-table tbody button').click()")
    assert page.find_element("id", "found").text == "6 clips"


def test_the_matrix_is_walked_and_opened_by_keys(page, folder):
    from selenium.webdriver.common.keys import Keys

    cell = page.find_element("css selector", "#matrix td[role=gridcell]")
    script(page, "arguments[0].focus()", cell)
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    active = page.switch_to.active_element
    row, column = active.get_attribute("data-row"), active.get_attribute("data-column")
    assert script(page, "return document.querySelectorAll('#matrix td[tabindex=\"0\"]').length") == 1
    assert "predicted as" in page.find_element("id", "matrix-status").text
    active.send_keys(Keys.ENTER)
    assert page.find_element("id", "f-truth").get_property("value") == row
    assert page.find_element("id", "f-top").get_property("value") == column
    assert page.switch_to.active_element.get_attribute("id") == "h-clips"


@pytest.mark.parametrize("kind", ["oof", "all", "test"])
def test_a_cell_lists_the_clips_it_counts(page, kind):
    choose(page, "matrix-of", kind)
    cells = script(page, "return document.querySelectorAll('#matrix td[role=gridcell]').length")
    counted = []
    for i in range(cells):
        cell = "document.querySelectorAll('#matrix td[role=gridcell]')[arguments[0]]"
        script(page, f"{cell}.click()", i)
        counted.append(int(script(page, f"return {cell}.textContent || '0'", i)))
        assert page.find_element("id", "found").text.split()[0] == str(counted[-1])
    assert sum(counted) == {"oof": 6, "all": 12, "test": 6}[kind]


def test_verdicts_by_keys_survive_a_reload(page):
    from selenium.webdriver.common.keys import Keys

    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    radio = page.find_element("css selector", "#list .card input[type=radio]")
    script(page, "arguments[0].focus()", radio)
    radio.send_keys(Keys.ARROW_DOWN)
    assert page.find_element("id", "verdict-count").text == "1 verdict, not downloaded yet."
    page.refresh()
    assert page.find_element("id", "verdict-count").text == "1 verdict, not downloaded yet."
    choose(page, "f-list", "judged")
    assert script(page, "return document.querySelector('#list .card input:checked').value") == "right"


def judge_all(page):
    """Give each training clip a verdict, kinds in turn; give name → (kind, label chosen)."""
    given, kinds, at = {}, ("right", "wrong", "out"), 0
    choose(page, "f-split", "r")
    for _ in all_cards(page):
        rows = script(page, "return [...document.querySelectorAll('#list .card')].map((c) => Number(c.dataset.row))")
        for row in rows:
            kind = kinds[at % 3]
            at += 1
            chosen = script(
                page,
                "const card = document.querySelector(`#list .card[data-row='${arguments[0]}']`);"
                "card.querySelector(`input[value=${arguments[1]}]`).click();"
                "return card.querySelector('.verdict select').selectedOptions[0].textContent",
                row,
                kind,
            )
            given[row] = (kind, chosen)
    return given


def test_verdicts_round_trip_through_the_csv(page, folder):
    (folder / "downloads").mkdir(exist_ok=True)
    given = judge_all(page)
    press(page, "id", "verdict-save")
    path = folder / "downloads" / "verdicts.csv"
    until = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < until, "nothing was downloaded"
        time.sleep(0.05)
    assert page.find_element("id", "verdict-count").text == "12 verdicts, downloaded."
    clips = read_corpus(folder / "data #1")
    training = clips[clips["split"] == "train"]
    relabels = read_relabels([path], training).set_index("fname")
    assert len(relabels) == 12
    for row, (kind, chosen) in given.items():
        clip = clips.iloc[row]
        found = relabels.loc[clip["fname"]]
        expected = {"right": clip["label"], "wrong": chosen}.get(kind)
        assert (found["label"] if expected else pd.isna(found["label"])) == (expected or True)
        assert expected is None or bool(found["manually_verified"])
    assert apply_relabels(training, relabels.reset_index())["label"].isna().sum() == 4

    script(page, "localStorage.clear()")
    page.refresh()
    assert page.find_element("id", "verdict-count").text == "No verdicts yet."
    assert not page.find_element("id", "verdict-save").is_enabled()
    page.find_element("id", "verdict-file").send_keys(str(path))
    wait_for(page, "document.getElementById('verdict-count').textContent === '12 verdicts loaded.'")
    again = script(
        page,
        "return Object.fromEntries(Object.entries(localStorage).filter(([k]) => /^earmark-verdicts-\\w+$/.test(k)))",
    )
    assert len(again) == 1
    path.unlink()


def test_a_file_that_is_no_list_of_verdicts_is_refused_kindly(page, folder, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    page.find_element("id", "verdict-file").send_keys(str(bad))
    wait_for(page, "document.getElementById('verdict-count').textContent.includes('no columns fname and label')")
    rows = 'fname,label\nno such clip,plain\n00.wav,no such class\n"03.wav",""\n'
    (tmp_path / "some.csv").write_text(rows)
    page.find_element("id", "verdict-file").send_keys(str(tmp_path / "some.csv"))
    wait_for(
        page, "document.getElementById('verdict-count').textContent.includes('1 verdict loaded; 2 rows passed over')"
    )


def test_undownloaded_verdicts_ask_before_the_page_goes(page):
    leaves = "const going = new Event('beforeunload', {cancelable: true}); return dispatchEvent(going)"
    assert script(page, leaves)
    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    press(page, "css selector", "#list .card input[value=out]")
    assert not script(page, leaves)


def test_two_windows_of_a_report_share_their_verdicts(page):
    first = page.current_window_handle
    choose(page, "f-list", "all")
    choose(page, "f-split", "r")
    page.switch_to.new_window("tab")
    try:
        page.get(address_of(page, first))
        choose(page, "f-list", "all")
        choose(page, "f-split", "r")
        press(page, "css selector", "#list .card input[value=out]")
    finally:
        page.close()
        page.switch_to.window(first)
    wait_for(page, "document.getElementById('verdict-count').textContent.startsWith('1 verdict,')")
    press(page, "css selector", "#list .card:nth-of-type(2) input[value=right]")
    assert page.find_element("id", "verdict-count").text.startswith("2 verdicts,")


def address_of(page, window):
    here = page.current_window_handle
    page.switch_to.window(window)
    address = page.current_url
    page.switch_to.window(here)
    return address


def test_without_storage_verdicts_stay_in_memory(page, folder):
    deny = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied') }})"
    added = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": deny})
    try:
        page.refresh()
        choose(page, "f-list", "all")
        choose(page, "f-split", "r")
        press(page, "css selector", "#list .card input[value=right]")
        assert page.find_element("id", "verdict-count").text.endswith(
            "not kept by this browser: download before you leave."
        )
    finally:
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_the_csp_lets_nothing_else_run(page):
    script(
        page, "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert script(page, "return window.ran") is None
    log = [entry["message"] for entry in page.get_log("browser")]
    assert any("Content Security Policy" in message for message in log)


def test_the_fixture_is_no_accident(folder):
    assert Path(folder / "report.html").stat().st_size > 100_000
