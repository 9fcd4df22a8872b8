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
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdygen import DyGenClassifier, Trajectories
from skdygen._cli import _fit, main
from skdygen.datasets import make_label_noise, make_texts
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
    to_check = stored.labels_to_check(50, random_state=0)["index"].tolist()
    texts[to_check[1]] = "A long one.\n" + ", ".join(map(str, range(300)))
    folder = tmp_path_factory.mktemp("reports")
    params = {"title": "Tickets <1>", "ids": [f"{ATTACKS[1]}{i}" for i in range(240)]}
    columns = {"who": [*ATTACKS, None] * 60, "<i>": range(240)}
    params |= {"columns": pd.DataFrame(columns), "first_row": 2}
    write_report(stored, folder / "report.html", texts, **params)
    write_report(sure, folder / "calm.html", texts, n_to_check=0)
    return texts, folder / "report.html", folder / "calm.html"


@pytest.fixture
def without_pictures(monkeypatch):
    """Have none drawn, which takes most of the time."""
    monkeypatch.setattr(_html_report, "_draw", lambda *_: [])


def data_in(page):
    """Read what the script of a report reads."""
    return json.loads(re.findall('<script .* id="data">(.*?)</script>', page)[0])


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
    data = data_in(page)
    drawn = clf.labels_to_check(50, random_state=0).set_index("index")
    assert data["toCheck"] == drawn.index.tolist()
    all_rows = pd.DataFrame(data["rows"])
    found = all_rows.set_index("index").loc[drawn.index]
    assert_array_equal(found["probability"], drawn["probability"])
    assert_array_equal(found["given"].isna(), given[drawn.index] == "none")
    rows = all_rows[: len(issues)]
    columns = ["index", "given", "suggested"]
    assert rows[columns].equals(issues[columns].reset_index(drop=True))
    assert_array_equal(rows["replaced"], replaced)
    places = all_rows[["index", "near_given", "near_suggested"]].to_numpy()
    assert (places[:, :1] != places[:, 1:]).all()
    for row in places[places >= 0]:
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
    page = path.read_text(encoding="utf-8")
    assert f"the worst 5,000 of {n_issues:,}" in page
    # Those to be read first are whole.
    data = data_in(page)
    is_cut = pd.DataFrame(data["rows"]).set_index("index")["cut"].notna()
    assert 0 < is_cut.mean() < 1
    assert not is_cut[data["toCheck"]].any()
    cut, whole = is_cut.idxmax(), data["toCheck"][0]
    assert (len(data["texts"][str(whole)]), data["texts"][str(cut)][-1]) == (3000, "…")


@pytest.mark.usefixtures("without_pictures")
def test_texts_that_have_other_labels_elsewhere(case, stored, tmp_path):
    """The same words, or nearly, with another label."""
    texts, path = [*case[0]], tmp_path / "report.html"
    issues = stored.label_issues().reset_index(drop=True)
    write_report(stored, path, texts)
    before = data_in(path.read_text())["rows"]
    first, near = before[0]["index"], before[0]["near_suggested"]
    long = "one two three four five six seven eight nine ten eleven"
    texts[first], texts[near] = f"{long} twelve", f"{long.upper()} 12!"
    others = issues[~issues["index"].isin([first, near])].reset_index(drop=True)
    second = others["index"][0]
    same = others["index"][others["given"] != others["given"][0]][:3].tolist()
    for i in (second, *same):
        texts[i] = "Same words" if i == second else f" same, WORDS ({'!' * i})"
    write_report(stored, path, texts, overwrite=True)
    rows = data_in(path.read_text())["rows"]
    found, known = (
        {r["index"] for r in some if "alike" in r} for some in (rows, before)
    )
    assert found - known == {first}
    counts = issues.set_index("index")["given"][same].value_counts()
    expected = {f"{name} ({n})" for name, n in counts.items()}
    assert {*rows[1]["elsewhere"].split(", ")} == expected
    assert {r["index"] for r in rows if "elsewhere" in r} == {second, *same}


@pytest.mark.usefixtures("without_pictures")
def test_verified_labels_are_not_asked_for_again(case, stored, tmp_path):
    clf, path = copy(stored), tmp_path / "report.html"
    row = clf.label_issues()["index"].iloc[0]
    known = case[2][case[2] != "none"][0]
    clf.refit({row: known})
    write_report(clf, path, case[0], n_to_check=240)
    data = data_in(path.read_text())
    assert {*data["toCheck"]} == {*range(240)} - {row}
    assert [r["verified"] for r in data["rows"] if r["index"] == row] in ([known], [])


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
    # No text is its own neighbour, and one without a label has none.
    itself = _html_report.nearest_clean(found, labels, clean, labels.given[clean])
    assert (itself != clean).all()
    assert np.isin(itself, clean).all()
    none = _html_report.nearest_clean(found, labels, rows[:1], np.array([-1]))
    assert none.tolist() == [-1]
    # Without a label that looks right there is none.
    nobody = labels._replace(is_issue=labels.given >= 0)
    assert (_html_report.nearest_clean(found, nobody, rows, codes) == -1).all()


@pytest.mark.usefixtures("without_pictures")
def test_files(case, stored, reports, tmp_path):
    texts = reports[0]
    lost, path = copy(stored), tmp_path / "report.html"
    del lost.trajectories_
    path.write_text("mine")
    params = {"estimator": lost, "path": str(path), "X": texts, "overwrite": True}
    params |= {"trajectories": stored.trajectories_, "n_to_check": 3}
    for message, others in (
        ("exists; pass overwrite=True", {"overwrite": False}),
        ("the folder .* does not exist", {"path": tmp_path / "no" / "report.html"}),
        ("X has 3 texts, but the classifier was fitted on 240", {"X": texts[:3]}),
        ("first in row 0; pass", {"estimator": case[-1], "X": case[0][::-1]}),
        ("training dynamics are missing: fit with", {"trajectories": None}),
        ("'n_to_check' parameter .* Got -1", {"n_to_check": -1}),
        ("'columns' parameter", {"columns": {"a": [1] * 240}}),
        ("'first_row' parameter", {"first_row": "2"}),
        ("ids has 3 rows, but X 240 texts", {"ids": range(3)}),
        ("columns has 1 rows, but X 240 texts", {"columns": pd.DataFrame({"a": [1]})}),
        (r"ids has shape \(240, 1\), but must", {"ids": np.zeros((240, 1))}),
        ("is no file; choose another path", {"path": tmp_path}),
    ):
        with pytest.raises((OSError, ValueError), match=message):
            write_report(**(params | others))
    assert path.read_text() == "mine"
    write_report(**params)
    first = path.read_bytes()
    write_report(**params)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    write_report(**(params | {"title": "half of \ud83d"}))
    assert r"<title>half of \ud83d</title>" in path.read_text(encoding="utf-8")


def test_rows_in_another_order_are_refused(tmp_path, without_pictures):
    """What is shown with each text, and the texts, of a first stage of any kind."""
    texts, labels = make_texts(120, random_state=0)
    texts = pd.Series(texts, index=np.arange(120) * 2)
    other = texts[::-1]
    for dynamics in (
        IncrementalDynamics(n_epochs=2),
        make_pipeline(FunctionTransformer(), IncrementalDynamics(n_epochs=2)),
    ):
        clf = DyGenClassifier(dynamics, random_state=0).fit(texts, labels)
        path = tmp_path / "report.html"
        for params, match in (
            ({"ids": other}, "ids has the index of X in another order"),
            ({"columns": other.to_frame()}, "columns has the index of X in another"),
            ({"X": other}, "X has other texts than the classifier was fitted on"),
        ):
            with pytest.raises(ValueError, match=match):
                write_report(clf, path, **({"X": texts} | params))
        assert not path.exists()
        write_report(clf, path, texts, ids=texts, columns=texts.to_frame())
        path.unlink()


def test_a_long_text_does_not_cut_others(case, stored, tmp_path, without_pictures):
    texts = [text + " more" * 100 for text in case[0]]
    first = stored.labels_to_check(50, random_state=0)["index"].iloc[0]
    texts[first] = "long " * 1_000_000
    write_report(stored, tmp_path / "report.html", texts)
    found = data_in((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [row["index"] for row in found["rows"] if row.get("cut")] == [first]
    assert all(found["texts"][str(k)] == texts[k] for k in found["toCheck"][1:])


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
        page.set_default_timeout(5000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(own[0])
        yield page
        assert complaints == []
        expected = re.compile(r"(file:.*/(report|calm)\.html|data:.*|blob:.*)")
        assert [x for x in requests if not expected.fullmatch(x)] == []
        assert page.evaluate("window.attacked") is None


def column(page, name):
    """Read the cells of a column; the numbers of rows, 2 being the first, as index."""
    cells = page.locator(f"#table tbody [data-fill={name}]").all_inner_texts()
    return [int(cell) - 2 if name == "number" else cell for cell in cells]


def press(page, keys):
    for key in keys:
        page.keyboard.press(key)


def download(page, path):
    """Download decisions as whoever reads does, and read them."""
    with page.expect_download() as found:
        page.get_by_role("button", name="download decisions").click()
    assert found.value.suggested_filename == "decisions.csv"
    found.value.save_as(path)
    return pd.read_csv(path)


def test_pages_and_sorting(page, stored, reports):
    """25 labels on a page, texts as they are, the pages can be turned and sorted."""
    issues = stored.label_issues()
    page.get_by_role("button", name="most suspicious").click()
    for row, text in zip(issues["index"], column(page, "text"), strict=False):
        assert text.split() == reports[0][row].split()
    pictures = page.locator("img").all()
    for picture in pictures:
        assert picture.evaluate("p => p.complete && p.naturalWidth > 300 && p.alt")
    seen = column(page, "number")
    assert (len(pictures), len(seen)) == (4, 25)
    box = page.locator("#issues .scroll")
    while page.get_by_role("button", name="next").is_enabled():
        assert box.evaluate("box => { box.scrollTop = 300; return box.scrollTop }")
        page.get_by_role("button", name="next").click()
        assert box.evaluate("box => box.scrollTop") == 0  # pages begin at their top
        seen += column(page, "number")
    assert seen == issues["index"].tolist()
    head = page.locator("th[data-key=confidence]")
    for order in ("descending", "ascending"):
        head.get_by_role("button").press("Enter")  # no mouse is needed
        assert head.get_attribute("aria-sort") == order
        values = sorted(issues["confidence"].round(3), reverse=order == "descending")
        assert column(page, "confidence") == [f"{value:.2f}" for value in values[:25]]


def test_filters_and_search(page, stored, reports):
    issues = stored.label_issues()
    page.get_by_role("button", name="most suspicious").click()
    left = issues[issues["given"] == "<i>billing</i>"]
    page.get_by_label("given", exact=True).select_option("<i>billing</i>")
    assert column(page, "number") == left["index"].tolist()
    page.get_by_label("replaced only").check()
    left = left[stored.transduction_[left["index"]] != left["given"]]
    assert column(page, "number") == left["index"].tolist()
    page.get_by_role("button", name="all", exact=True).click()
    page.get_by_text(f"{len(issues)} of {len(issues)} labels").wait_for()
    page.get_by_label("text", exact=True).fill("WINDOW.attacked script")
    who = [*ATTACKS, None] * 60  # a column that is shown
    said = [f"{reports[0][row]} {ATTACKS[1]} {who[row]}" for row in issues["index"]]
    assert all("window.attacked" in text for text in said)
    assert column(page, "number") == issues["index"].tolist()[:25]
    page.get_by_label("text", exact=True).fill("{{ 7")
    found = [r for r, t in zip(issues["index"], said, strict=True) if "{{ 7" in t]
    assert column(page, "number") == found[:25]


def test_no_label_is_passed_over_by_deciding(page, stored, reports):
    """Those decided on are "not yet checked" no more; the next page begins behind."""
    page.get_by_role("button", name="most suspicious").click()
    page.get_by_label("not yet checked").check()
    seen = column(page, "number")
    page.locator("#table tbody tr").first.focus()
    press(page, "dj" * (len(seen) - 1) + "d")
    page.get_by_role("button", name="next").click()
    seen += column(page, "number")
    assert seen == stored.label_issues()["index"].tolist()[: len(seen)]
    page.get_by_label("not yet checked").uncheck()
    page.get_by_label("not yet checked").check()
    assert column(page, "number")[0] == seen[25]


def test_without_issues_or_scripts_it_says_so(page, reports):
    page.goto(reports[2].as_uri())
    assert page.locator("#progress").inner_text() == "0 of 0 checked"
    assert page.get_by_role("status").inner_text() == "0 of 0 labels"
    plain = page.context.browser.new_page(java_script_enabled=False)
    plain.goto(reports[1].as_uri())
    assert plain.get_by_text("The table needs JavaScript.").is_visible()


def test_decisions_by_keyboard(page, case, stored, reports, tmp_path):
    """Made, undone, noted, kept by the browser, downloaded and taken by a refit."""
    drawn = stored.labels_to_check(50, random_state=0)
    assert column(page, "number") == drawn["index"].tolist()[:25]
    own, classes = drawn["given"].mode()[0], stored.classes_.tolist()
    page.get_by_label("given", exact=True).select_option(own)
    drawn = drawn[drawn["given"] == own][:5]
    index = drawn["index"].tolist()
    assert column(page, "number")[:5] == index
    press(page, "ajdj2jsj4")
    page.get_by_text("5 of 50 checked").wait_for()
    press(page, "uukjjdn")  # the last two are undecided again
    page.keyboard.type(f'{ATTACKS[0]}, "said\u20ac"')
    page.keyboard.press("Escape")
    press(page, "ks")
    page.get_by_text("5 of 50 checked").wait_for()
    page.reload()
    page.get_by_text("5 of 50 checked").wait_for()
    assert {*column(page, "given")} == {own}
    page.get_by_role("button", name="all", exact=True).click()
    found = download(page, tmp_path / "a.csv").set_index("row").loc[index]
    expected = [drawn["suggested"].iloc[0], own, classes[1], None, own]
    assert found["verified"].replace({np.nan: None}).tolist() == expected
    assert_array_equal(found["probability"], drawn["probability"])
    assert_array_equal(found["given"], own)
    assert_array_equal(found["id"], [f"{ATTACKS[1]}{row}" for row in index])
    assert found["text"].str.split().tolist() == [reports[0][i].split() for i in index]
    assert found["note"].iloc[-1] == f'{ATTACKS[0]}, "said\u20ac"'
    clf = copy(stored).refit(found.reset_index(names="index"))
    for row, label in zip(index, expected, strict=True):
        assert label is None or clf.transduction_[row] == label
    press(page, "uuuuuuuuuu")
    page.get_by_text(re.compile(r"\D0 of 50 checked$")).wait_for()


def test_decisions_by_mouse(page, stored, tmp_path):
    """Of the most suspicious: what was drawn among those that are read is no draw."""
    page.get_by_role("button", name="most suspicious").click()
    drawn = stored.labels_to_check(50, random_state=0).set_index("index")
    shown = column(page, "number")

    def decide(row, act):
        group = page.get_by_role("group", name=f"of row {row + 2}", exact=False)
        group.get_by_role("button", name=act).click()
        return group

    def check(found):
        """Check that who stands among those who were read stands for the others."""
        extra = [i for i, row in enumerate(shown) if {row} & {*found.index} - own]
        depth = extra[-1] + 1
        expected = pd.Series(drawn["probability"]).reindex(found.index, fill_value=1)
        among = [row for row in shown[:depth] if row in own and row in found.index]
        expected[among] *= depth / max(depth - len(extra), 1)
        assert_allclose(found["probability"], expected.clip(upper=1))
        return len(among), len(extra)

    own = {*drawn.index}
    for row in shown:
        group = decide(row, "accept")
    page.get_by_role("button", name="undo").click()
    group.get_by_label("another class").select_option(stored.classes_[0])
    page.get_by_role("button", name="to check first").click()
    below = next(row for row in column(page, "number") if row not in shown)
    decide(below, "skip")
    found = download(page, tmp_path / "a.csv").set_index("row")
    assert {*found.index} == {*shown, below}
    assert found["verified"][shown[-1]] == stored.classes_[0]
    assert found["probability"][below] == drawn["probability"][below] < 1
    n_among, n_extra = check(found)
    assert n_among > 0
    n_drawn = len({*found.index} & own)
    said = f"{n_drawn} of 50 checked, and {n_extra} others; noise so far"
    assert said in page.locator("#progress").inner_text()
    # Where only some are read.
    page.evaluate("localStorage.clear()")
    page.reload()
    page.get_by_role("button", name="most suspicious").click()
    for row in [row for row in shown if row in own or row % 2]:
        decide(row, "keep")
    n_among, n_extra = check(download(page, tmp_path / "b.csv").set_index("row"))
    assert min(n_among, n_extra) > 0


def test_noise_so_far(page, stored):
    """Wilson's interval, for as many draws of equal weights as say as much."""
    drawn = stored.labels_to_check(50, random_state=0)[:12]
    press(page, "j".join("adadadadadad"))
    drawn["verified"] = np.where(np.arange(12) % 2, drawn["given"], drawn["suggested"])
    drawn = drawn[drawn["given"].notna() & (drawn["probability"] < 1)]
    weights = 1 / drawn["probability"]
    share = np.average(drawn["verified"] != drawn["given"], weights=weights)
    n, z = weights.sum() ** 2 / (weights**2).sum(), 1.96
    ends = np.roots([1 + z**2 / n, -2 * share - z**2 / n, share**2])
    low, high = sorted(100 * ends)
    said = page.locator("#progress").inner_text()
    assert said.endswith(f"noise so far {low:.0f} % to {high:.0f} %")


def test_whole_text_help_and_keys(page, reports):
    button = page.locator("[data-act=whole]")
    assert button.all_inner_texts() == ["whole text"]
    line = page.locator("tr", has=button)
    assert "299" not in line.inner_text()
    button.click()
    assert ", 298, 299" in line.inner_text()
    press(page, "?")
    assert page.get_by_label("take these keys").is_visible()
    page.get_by_label("take these keys").uncheck()
    press(page, ["Tab", "a"])
    assert page.locator("#progress").inner_text() == "0 of 50 checked"
    # What is typed is no command.
    page.get_by_label("take these keys").check()
    page.get_by_label("text", exact=True).press_sequentially("add")
    assert page.locator("#progress").inner_text() == "0 of 50 checked"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_and_dark(page, scheme):
    """No page is wider than its window, and texts can be read in the dark."""
    page.emulate_media(color_scheme=scheme)
    for width in (1300, 1100, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        is_scrolled = "e => e.scrollWidth > e.clientWidth"
        assert not page.locator(".scroll", has=page.locator("#table")).evaluate(
            is_scrolled
        )
    colors = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.body).color]"
    )
    back, ink = (sum(map(int, re.findall(r"\d+", color))) for color in colors)
    assert (
        (back > 600 and ink < 150) if scheme == "light" else (back < 150 and ink > 600)
    )


def test_without_storage(page, reports, tmp_path):
    """Decisions last as long as the page where a browser keeps nothing."""
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw Error('no'); }})"
    )
    page.goto(reports[1].as_uri())
    press(page, "1")
    page.get_by_text("1 of 50 checked").wait_for()
    assert len(download(page, tmp_path / "a.csv")) == 1


@pytest.mark.usefixtures("without_pictures")
def test_from_a_table_to_decisions_and_back(page, tmp_path, monkeypatch):
    """With the commands: the report, what is decided there, and what comes of it."""
    texts, right = make_texts(120, random_state=0)
    right = np.where(right == "account", "3", right)
    given = make_label_noise(right, "symmetric", 0.3, random_state=0)
    frame = pd.DataFrame({"key": [f"00{i}" for i in range(120)], "text": texts})
    frame.loc[::10, "text"] = ""
    table, out = tmp_path / "a.csv", tmp_path / "decisions.csv"
    frame.assign(label=given).to_csv(table, index=False)

    def make(options):
        stages = IncrementalDynamics(n_epochs=4), UniformPrior()
        clf = DyGenClassifier(*stages, TransitionMatrixDenoiser(), random_state=0)
        return clf.set_params(missing_label=np.nan, memory=options.cache)

    monkeypatch.setattr(_fit, "make_classifier", make)
    report = tmp_path / "report.html"
    command = ["clean", table, "--report", report, "--id", "key", "--show", "te*"]
    command += ["--cache", tmp_path / "cache", "--quiet"]
    assert main([*map(str, command)]) == 0
    page.goto(report.as_uri())
    assert column(page, "id") == [f"00{row}" for row in column(page, "number")]
    assert page.locator("dt").first.inner_text() == "text"
    assert page.title() == "Label report: a.csv"
    keys = page.locator("#classes").text_content()
    assert keys.startswith("3: 3, 1: billing, 2: delivery, 4: product, ")
    are_blank = [row % 10 == 0 for row in column(page, "number")]
    assert [text == "(no text)" for text in column(page, "text")] == are_blank
    assert any(are_blank)
    rows = column(page, "number")[:6]
    press(page, "j".join("ad123s"))
    download(page, out)
    monkeypatch.setattr(IncrementalDynamics, "_fit_targets", None)  # it is kept
    assert main([*map(str, command), "--verified", str(out), "--force"]) == 0
    cleaned = pd.read_csv(tmp_path / "a.cleaned.csv")
    assert cleaned["label_corrected"][rows[1]] == given[rows[1]]
    # A class that is a digit has this key, and the others have those that are left.
    chosen = cleaned["label_corrected"][rows[2:5]].tolist()
    assert chosen == ["billing", "delivery", "3"]
    assert rows[0] not in data_in(report.read_text())["toCheck"]
    assert rows[5] in pd.read_csv(out)["row"].tolist()
