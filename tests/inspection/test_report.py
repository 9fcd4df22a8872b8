"""The report, as files go and as a browser shows it."""

import os
import re
import shutil
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skdygen
from skdygen import DyGenClassifier, Trajectories
from skdygen.inspection import write_report
from skdygen.inspection._labels import Labels
from skdygen.inspection._html_report import nearest_clean

ATTACKS = [
    "<script>window.attacked = 1</script>",
    "</script><img src=x onerror='window.attacked = 1'>",
    "{{ 7 * 7 }} <!-- \u2028 & \" '",
]


@pytest.fixture(scope="module")
def attacked(case):
    """The same; the most doubtful texts, and a class, are written by an enemy."""
    texts, _, given, clf = case
    texts = list(texts)
    worst = clf.label_issues()["index"]
    for row, attack in zip(worst, ATTACKS, strict=False):
        texts[row] = f"{attack} {texts[row]}"
    given = np.where(given == "billing", "<i>billing</i>", given)
    return texts, given, clone(clf).fit(texts, given)


@pytest.fixture(scope="module")
def report(attacked, tmp_path_factory):
    texts, _, clf = attacked
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(clf, path, texts, title="Tickets <2026>")
    return path


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no Chromium here; on Debian: apt install chromium")
    # As root Chromium has no sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, report):
    """The report as loaded; at the end nothing was complained of, nothing fetched."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    opened = context.new_page()
    complaints, requests = [], []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    assert complaints == []
    is_own = [url == report.as_uri() or url.startswith("data:") for url in requests]
    assert all(is_own), requests
    assert opened.evaluate("window.attacked") is None
    context.close()


def column(page, number):
    cells = page.locator(f"#table tbody tr td:nth-child({number})")
    return cells.all_inner_texts()


def test_what_it_says(page, attacked):
    texts, given, clf = attacked
    issues = clf.label_issues()
    assert page.title() == "Tickets <2026>"
    words = page.locator("section").first.inner_text()
    labelled = given != "none"
    assert f"240 texts in 6 classes; {labelled.sum()} have a label." in words
    assert f"{len(issues)} labels ({len(issues) / labelled.sum():.0%})" in words
    n_replaced = (clf.transduction_[labelled] != given[labelled]).sum()
    assert f"{n_replaced} of these are replaced" in words
    counts = issues.groupby(["given", "suggested"]).size()
    wrong, _ = counts.idxmax()
    if (counts == counts.max()).sum() == 1:
        assert f"{counts.max()} texts are labelled “{wrong}” and look like" in words
    # The worst first, 25 on a page, and texts as they are.
    assert column(page, 1) == [str(row) for row in issues["index"][:25]]
    assert column(page, 3) == issues["given"][:25].tolist()
    for row, text in zip(issues["index"], column(page, 2), strict=False):
        assert re.sub(r"\s+", " ", text) == re.sub(r"\s+", " ", texts[row]).strip()
    pictures = page.locator("img")
    assert pictures.count() == 4
    for picture in pictures.all():
        assert picture.evaluate("p => p.complete && p.naturalWidth > 300")
        assert len(picture.get_attribute("alt")) > 50
    assert "IncrementalDynamics" in page.locator("pre").inner_text()


def test_sorting(page, attacked):
    issues = attacked[2].label_issues()
    head = page.locator("th[data-key=confidence]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    expected = sorted(issues["confidence"], reverse=True)[:25]
    assert column(page, 6) == [f"{round(value, 3):.2f}" for value in expected]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, 6) == sorted(column(page, 6))
    page.locator("th[data-key=index] button").click()
    assert column(page, 1) == [str(row) for row in sorted(issues["index"])[:25]]


def test_filters_and_search(page, attacked):
    texts, _, clf = attacked
    issues = clf.label_issues()
    name = "<i>billing</i>"
    n_billing = (issues["given"] == name).sum()
    page.get_by_label("given", exact=True).select_option(name)
    assert page.get_by_role("status").inner_text() == (
        f"{n_billing} of {len(issues)} labels"
    )
    assert set(column(page, 3)) == {name}
    page.get_by_label("replaced only").check()
    is_replaced = clf.transduction_[issues["index"]] != issues["given"]
    left = issues[(issues["given"] == name) & is_replaced]
    assert column(page, 1) == [str(row) for row in left["index"][:25]]
    page.get_by_role("button", name="all", exact=True).click()
    everything = f"{len(issues)} of {len(issues)} labels"
    page.get_by_text(everything).wait_for()  # a form is reset after the click
    page.get_by_label("text", exact=True).fill("WINDOW.attacked script")
    found = [r for r in issues["index"] if "window.attacked" in texts[r]]
    assert column(page, 1) == [str(row) for row in found]
    page.get_by_label("text", exact=True).fill("no text has these words")
    assert column(page, 1) == []
    assert page.locator("#page").inner_text() == "page 1 of 1"


def test_pages(page, attacked):
    issues = attacked[2].label_issues()
    assert len(issues) > 25
    seen = column(page, 1)
    assert page.get_by_role("button", name="previous").is_disabled()
    while page.get_by_role("button", name="next").is_enabled():
        page.get_by_role("button", name="next").click()
        seen += column(page, 1)
    assert seen == [str(row) for row in issues["index"]]


def test_keyboard(page):
    """Everything can be reached and used without a mouse, and shows where it is."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(e => [e.id || e.innerText || e.className, "
                "getComputedStyle(e).outlineStyle])(document.activeElement)"
            )
        )
    names = [name for name, _ in reached]
    assert names[:5] == ["given", "suggested", "search", "replaced", "all"]
    assert {"row", "text", "quality", "confidence", "next"} <= set(names)
    assert [name for name, outline in reached if outline == "none"] == []
    page.locator("th[data-key=text] button").focus()
    page.keyboard.press("Enter")
    assert page.locator("th[data-key=text]").get_attribute("aria-sort") == "ascending"


def test_contrast(page):
    """Text stands out from what is behind it, by 4.5 to 1 as WCAG 2 wants it."""
    pairs = page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(
            (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
              && e.getClientRects().length && !e.disabled
          ).map((e) => {
            let behind = e;
            const clear = 'rgba(0, 0, 0, 0)';
            while (behind && getComputedStyle(behind).backgroundColor === clear)
              behind = behind.parentElement;
            return [getComputedStyle(e).color,
                    behind ? getComputedStyle(behind).backgroundColor
                           : 'rgb(255, 255, 255)'];
          })"""
    )
    assert len(pairs) > 100
    for pair in {tuple(pair) for pair in pairs}:
        dark, light = sorted(map(luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


def luminance(color):
    values = np.array([int(v) for v in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )
    return linear @ [0.2126, 0.7152, 0.0722]


def test_without_scripts_it_says_so(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.get_by_text("The table needs JavaScript.").is_visible()
    assert page.get_by_role("heading", name="In words").is_visible()
    context.close()


def test_nearest_clean(case, recorded):
    _, _, given, clf = case
    labels = Labels.of_estimator(clf)
    rows = np.flatnonzero(labels.is_issue)
    nearest = nearest_clean(recorded, labels, rows, labels.suggested[rows])
    assert_array_equal(given[nearest], clf.classes_[labels.suggested[rows]])
    assert not labels.is_issue[nearest].any()
    at = recorded.initial / np.linalg.norm(recorded.initial, axis=1, keepdims=True)
    k = labels.suggested[rows[0]]
    clean = np.flatnonzero((labels.given == k) & ~labels.is_issue)
    quality = clf.label_distributions_[clean, k]
    clean = clean[quality >= np.median(quality)]
    assert nearest[0] == clean[(at[clean] @ at[rows[0]]).argmax()]
    # Without a label that looks right there is none.
    nobody = labels._replace(is_issue=labels.given >= 0)
    assert (nearest_clean(recorded, nobody, rows, labels.given[rows]) == -1).all()


def make_fitted(n_samples, n_classes=4, agree=False):
    """Fit on made trajectories."""
    rng = np.random.RandomState(0)
    true = rng.randint(n_classes, size=n_samples)
    is_kept = agree | (rng.rand(n_samples) < 0.7)
    given = np.where(is_kept, true, rng.randint(n_classes, size=n_samples))
    at = 4.0 * np.eye(8)[true] + rng.randn(n_samples, 8)
    embeddings = np.repeat(at[:, None, None], 2, axis=2).astype(np.float16)
    probabilities = np.full((n_samples, 1, 2, n_classes), 1 / n_classes)
    trajectories = Trajectories(embeddings, probabilities, initial=at)
    clf = DyGenClassifier("precomputed", random_state=0).fit(trajectories, given)
    return trajectories, clf


@pytest.mark.parametrize("character", ["a", "字"])
def test_size(tmp_path, character):
    """Less than 5 MB for 10,000 texts, however long and of whatever letters."""
    trajectories, clf = make_fitted(10_000)
    assert len(clf.label_issues()) > 1000
    texts = [character * 3000] * 10_000
    path = tmp_path / "report.html"
    write_report(clf, path, texts, trajectories=trajectories)
    assert 500_000 < path.stat().st_size < 5_000_000


def test_nothing_looks_wrong(tmp_path, browser):
    trajectories, clf = make_fitted(100, agree=True)
    assert clf.label_issues().empty
    path = tmp_path / "report.html"
    write_report(clf, path, ["text"] * 100, trajectories=trajectories)
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.get_by_text("No label looks wrong").is_visible()
    assert page.get_by_role("status").inner_text() == "0 of 0 labels"


def test_dynamics_that_cannot_be_had_again(case, tmp_path):
    texts, _, given, clf = case
    path = tmp_path / "report.html"
    stages = {"dynamics": "precomputed", "missing_label": "none", "random_state": 0}
    trajectories = clf.dynamics_.transform(texts)
    precomputed = DyGenClassifier(**stages).fit(trajectories, given)
    with pytest.raises(ValueError, match="trajectories is missing: pass what"):
        write_report(precomputed, path, texts)
    write_report(precomputed, path, texts, trajectories=trajectories)
    assert path.exists()


def test_without_a_distribution(case, tmp_path, monkeypatch):
    """From a folder that is not installed, and without sentence-transformers."""

    def version(name):
        if name in ("skdygen", "sentence-transformers"):
            raise PackageNotFoundError(name)
        return "7.7"

    monkeypatch.setattr("skdygen.inspection._html_report.version", version)
    write_report(case[-1], tmp_path / "report.html", case[0])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert skdygen.__version__ in page
    assert "7.7" in page


def test_files(case, tmp_path):
    texts, _, _, clf = case
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"overwrite=True"):
        write_report(clf, path, texts)
    with pytest.raises(ValueError, match="X has 3 texts"):
        write_report(clf, path, texts[:3], overwrite=True)
    with pytest.raises(NotFittedError):
        write_report(DyGenClassifier(), path, texts, overwrite=True)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_report(clf, tmp_path / "no" / "report.html", texts)
    assert path.read_text() == "mine"
    write_report(clf, str(path), texts, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
