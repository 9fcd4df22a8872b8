"""The report, as files go and as a browser shows it."""

import html
import json
import os
import re
import shutil
from copy import copy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics.pairwise import cosine_similarity

from skdygen import DyGenClassifier, Trajectories
from skdygen.denoisers import TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics
from skdygen.inspection import _html_report, write_report
from skdygen.inspection._labels import Labels
from skdygen.priors import UniformPrior

ATTACKS = [
    "<script>window.attacked = 1</script>",
    "</script><img src=x onerror='window.attacked = 1'>",
    "{{ 7 * 7 }} <!-- \u2028 & \" '",
]


@pytest.fixture(scope="module")
def reports(case, stored, sure, tmp_path_factory):
    """Of texts, the most doubtful by an enemy: on doubtful labels, and on good ones."""
    texts = list(case[0])
    for row, attack in zip(stored.label_issues()["index"], ATTACKS, strict=False):
        texts[row] = f"{attack} {texts[row]}"
    folder = tmp_path_factory.mktemp("reports")
    write_report(stored, folder / "report.html", texts, title="Tickets <1>")
    write_report(sure, folder / "calm.html", texts)
    return texts, folder / "report.html", folder / "calm.html"


def test_what_it_says(case, reports):
    _, _, given, clf = case
    texts, *paths = reports
    issues = clf.label_issues()
    replaced = clf.transduction_[issues["index"]] != issues["given"]
    page, calm = (path.read_text(encoding="utf-8") for path in paths)
    assert "Annotators" not in page
    said = html.unescape(re.sub("<[^>]*>", "", page.partition("In words")[2]))
    for sentence in (
        f"240 texts in 6 classes; {np.sum(given != 'none')} have a label.",
        f"{replaced.sum()} of these are replaced",
        f"has a probability of {issues['confidence'].median():.2f} or more",
        f"Wrong labels: {clf.noise_rate_:.0%}, but that is a guess",
        "IncrementalDynamics(n_epochs=4)",
    ):
        assert sentence in said
    ((n, *pair),) = re.findall(r"(\d+) texts are .* “(.*)” and look like “(.*)”", said)
    pairs = issues.groupby(["given", "suggested"]).size()
    assert int(n) == pairs[tuple(pair)] == pairs.max()
    (worst,) = re.findall("Most doubtful is the class “(.*?)”", said)
    shares = issues["given"].value_counts() / pd.Series(given).value_counts()
    assert shares[worst] == shares.max()
    assert "No label looks wrong" in calm

    # The table: the worst first, texts as they are, and nothing of them is markup.
    data = json.loads(re.findall('<script .* id="data">(.*?)</script>', page)[0])
    rows = pd.DataFrame(data["rows"])
    columns = ["index", "given", "suggested"]
    assert rows[columns].equals(issues[columns].reset_index(drop=True))
    assert_array_equal(rows["replaced"], replaced)
    for row in np.ravel(rows[["index", "near_given", "near_suggested"]]):
        assert data["texts"][str(row)] == texts[row]
    assert not any(attack in page for attack in ("<img src=x", "<i>", *ATTACKS))
    assert "<title>Tickets &lt;1&gt;</title>" in page
    # Nothing is fetched, sent or read from elsewhere, whatever a text could smuggle in.
    (policy,) = re.findall('Content-Security-Policy" content="(.*?)">', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for name in ("default-src", "base-uri", "form-action"):
        assert rules[name] == "'none'"
    assert rules["script-src"].startswith("'sha256-")


def test_annotators(case, tmp_path):
    texts, right, given, _ = case
    names = ["<b>ada</b>", "ben", "nobody"]
    votes = pd.DataFrame(dict(zip(names, [right, given, None], strict=True)))
    clf = DyGenClassifier(IncrementalDynamics(n_epochs=4), random_state=0)
    clf.set_params(missing_label="none")
    path = tmp_path / "report.html"
    for verified in (None, dict(enumerate(right[:80]))):
        clf.fit(texts, votes=votes, verified=verified)
        write_report(clf, path, texts, overwrite=True)
        page = path.read_text(encoding="utf-8")
        part = page.partition(">Annotators</h2>")[2].partition("</section>")[0]
        share, said = f"Wrong labels: {clf.noise_rate_:.0%}", "but that is a guess"
        if verified:
            low, high = clf.noise_rate_interval_
            said = f"between {low:.0%} and {high:.0%} in 95 % of all cases"
            assert "what the 80 verified labels prove" in page
        assert re.search(rf"{share}[^.]* {said}", page)
        rows = re.findall('<tr><th scope="row">(.*?)</th>(.*)</tr>', part)
        assert [name for name, _ in rows] == ["ben", "&lt;b&gt;ada&lt;/b&gt;"]
        worst = clf.annotator_quality().loc["ben"]
        cells = re.findall("<td.*?>(.*?)</td>", rows[0][1])
        assert cells[:2] == [str(worst.n_votes), f"{worst.accuracy:.0%}"]
        ends = [f"{worst[f'accuracy_{end}']:.0%}" for end in ("low", "high")]
        assert cells[2] == (" to ".join(ends) if verified else "")
        assert "instead of" in cells[3]


@pytest.mark.long
def test_size(tmp_path):
    """Less than 5 MB for 10,000 texts, however long and of whatever letters."""
    y = np.arange(10_000) % 4
    at = np.eye(8)[y] + np.random.RandomState(0).randn(10_000, 8)
    found = Trajectories(at[:, None, None], np.full((10_000, 1, 1, 4), 0.25))
    clf = DyGenClassifier("precomputed", UniformPrior(), TransitionMatrixDenoiser())
    n_issues = len(clf.fit(found, y).label_issues())
    assert n_issues > 5000
    path = tmp_path / "report.html"
    write_report(clf, path, ["字" * 3000] * 10_000, trajectories=found)
    assert 500_000 < path.stat().st_size < 5_000_000
    assert f"The worst 5,000 of {n_issues:,}." in path.read_text(encoding="utf-8")


def test_nearest_clean(stored):
    labels, found = Labels.of_estimator(stored), stored.trajectories_
    rows = np.flatnonzero(labels.is_issue)
    codes = labels.suggested[rows]
    nearest = _html_report.nearest_clean(found, labels, rows, codes)
    assert_array_equal(labels.given[nearest], codes)
    assert not labels.is_issue[nearest].any()
    clean = np.flatnonzero((labels.given == codes[0]) & ~labels.is_issue)
    clean = clean[labels.quality[clean] >= np.median(labels.quality[clean])]
    likeness = cosine_similarity(
        found.views["initial"][rows[:1]], found.views["initial"][clean]
    )
    assert nearest[0] == clean[likeness.argmax()]
    # Without a label that looks right there is none.
    nobody = labels._replace(is_issue=labels.given >= 0)
    assert (_html_report.nearest_clean(found, nobody, rows, codes) == -1).all()


def test_files(stored, reports, tmp_path):
    texts, report, _ = reports
    lost, path = copy(stored), tmp_path / "report.html"
    del lost.trajectories_
    path.write_text("mine")
    params = {"estimator": lost, "path": str(path), "X": texts, "overwrite": True}
    params |= {"trajectories": stored.trajectories_, "title": "Tickets <1>"}
    for message, others in (
        ("exists; pass overwrite=True", {"overwrite": False}),
        ("the folder .* does not exist", {"path": tmp_path / "no" / "report.html"}),
        ("X has 3 texts, but trajectories 240", {"X": texts[:3]}),
        ("training dynamics are missing: fit with", {"trajectories": None}),
    ):
        with pytest.raises((OSError, ValueError), match=message):
            write_report(**(params | others))
    assert path.read_text() == "mine"
    write_report(**params)
    assert path.read_bytes() == report.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    write_report(**(params | {"title": "half of \ud83d"}))
    assert r"<title>half of \ud83d</title>" in path.read_text(encoding="utf-8")


@pytest.fixture(params=[pytest.param("chromium", marks=pytest.mark.long)])
def page(request, reports):
    """The report as loaded; at the end nothing was complained of, nothing fetched."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which(request.param)
    if path is None:
        pytest.skip("there is no Chromium here; on Debian: apt install chromium")
    own = [path.as_uri() for path in reports[1:]]
    complaints, requests = [], []
    with playwright.sync_playwright() as running:
        # As root Chromium has no sandbox.
        browser = running.chromium.launch(
            executable_path=path, chromium_sandbox=os.geteuid() != 0
        )
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(own[0])
        yield page
        assert complaints == []
        assert [x for x in requests if x not in own and x[:5] != "data:"] == []
        assert page.evaluate("window.attacked") is None


def column(page, number):
    cells = page.locator(f"#table tbody tr td:nth-child({number})").all_inner_texts()
    return [int(cell) if number == 1 else cell for cell in cells]


def test_pages_and_sorting(page, stored, reports):
    """25 labels on a page, texts as they are, the pages can be turned and sorted."""
    issues = stored.label_issues()
    for row, text in zip(issues["index"], column(page, 2), strict=False):
        assert text.split() == reports[0][row].split()
    pictures = page.locator("img").all()
    for picture in pictures:
        assert picture.evaluate("p => p.complete && p.naturalWidth > 300 && p.alt")
    seen = column(page, 1)
    assert (len(pictures), len(seen)) == (4, 25)
    while page.get_by_role("button", name="next").is_enabled():
        page.get_by_role("button", name="next").click()
        seen += column(page, 1)
    assert seen == issues["index"].tolist()
    head = page.locator("th[data-key=confidence]")
    for order in ("descending", "ascending"):
        head.get_by_role("button").press("Enter")  # no mouse is needed
        assert head.get_attribute("aria-sort") == order
        values = sorted(issues["confidence"].round(3), reverse=order == "descending")
        assert column(page, 6) == [f"{value:.2f}" for value in values[:25]]


def test_filters_and_search(page, stored, reports):
    issues = stored.label_issues()
    left = issues[issues["given"] == "<i>billing</i>"]
    page.get_by_label("given", exact=True).select_option("<i>billing</i>")
    assert column(page, 1) == left["index"].tolist()
    page.get_by_label("replaced only").check()
    left = left[stored.transduction_[left["index"]] != left["given"]]
    assert column(page, 1) == left["index"].tolist()
    page.get_by_role("button", name="all", exact=True).click()
    page.get_by_text(f"{len(issues)} of {len(issues)} labels").wait_for()
    page.get_by_label("text", exact=True).fill("WINDOW.attacked script")
    found = [row for row in issues["index"] if "window.attacked" in reports[0][row]]
    assert column(page, 1) == found


def test_without_issues_or_scripts_it_says_so(page, reports):
    page.goto(reports[2].as_uri())
    assert page.get_by_role("status").inner_text() == "0 of 0 labels"
    plain = page.context.browser.new_page(java_script_enabled=False)
    plain.goto(reports[1].as_uri())
    assert plain.get_by_text("The table needs JavaScript.").is_visible()
