"""Labels that somebody has verified: what they do and prove, and which to ask for."""

import pickle
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import beta
from sklearn import config_context
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skdygen
from skdygen import DyGenClassifier, DyGenCorrector
from skdygen._targets import Targets, make_targets
from skdygen._verified import (
    accept_surest,
    draw_to_check,
    estimate_share,
    inclusion_probabilities,
)
from skdygen.datasets import make_label_noise
from skdygen.denoisers import LogLinearPool
from skdygen.dynamics import IncrementalDynamics
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    TrajectoryKNNPrior,
    UniformPrior,
    _clean_set,
)
from tests.conftest import make_word_texts

TEXTS, LABELS = make_word_texts(240, ("animal", "fruit", "tool"))
# A rule that takes half of the tools for animals, for one of their words.
TRICKED = np.array(["hammer" in text or "saw" in text for text in TEXTS])
GIVEN = np.where(TRICKED & (LABELS == "tool"), "animal", LABELS)


def make(**params):
    clf = DyGenClassifier(IncrementalDynamics(), random_state=0)
    return clf.set_params(**{"store_trajectories": True} | params)


@pytest.fixture(scope="module")
def fitted():
    """Fit one without verified labels, to be copied before it is changed."""
    return make().fit(TEXTS, GIVEN)


def fill_in(table):
    return table.assign(verified=LABELS[table["index"]])


def test_verified_labels_correct_what_labels_alone_do_not(fitted):
    assert (fitted.transduction_ == LABELS).mean() < (GIVEN == LABELS).mean() + 0.05
    clf = pickle.loads(pickle.dumps(fitted))
    shares, widths = [], []
    for _ in range(3):
        clf.refit(fill_in(clf.labels_to_check(25, random_state=0)))
        shares.append((clf.transduction_ == LABELS).mean())
        low, high = clf.noise_rate_interval_
        assert low <= clf.noise_rate_ <= high
        widths.append(high - low)
    assert shares[-1] > (GIVEN == LABELS).mean() + 0.1
    assert widths[-1] < widths[0]
    assert low <= (GIVEN != LABELS).mean() <= high
    intervals = clf.class_noise_rate_intervals_
    assert intervals.shape == (3, 2)
    for k, (low, high) in zip(clf.classes_, intervals, strict=True):
        assert low <= (k != LABELS)[k == GIVEN].mean() <= high
    assert len(clf.labels_to_check(165, random_state=0)) == 165  # 75 are verified
    with pytest.raises(ValueError, match="between 1 and 165"):
        clf.labels_to_check(166)


def test_refits_after_new_classes(fitted):
    clf = pickle.loads(pickle.dumps(fitted))
    verified = {3: "zebra", 5: "tool", 7: "alga"}
    for row, label in verified.items():
        predicted = clf.refit({row: label}).predict_proba(TEXTS)
    expected = make().fit(TEXTS, GIVEN, verified=verified)
    assert clf.classes_.tolist() == ["alga", "animal", "fruit", "tool", "zebra"]
    assert_array_equal(predicted, expected.predict_proba(TEXTS))
    assert_array_equal(expected.refit({9: "tool"}).predict(TEXTS[:1]).shape, (1,))


def test_no_interval_without_verified_labels(fitted):
    for name in ("noise_rate_interval_", "correction_guarantee_"):
        assert not hasattr(fitted, name)
    assert not fitted.accept_labels().any()


def test_all_ways_to_pass_them_are_the_same(fitted):
    rows = np.arange(0, 240, 8)
    every = pd.Series(np.where(np.isin(np.arange(240), rows), LABELS, None))
    few = pd.Series(LABELS[rows], index=rows)
    ways = {
        "frame": pd.DataFrame({"index": rows, "verified": LABELS[rows]}),
        "with blanks": pd.DataFrame({"index": range(240), "verified": every}),
        "list": every.tolist(), "array": every.to_numpy(), "Series": every,
        "nullable": every.astype("string"), "categories": every.astype("category"),
        "dict": few.to_dict(), "Series of positions": few,
    }  # fmt: skip
    expected = make().fit(TEXTS, GIVEN, verified=ways["list"])
    assert_array_equal(expected.transduction_[rows], LABELS[rows])
    for name, verified in ways.items():
        refitted = pickle.loads(pickle.dumps(fitted)).refit(verified)
        for found in (make().fit(TEXTS, GIVEN, verified=verified), refitted):
            for attribute in ("label_distributions_", "noise_rate_interval_"):
                one, other = getattr(found, attribute), getattr(expected, attribute)
                assert_array_equal(one, other, name)
            assert_array_equal(found.predict(TEXTS), expected.predict(TEXTS), name)
    twice = pickle.loads(pickle.dumps(fitted))
    twice.refit(few[:10]).refit(few[10:])
    assert_array_equal(twice.label_distributions_, expected.label_distributions_)


def test_labels_of_other_types():
    codes, given = (np.unique(y, return_inverse=True)[1] for y in (LABELS, GIVEN))
    with_nan = np.where(np.arange(240) < 30, codes, np.nan)
    expected = make().fit(TEXTS, given, verified=dict(enumerate(codes[:30].tolist())))
    for verified in (with_nan, pd.Series(with_nan).astype("Int64")):
        found = make().fit(TEXTS, given, verified=verified)
        assert found.classes_.dtype == given.dtype
        assert_array_equal(found.label_distributions_, expected.label_distributions_)
    found = make(missing_label=-1).fit(
        TEXTS, given, verified=np.where(np.arange(240) < 30, codes, -1)
    )
    assert_array_equal(found.label_distributions_, expected.label_distributions_)


def test_a_class_that_nobody_gave(fitted, tmp_path):
    rows = np.flatnonzero(["drill" in text for text in TEXTS])[:12]
    verified = dict.fromkeys(rows.tolist(), "machine")
    clf = make().fit(TEXTS, GIVEN, verified=verified)
    assert clf.classes_.tolist() == ["animal", "fruit", "machine", "tool"]
    assert set(clf.transduction_[rows]) == {"machine"}
    assert clf.predict(["drill", "old drill and pliers drill"])[0] == "machine"
    assert clf.predict_proba(TEXTS).shape == (240, 4)
    assert clf.dynamics_.classes_.tolist() == ["animal", "fruit", "tool"]
    refitted = pickle.loads(pickle.dumps(fitted)).refit(verified)
    assert_array_equal(refitted.predict_proba(TEXTS), clf.predict_proba(TEXTS))
    weighted = make(class_weight={"tool": 2.0}).fit(TEXTS, GIVEN).refit(verified)
    assert weighted.class_weight_.tolist() == [1, 1, 1, 2]
    assert weighted.predict_proba(TEXTS).shape == (240, 4)
    clf.save(tmp_path / "model.skops")
    loaded = skdygen.load(tmp_path / "model.skops")
    assert_array_equal(loaded.predict_proba(TEXTS), clf.predict_proba(TEXTS))
    table = fill_in(loaded.labels_to_check(5, random_state=0))
    assert_array_equal(
        loaded.refit(table).label_distributions_, clf.refit(table).label_distributions_
    )


@pytest.mark.parametrize(
    ("verified", "error", "message"),
    [
        ({240: "tool"}, ValueError, "label for text 240, but there are 240"),
        ({-1: "tool"}, ValueError, "text -1"),
        ({"a": "tool"}, ValueError, "text 'a'"),
        (pd.Series(["tool", "fruit"], index=[3, 3]), ValueError, "two labels.* 3"),
        (pd.DataFrame({"index": [3, 3], "verified": "tool"}), ValueError, "two labels"),
        ({5: 1}, TypeError, r"1 \(int\) in row 5, but .*'animal' \(str\)"),
        ({5: "tool", 6: 1}, TypeError, "mixes types: row 6"),
        (
            pd.DataFrame({"index": [2], "verified": "tool", "probability": 0}),
            ValueError,
            "probability 0.0 for text 2",
        ),
        ({5: "tool", 6: "\ud800"}, ValueError, "no valid Unicode in row 6"),
        (["tool"] * 9, ValueError, "verified has 9 rows, but there are 240 texts"),
        ("tool", ValueError, "verified is a str"),
    ],
)
def test_bad_verified_labels(verified, error, message, fitted, monkeypatch):
    monkeypatch.setattr(IncrementalDynamics, "_fit", None)  # before any training
    with pytest.raises(error, match=message):
        make().fit(TEXTS, GIVEN, verified=verified)
    before = fitted.label_distributions_
    with pytest.raises(error, match=message):
        fitted.refit(verified)
    assert fitted.label_distributions_ is before


IN_SAMPLE = TrajectoryKNNPrior(), ClassifierPrior(KNeighborsClassifier(1), view=-1)
OF_VERIFIED = [
    *IN_SAMPLE,
    TrajectoryKNNPrior(voting="soft", leave_one_out=True),
    ConsensusPrior(),
    ConsensusPrior([("near", IN_SAMPLE[0]), ("linear", IN_SAMPLE[1])]),
]


@pytest.mark.parametrize("prior", OF_VERIFIED, ids=repr)
def test_priors_do_not_know_what_they_are_judged_by(fitted, prior):
    """What is said of a verified text is hardly changed by what was verified of it."""
    rows = np.arange(0, 240, 8).tolist()
    right = dict(zip(rows, LABELS[rows], strict=True))
    wrong = {r: "animal" if right[r] == "tool" else "tool" for r in rows}

    def say(known):
        stage = clone(prior)
        return stage.fit_transform(fitted.trajectories_, GIVEN, verified=known).prior

    expected = say(right)
    for row in rows[:9]:
        found = say(right | {row: wrong[row]})
        assert_allclose(found[row], expected[row], atol=0.15)
    assert np.abs(say(wrong) - expected).max() > 0.1  # others learn from them


def test_priors_know_no_labels_better_than_verified_ones(fitted):
    """Else doubts about those would be no sample of all doubts."""
    verified = dict(enumerate(LABELS[:40].tolist()))
    given = np.searchsorted(fitted.classes_, GIVEN)
    for prior in IN_SAMPLE:
        stage = clone(prior).set_params(contamination=0.0)
        before = stage.fit_transform(fitted.trajectories_, GIVEN).prior
        assert (before.argmax(axis=1) == given).all()
        found = stage.fit_transform(fitted.trajectories_, GIVEN, verified=verified)
        assert (found.prior.argmax(axis=1) == given)[40:].mean() < 1


def test_neighbors_are_found_once(fitted, monkeypatch):
    """They do not depend on labels, and take most of a refit of many texts."""
    find = Mock(wraps=_clean_set.find_neighbors)
    monkeypatch.setattr(_clean_set, "find_neighbors", find)
    clf = make().fit(TEXTS, GIVEN)
    n_found = find.call_count
    clf.refit({0: LABELS[0]}).refit({1: "another class"}).refit({2: LABELS[2]})
    assert find.call_count == n_found
    assert len(clf.trajectories_[:9]._neighbors) == 0
    # They are made anew after a file, once.
    loaded = pickle.loads(pickle.dumps(fitted))
    assert not loaded.trajectories_._neighbors
    expected = loaded.refit({0: LABELS[0]}).label_distributions_
    assert find.call_count == 2 * n_found
    loaded.refit({1: LABELS[1]})
    assert find.call_count == 2 * n_found
    assert_array_equal(
        clone(fitted).fit(TEXTS, GIVEN, verified={0: LABELS[0]}).label_distributions_,
        expected,
    )


def test_refit_says_what_it_needs():
    known = {0: "tool"}
    bare = make(store_trajectories=False).fit(TEXTS, GIVEN)
    with pytest.raises(ValueError, match="store_trajectories=True"):
        bare.refit(known)
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    clf = make(final_estimator=final).fit(TEXTS, GIVEN)
    with pytest.raises(ValueError, match="needs the texts, X"):
        pickle.loads(pickle.dumps(clf)).refit(known)
    for X, message in (
        ([], "X is empty"),
        (TEXTS[:3], "X has 3 texts, but .* 240"),
        ([*TEXTS[:5], "another", *TEXTS[6:]], "X has other .*, first in row 5"),
        ([1] * 240, "X must hold strings"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            clf.refit(known, X)
    plain = pickle.loads(pickle.dumps(clf)).set_params(final_estimator=None)
    assert not hasattr(plain.refit(known), "final_estimator_")
    before = clf.final_estimator_
    assert clf.refit(known, TEXTS).final_estimator_ is not before
    other = make(prior=make_pipeline(FunctionTransformer(), UniformPrior()))
    with pytest.raises(ValueError, match="takes no verified labels"):
        other.fit(TEXTS, GIVEN).refit(known)


@pytest.mark.parametrize("stage", [LogLinearPool, LogisticRegression])
def test_a_refit_that_fails_changes_nothing(stage, monkeypatch):
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    clf = make(final_estimator=final).fit(TEXTS, GIVEN)
    before, said = dict(vars(clf)), clf.predict_proba(TEXTS)
    name = "_fit" if stage is LogLinearPool else "fit"
    monkeypatch.setattr(stage, name, Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        clf.refit({1: "another class"})
    assert before.keys() == vars(clf).keys()
    assert all(vars(clf)[name] is before[name] for name in before)
    assert_array_equal(clf.predict_proba(TEXTS), said)


def test_the_first_stage_is_taken_from_the_cache(tmp_path, monkeypatch):
    clf = make(memory=tmp_path).fit(TEXTS, GIVEN)
    monkeypatch.setattr(IncrementalDynamics, "_fit", None)
    verified = dict(enumerate(LABELS[:40].tolist())) | {50: "new"}
    found = clf.fit(TEXTS, GIVEN, verified=verified)
    assert_array_equal(found.transduction_[:40], LABELS[:40])


def test_metadata_routing_and_search():
    verified = np.where(np.arange(240) % 6 == 0, LABELS, None)
    with config_context(enable_metadata_routing=True):
        clf = make().set_fit_request(verified=True)
        grid = {"denoiser__given_weight": [1.0, 3.0]}
        search = GridSearchCV(clf, grid, cv=3).fit(TEXTS, GIVEN, verified=verified)
        assert_array_equal(search.best_estimator_.transduction_[::6], LABELS[::6])
        found = cross_val_predict(clf, TEXTS, GIVEN, params={"verified": verified})
        plain = cross_val_predict(clone(clf), TEXTS, GIVEN)
        assert (found == LABELS).mean() > (plain == LABELS).mean()
        pipeline = Pipeline([("lower", FunctionTransformer()), ("clf", clf)])
        pipeline.fit(TEXTS, GIVEN, verified=verified)
        assert_array_equal(pipeline[-1].transduction_[::6], LABELS[::6])
    corrector = DyGenCorrector(make())
    _, corrected = corrector.fit_resample(TEXTS, GIVEN, verified=verified)
    assert_array_equal(corrected[::6], LABELS[::6])


@pytest.mark.parametrize("strategy", ["auto", "random", "suspicious", "uncertain"])
def test_what_to_check(strategy, fitted):
    table = fitted.labels_to_check(30, strategy, random_state=1, X=TEXTS)
    columns = ["index", "given", "suggested", "confidence", "quality"]
    assert table.columns.tolist() == [*columns, "probability", "verified", "text"]
    assert_array_equal(table["text"], np.array(TEXTS)[table["index"]])
    assert table["index"].is_unique
    assert table["verified"].isna().all()
    assert_array_equal(table["given"], GIVEN[table["index"]])
    probability = table["probability"]
    if strategy == "auto":
        assert probability.min() >= 30 / 240 / 2 - 1e-9
        assert probability.nunique() > 5
    elif strategy == "random":
        assert_allclose(probability, 30 / 240)
    else:
        assert (probability == 1).all()
    again = fitted.labels_to_check(30, strategy, random_state=1)
    assert_array_equal(again.index, table["index"])
    assert_array_equal(again["index"], table["index"])
    if strategy == "suspicious":
        assert table["quality"].max() <= np.sort(fitted.label_quality_)[29]
    with pytest.raises(ValueError, match="strategy must be"):
        fitted.labels_to_check(3, "other")


def test_a_table_from_a_file(fitted, tmp_path):
    table = fill_in(fitted.labels_to_check(30, random_state=0))
    table.iloc[3, table.columns.get_loc("verified")] = None
    table.to_csv(tmp_path / "checked.csv", index=False)
    read = pd.read_csv(tmp_path / "checked.csv")
    one, other = (pickle.loads(pickle.dumps(fitted)).refit(t) for t in (table, read))
    assert_array_equal(one.label_distributions_, other.label_distributions_)
    assert_allclose(one.noise_rate_interval_, other.noise_rate_interval_)
    assert (one._targets.verified >= 0).sum() == 29


def test_draws_have_the_probabilities_that_are_said():
    rng = np.random.RandomState(0)
    sizes = np.array([1.0, 1, 2, 4, 30, 2])
    probabilities = inclusion_probabilities(sizes, 3)
    assert probabilities.sum() == pytest.approx(3)
    assert probabilities[4] == 1
    assert_allclose(probabilities[[0, 2, 3]] / probabilities[0], [1, 2, 4])
    counts = np.zeros(6)
    for _ in range(4000):
        rows, p = draw_to_check(sizes, 3, rng)
        assert len(set(rows)) == 3
        assert_allclose(p, probabilities[rows])
        counts[rows] += 1
    assert_allclose(counts / 4000, probabilities, atol=0.03)


@pytest.mark.parametrize("is_uneven", [False, True])
@pytest.mark.parametrize(("share", "n"), [(0.05, 20), (0.2, 50), (0.4, 20), (0.2, 200)])
def test_intervals_hold_the_share_in_93_percent_of_draws(share, n, is_uneven):
    rng = np.random.RandomState(0)
    is_wrong = rng.rand(1500) < share
    doubts = np.clip(0.3 * is_wrong + 0.7 * rng.rand(1500), 0, 1)
    sizes = 1 + is_uneven * doubts / doubts.mean()
    errors, held, naive = [], 0, []
    for _ in range(1000):
        rows, p = draw_to_check(sizes, n, rng)
        found, (low, high) = estimate_share(is_wrong[rows], rows, doubts, p)
        held += low <= is_wrong.mean() <= high
        errors.append(abs(found - is_wrong.mean()))
        if not is_uneven:
            naive.append(abs(is_wrong[rows].mean() - is_wrong.mean()))
    assert held >= 930
    if not is_uneven:
        assert np.mean(errors) < np.mean(naive) * 1.05


def test_doubts_make_an_interval_as_narrow_as_twice_the_labels_at_most():
    """As the estimate of a variance is uncertain, too."""
    rng = np.random.RandomState(0)
    is_wrong = rng.rand(100_000) < 0.3
    doubts = np.clip(is_wrong + 0.01 * rng.randn(100_000), 0, 1)  # know nearly all
    rows = rng.choice(100_000, 40, replace=False)
    drawn = np.full(40, 40 / 100_000)
    share, ends = estimate_share(is_wrong[rows], rows, doubts, drawn)
    n = 80
    low = beta.ppf(0.025, share * n, n - share * n + 1)
    high = beta.ppf(0.975, share * n + 1, n - share * n)
    assert_allclose(ends, (low, high), rtol=0.01)


def test_intervals_where_no_wrong_label_was_drawn():
    """The wrong ones are those least likely to be drawn, as where all opinions err."""
    rng = np.random.RandomState(0)
    n, n_samples, share = 50, 1000, 0.08
    is_wrong = np.arange(n_samples) < share * n_samples
    held, n_draws = 0, 1000
    for draw in range(n_draws):
        others = rng.uniform(0.5, 1.5, n_samples) if draw % 2 else 1
        spread = np.where(is_wrong, 0, others)
        rows, p = draw_to_check(1 + spread / spread.mean(), n, rng)
        targets = make_targets(np.arange(n_samples) % 2)
        table = pd.DataFrame({"index": rows, "verified": 0, "probability": p})
        targets = targets.verify(table)
        checked = targets.checked
        p = targets.probabilities[checked]
        doubts = np.full(n_samples, 0.5)
        _, (low, high) = estimate_share(
            is_wrong[checked], checked, doubts, p, worth=targets.worth
        )
        held += low <= share <= high
    assert held / n_draws >= 0.93


@pytest.mark.parametrize("is_filled_in", [True, False])
def test_all_are_as_likely_but_for_what_is_taken_in_any_case(is_filled_in):
    """Where two texts alone differ, it takes no more labels than at random."""
    n, n_samples = 70, 1000
    spread = np.zeros(n_samples)
    spread[:2] = 1.0
    rows, p = draw_to_check(1 + spread / spread.mean(), n, np.random.RandomState(0))
    assert (p == 1).sum() == 2
    given = np.arange(n_samples) % 2
    labels = given[rows].astype(object)
    labels[5] = given[rows[5]] if is_filled_in else None  # passed over
    table = pd.DataFrame({"index": rows, "verified": labels, "probability": p})
    targets = make_targets(given, verified=table)
    assert targets.worth == 1.0
    checked = targets.checked
    none_wrong, p = np.zeros(len(checked), bool), targets.probabilities[checked]
    accepted, _ = accept_surest(
        np.zeros(n_samples), checked, none_wrong, p, 0.05, 0.05, targets.worth
    )
    assert accepted.all()
    # Of half of them nothing is known: what was not drawn can be less likely.
    targets = make_targets(given, verified=table[:40])
    assert targets.worth <= 0.5


def test_what_is_chosen_after_a_draw_is_no_part_of_it():
    rng = np.random.RandomState(0)
    n_samples, share = 400, 0.25
    is_wrong = rng.permutation(n_samples) < share * n_samples
    right = is_wrong.astype(int) ^ 1  # all are given a 1
    given = np.ones(n_samples, dtype=int)
    start = Targets.unverified(np.array([0, 1]), given, given.astype(float))
    suspicious = np.argsort(~is_wrong, kind="stable")
    held, n_draws = {"before": 0, "after": 0}, 500
    for _ in range(n_draws):
        for order in held:
            targets, left = start, np.arange(n_samples)
            for draw in ("draw", "choice") if order == "after" else ("choice", "draw"):
                if draw == "draw":
                    rows = rng.choice(left, 100, replace=False)
                    p = 100 / len(left)
                else:
                    rows, p = suspicious[np.isin(suspicious, left)][:50], 1.0
                left = np.setdiff1d(left, rows)
                table = {"index": rows, "verified": right[rows], "probability": p}
                targets = targets.verify(pd.DataFrame(table))
            checked = targets.checked
            _, (low, high) = estimate_share(
                is_wrong[checked], checked, np.full(n_samples, 0.5),
                targets.probabilities[checked], worth=targets.worth,
            )  # fmt: skip
            held[order] += low <= share <= high
            assert low >= is_wrong[checked].mean() * len(checked) / n_samples
    assert min(held.values()) / n_draws >= 0.93


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_few_labels_of_one_class_are_not_taken_for_its_share(fitted, n):
    """Somebody enters mistakes that were seen by the way, all of the same kind."""
    rows = np.flatnonzero(TRICKED & (LABELS == "tool"))[:n]
    clf = pickle.loads(pickle.dumps(fitted)).refit(dict.fromkeys(rows, "tool"))
    assert (clf.transduction_ == "tool").sum() < 100  # of 80 that are
    right = (clf.transduction_ == LABELS).mean()
    assert right > (fitted.transduction_ == LABELS).mean() + 0.1


def test_cells_left_empty_are_no_class(fitted):
    """However a table is read: as "", as blanks, or as null."""
    table = fill_in(fitted.labels_to_check(60, random_state=0)).astype(object)
    found = []
    for empty in (None, "", "  "):
        table.loc[table.index[:20], "verified"] = empty
        clf = pickle.loads(pickle.dumps(fitted)).refit(table)
        assert_array_equal(clf.classes_, fitted.classes_)
        found.append(clf.label_distributions_)
        assert len(clf._targets.checked) == 40
    assert_array_equal(found[1], found[0])
    assert_array_equal(found[2], found[0])
    clf = pickle.loads(pickle.dumps(fitted))
    with pytest.warns(UserWarning, match="nothing is verified that was not before"):
        clf.refit(table.assign(verified=""))
    # One that is given is a class.
    y = np.where(np.arange(240) % 3 == 0, "", GIVEN)
    with pytest.warns(UserWarning, match="'' is a class of 80 labels"):
        targets = make_targets(y, verified={0: "", 1: "tool"})
    assert len(targets.checked) == 2


def test_rows_in_another_order_than_the_texts_are_refused():
    """Those of labels and weights, and of a table that lost its texts."""
    index = np.random.RandomState(0).permutation(240)
    X, y = pd.Series(TEXTS, index=index), pd.Series(GIVEN, index=index)
    weights = pd.Series(1.0, index=index)
    for name, params in (
        ("y", {"y": y.sort_index()}),
        ("sample_weight", {"sample_weight": weights.sort_index()}),
    ):
        with pytest.raises(ValueError, match=f"^{name} has the index of X in another"):
            make().fit(X, **({"y": y} | params))
    clf = make().fit(X, y, sample_weight=weights)
    table = clf.labels_to_check(40, random_state=0).drop(columns="text")
    table["verified"] = LABELS[table["index"]]
    for other in (X.sort_index(), X[::-1]):
        with pytest.raises(ValueError, match=r"verified has the position .* but X has"):
            make().fit(other, y[other.index], verified=table)
    clf.refit(table)
    fresh = make().fit(X, y, verified=table.reset_index(drop=True))
    assert_array_equal(fresh.transduction_ == LABELS, clf.transduction_ == LABELS)


def test_all_labels_verified(fitted):
    clf = pickle.loads(pickle.dumps(fitted)).refit(LABELS)
    with pytest.raises(ValueError, match="every text has a verified label"):
        clf.labels_to_check(5)


@pytest.fixture(scope="module")
def half_blind():
    """Texts half of which say nothing of their class, and labels of which 20 % err."""
    texts, right = make_word_texts(400, ["animal", "fruit"])
    rng = np.random.RandomState(0)
    for row in range(0, 400, 2):
        texts[row] = " ".join(rng.choice(["old", "new", "one", "with", "two"], 6))
    given = make_label_noise(right, "symmetric", 0.2, random_state=0)
    return right, make().fit(texts, given)


def test_what_a_classifier_proves_holds(half_blind):
    """Labels are judged without the verified label of each, or nothing would be."""
    right, fitted = half_blind
    given = fitted.classes_[fitted._targets.codes]
    broken, held, n_draws = 0, 0, 25
    for draw in range(n_draws):
        table = fitted.labels_to_check(80, "random", random_state=draw)
        table["verified"] = right[table["index"]]
        clf = pickle.loads(pickle.dumps(fitted)).refit(table)
        unread = np.setdiff1d(np.flatnonzero(clf.accept_labels(0.05, 0.9)), table.index)
        broken += (clf.transduction_ != right)[unread].sum() > 0.05 * len(right)
        low, high = clf.noise_rate_interval_
        held += low <= (given != right).mean() <= high
    assert broken <= 5
    assert held >= 22


def test_what_is_said_with_a_verified_label_proves_nothing(fitted):
    table = fill_in(fitted.labels_to_check(60, random_state=0))
    clf = pickle.loads(pickle.dumps(fitted)).refit(table)
    accepted, interval = clf.accept_labels(0.1), clf.noise_rate_interval_
    clf.denoiser_.label_distributions_[table["index"]] = 1 / 3
    clf._prove(clf._targets)
    assert_array_equal(clf.noise_rate_interval_, interval)
    assert_array_equal(clf.accept_labels(0.1), accepted)


def test_a_draw_of_unequal_chances_proves_less(fitted):
    """Where nothing wrong is found, that can be where labels are least often drawn."""
    highs, n = {}, 100
    for strategy, worth in (("random", 1.0), ("auto", 0.5)):
        table = fitted.labels_to_check(n, strategy, random_state=0)
        table["verified"] = table["given"]
        found = pickle.loads(pickle.dumps(fitted)).refit(table)
        assert found._targets.worth == worth
        highs[strategy] = found.noise_rate_interval_[1]
        assert (found.accept_labels().sum() > n) == (worth * n >= 59)
    assert highs["auto"] > 1.5 * highs["random"]


def test_a_list_of_draws_is_one_draw_after_the_other(fitted):
    clf, draws = pickle.loads(pickle.dumps(fitted)), []
    for seed, strategy in enumerate(("auto", "random", "suspicious")):
        table = clf.labels_to_check(40, strategy, random_state=seed)
        draws.append(fill_in(table))
        if seed == 1:
            draws[-1].loc[draws[-1].index[3], "verified"] = None  # passed over
        clf.refit(draws[-1])
    at_once = pickle.loads(pickle.dumps(fitted)).refit(draws)
    assert_array_equal(at_once.label_distributions_, clf.label_distributions_)
    assert_array_equal(at_once.noise_rate_interval_, clf.noise_rate_interval_)
    assert at_once.correction_guarantee_ == clf.correction_guarantee_
    found = make_targets(GIVEN, verified=draws)
    assert_array_equal(found.verified, clf._targets.verified)
    assert_array_equal(found.probabilities, clf._targets.probabilities)


def test_errors_of_a_list_of_draws(fitted):
    table = fill_in(fitted.labels_to_check(5, random_state=0))
    with pytest.raises(ValueError, match=r"has a label for text 240, but there are"):
        fitted.refit([table, {240: LABELS[0]}])
    moved = table.assign(index=np.roll(table["index"], 1))
    with pytest.raises(ValueError, match="pass it with the texts it was made of"):
        fitted.refit([table, moved])
    assert not hasattr(fitted, "noise_rate_interval_")


def test_what_is_known_of_all_is_no_estimate(fitted):
    n_wrong = (GIVEN != LABELS).sum()
    for rounds in ((120, 120), (100, 100, 40), (239,)):
        clf = pickle.loads(pickle.dumps(fitted))
        for draw, n in enumerate(rounds):
            clf.refit(fill_in(clf.labels_to_check(n, random_state=draw)))
        n_unread = 240 - sum(rounds)
        low, high = clf.noise_rate_interval_ * 240
        assert low >= n_wrong - n_unread - 1e-9
        assert high <= n_wrong + n_unread + 1e-9
        if not n_unread:
            assert_allclose(clf.noise_rate_interval_, clf.noise_rate_)
            widths = np.diff(clf.class_noise_rate_intervals_, axis=1)
            assert_allclose(widths, 0, atol=1e-9)
    clf = pickle.loads(pickle.dumps(fitted))
    clf.refit(fill_in(clf.labels_to_check(239, "suspicious")))
    low, high = clf.noise_rate_interval_
    assert low <= clf.noise_rate_ <= high


def test_draws_of_unequal_size_count_by_their_size(fitted):
    """Twenty and then a hundred give about what a hundred and twenty give."""
    widths = []
    for sizes in ([120], [20, 100], [60, 60]):
        clf = pickle.loads(pickle.dumps(fitted))
        for draw, n in enumerate(sizes):
            clf.refit(fill_in(clf.labels_to_check(n, random_state=draw)))
        widths.append(np.diff(clf.noise_rate_interval_)[0])
        drawn = clf._targets.probabilities[clf._targets.verified >= 0]
        assert (1 / drawn).sum() == pytest.approx(240, rel=0.3)
    assert max(widths) < 1.5 * min(widths)
    unsaid = pickle.loads(pickle.dumps(fitted)).refit({3: "tool", 4: "fruit"})
    assert_allclose(unsaid._targets.probabilities[[3, 4]], 2 / 240)


def test_shares_at_the_ends():
    doubts = np.full(100, 0.3)
    rows = np.arange(20)
    known = np.full(20, 0.2)
    none, (low, high) = estimate_share(np.zeros(20, bool), rows, doubts, known)
    assert none == low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 20), abs=1e-6)  # Clopper-Pearson
    every, (low, high) = estimate_share(np.ones(20, bool), rows, doubts, known)
    assert every == high == 1
    # Rows that are taken in any case say nothing of the others.
    taken = estimate_share(np.ones(20, bool), rows, doubts, np.ones(20))
    assert np.isnan(taken[0])
    assert_allclose(taken[1], (0.2, 1.0))
    whole = estimate_share(np.arange(100) < 30, np.arange(100), doubts, np.ones(100))
    assert whole == (0.3, (0.3, 0.3))


@pytest.mark.parametrize("is_uneven", [False, True])
def test_accepted_labels_hold_what_is_promised(is_uneven):
    rng = np.random.RandomState(0)
    doubts = rng.rand(2000)
    is_wrong = rng.rand(2000) < 0.6 * doubts**2
    sizes = 1 + is_uneven * doubts / doubts.mean()
    broken, accepted_share = 0, []
    for _ in range(500):
        rows, p = draw_to_check(sizes, 100, rng)
        accepted, n_more = accept_surest(doubts, rows, is_wrong[rows], p, 0.1, 0.1)
        rest = np.setdiff1d(np.flatnonzero(accepted), rows)
        broken += is_wrong[rest].sum() > 0.1 * 2000
        accepted_share.append(accepted.mean())
        assert (n_more == 0) == bool(accepted[doubts <= np.median(doubts)].all())
    assert broken <= 0.1 * 500
    assert np.mean(accepted_share) > 0.3


def test_how_many_it_takes_to_promise_anything():
    doubts = np.linspace(0, 1, 1000)
    for n, promises in ((58, False), (59, True)):
        rows = np.arange(n) * 16
        found, n_more = accept_surest(
            doubts, rows, np.zeros(n, bool), np.full(n, n / 1000), 0.05, 0.05
        )
        assert found.all() if promises else not found.any()
        assert n_more <= (0 if promises else 5)


def test_guarantee_of_a_classifier(fitted):
    clf = pickle.loads(pickle.dumps(fitted))
    clf.refit(fill_in(clf.labels_to_check(120, "random", random_state=0)))
    accepted = clf.accept_labels(max_error=0.1)
    assert accepted[clf._targets.verified >= 0].all()
    assert accepted.sum() > 120
    assert (clf.transduction_[accepted] != LABELS[accepted]).sum() <= 0.1 * 240
    assert clf.accept_labels(0.01).sum() == 120
    guarantee = clf.correction_guarantee_
    assert (guarantee["max_error"], guarantee["confidence"]) == (0.05, 0.95)
    assert guarantee["n_accepted"] == clf.accept_labels().sum() - 120
    assert guarantee["n_more"] <= 120
    for wrong in ({"max_error": 0}, {"confidence": 1.0}):
        with pytest.raises(ValueError, match="must be between 0 and 1"):
            clf.accept_labels(**wrong)
