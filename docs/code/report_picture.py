"""Draw docs/images/report.png in Chromium: ``python docs/code/report_picture.py``."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from playwright.sync_api import sync_playwright

from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.inspection import write_report

PICTURE = Path(__file__).parents[1] / "images" / "report.png"


def write(path):
    """Write a report on messages of which 30 % are labelled wrongly."""
    texts, right = make_texts(500, random_state=0)
    given = make_label_noise(right, "symmetric", 0.3, random_state=0)
    clf = DyGenClassifier("frozen", store_trajectories=True, random_state=0)
    ids = pd.Series([f"T-{1000 + row}" for row in range(500)])
    write_report(clf.fit(texts, given), path, texts, ids=ids, first_row=2)


def draw(page):
    """Decide some labels, and draw the words and the list below them."""
    for key in ["a", "j"] * 37:
        page.keyboard.press(key)
    page.get_by_role("button", name="most suspicious").click()
    for key in "aja":
        page.keyboard.press(key)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=PICTURE)


with TemporaryDirectory() as folder, sync_playwright() as running:
    write(path := Path(folder) / "report.html")
    browser = running.chromium.launch(
        executable_path=shutil.which("chromium"), chromium_sandbox=os.geteuid() != 0
    )
    page = browser.new_page(viewport={"width": 1250, "height": 1480})
    page.goto(path.as_uri())
    draw(page)
