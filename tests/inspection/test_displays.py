"""The pictures show what they say they show."""

import warnings
from copy import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score, confusion_matrix
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdygen import DyGenClassifier, Trajectories
from skdygen import inspection as shown
from skdygen.inspection import _style
from skdygen.inspection._labels import moment_names

OF_TEXTS = [shown.DynamicsDisplay, shown.TrajectoryMapDisplay]
OF_LABELS = [shown.NoiseTransitionDisplay, shown.LabelQualityDisplay]


def words(texts):
    return [text.get_text() for text in texts]


@pytest.mark.parametrize("cls", OF_TEXTS + OF_LABELS)
def test_conventions(case, cls):
    """scikit-learn's: figure_, ax_, drawing again, on axes of one's own."""
    inputs = [case[0]] if cls in OF_TEXTS else []
    display = cls.from_estimator(case[-1], *inputs)
    axes = np.ravel(display.ax_)
    assert all(ax.figure is display.figure_ and ax.has_data() for ax in axes)
    assert display.plot() is display
    assert display.figure_ is not axes[0].figure

    figure = Figure()
    own = figure.subplots(1, len(axes))
    n_open = len(plt.get_fignums())
    assert cls.from_estimator(case[-1], *inputs, ax=own).figure_ is figure
    assert len(plt.get_fignums()) == n_open
    with pytest.raises(ValueError, match=f"ax must hold {len(axes)} axes, but holds 7"):
        display.plot(Figure().subplots(1, 7))
    with pytest.raises(NotFittedError):
        cls.from_estimator(DyGenClassifier(), *inputs)
    search = GridSearchCV(case[-1], {})
    search.best_estimator_ = case[-1]
    for other, hint in (
        (
            make_pipeline(case[-1]),
            r"is a Pipeline, .* pass its last step, pipeline\[-1\]",
        ),
        (search, "is a GridSearchCV, .* search.best_estimator_"),
        (case[-1].dynamics_, "is a IncrementalDynamics, .* the fitted DyGenClassifier"),
    ):
        with pytest.raises(TypeError, match=hint):
            cls.from_estimator(other, *inputs)


@pytest.mark.parametrize("cls", OF_TEXTS)
def test_stored_trajectories(case, stored, cls):
    """They are used without texts, and even where texts could not be replayed."""
    texts, _, _, clf = case
    drawn = {shown.DynamicsDisplay: "own"}.get(cls, "points")
    expected = getattr(cls.from_estimator(clf, stored.trajectories_), drawn)
    for X in (None, texts):
        assert_array_equal(getattr(cls.from_estimator(stored, X), drawn), expected)
    # What is passed is taken in any case.
    replayed = clf.dynamics_.transform(texts)
    assert "before" not in cls.from_estimator(stored, replayed).moments
    for X in (texts[:5], replayed[:5]):
        with pytest.raises(ValueError, match="X has 5 texts, but the classifier"):
            cls.from_estimator(stored, X)
    with pytest.raises(ValueError, match="training dynamics are missing: fit with"):
        cls.from_estimator(clf)


def test_dynamics_are_distances_to_centroids(case, stored, sure):
    given, recorded = case[2], stored.trajectories_
    issues = stored.label_issues().reset_index(drop=True)
    worst = issues["index"][0]
    display = shown.DynamicsDisplay.from_estimator(stored, index=worst)
    assert display.moments == ["before", "epoch 1", "epoch 2", "epoch 3", "epoch 4"]

    # The last epoch, computed anew.
    at = np.asarray(recorded.embeddings[:, :, -1], dtype=float)

    def distance(rows, classes):
        centers = np.array([at[given == c].mean(axis=0) for c in classes])
        return np.linalg.norm(at[rows] - centers, axis=2).mean(axis=1)

    labelled, wrong = np.flatnonzero(given != "none"), issues["index"]
    own = distance(labelled, given[labelled])
    assert_allclose(display.own[labelled, -1], own / np.median(own), rtol=1e-4)
    other = distance(wrong, issues["suggested"])
    assert_allclose(display.other[wrong, -1], other / np.median(own), rtol=1e-4)
    assert np.isnan(display.own[given == "none"]).all()

    # Medians of both panels, then the single text.
    right = np.setdiff1d(labelled, wrong)
    both = (display.own, display.other)
    expected = [np.median(d[rows], axis=0) for rows in (right, wrong) for d in both]
    expected += [d[worst] for d in both]
    drawn = [line.get_ydata() for line in display.lines_]
    assert_allclose(drawn, expected)
    assert f"({len(right)})" in display.ax_[0].get_title()
    assert f"({len(wrong)})" in display.ax_[1].get_title()
    assert words(display.ax_[1].texts) == [str(worst)] * 2
    # Texts whose labels look wrong are nearer to the suggested class.
    assert drawn[3][-1] < drawn[2][-1]

    of_arrays = recorded, given, stored.label_distributions_
    params = {"missing_label": "none", "index": [-1, 5]}
    same = shown.DynamicsDisplay.from_predictions(*of_arrays, **params)
    assert_array_equal([same.own, same.other], both)
    assert_array_equal(same.index, [239, 5])
    panel = shown.DynamicsDisplay.from_estimator(sure).ax_[1]
    assert (panel.get_title(), [*panel.lines]) == ("labels that look wrong (0)", [])


def test_epochs_of_a_composed_first_stage(stored):
    language_model = SimpleNamespace(recorded_epochs_=[1, 4, 5, 9])
    composed = make_pipeline(FunctionTransformer(), language_model)
    clf = SimpleNamespace(dynamics_=composed)
    names = moment_names(clf, stored.trajectories_)
    assert names == ["before", "epoch 2", "epoch 5", "epoch 6", "epoch 10"]


def test_map(stored):
    svd = TruncatedSVD(2, random_state=0)
    display = shown.TrajectoryMapDisplay.from_estimator(
        stored, epochs=[1, "initial", -1], max_samples=100, projection=svd
    )
    titles = [ax.get_title() for ax in display.ax_.ravel()]
    assert titles[:2] == ["given labels, epoch 2", "given labels, before"]
    assert titles[5:] == ["suggested labels, epoch 4"]
    drawn, is_issue = display.index, display.is_issue
    assert len(np.unique(drawn)) == 100
    flat = stored.trajectories_.embeddings[drawn, :, 1].reshape(100, -1)
    assert_allclose(display.points[0], svd.fit_transform(flat.astype(np.float32)))
    suggested = stored.label_distributions_.argmax(axis=1)
    assert_array_equal(display.suggested, suggested[drawn])
    assert_array_equal(is_issue, np.isin(drawn, stored.label_issues()["index"]))
    *_, rings = display.ax_[0, 0].collections
    assert_allclose(rings.get_offsets(), display.points[0, is_issue])
    (legend,) = [ax.get_legend() for ax in display.ax_.ravel() if ax.get_legend()]
    names = words(legend.get_texts())
    assert names == [*stored.classes_, "no label", "looks wrong"]


def test_class_names_are_shown_as_they_are():
    """As far as there is room; twice the same, though the embeddings are wide."""
    odd = ["$50-$100", "A&B $x_$", "_other", r"a\b {c"]
    names = np.array(sorted([*odd, *map(str, range(21))]))
    y, beliefs = np.tile(names, 3), np.full((75, 25), 0.04)
    wide = np.random.RandomState(0).randn(75, 2, 1, 300)
    found = Trajectories(wide, np.full((75, 2, 1, 25), 0.04), names)
    first, mapped = (
        shown.TrajectoryMapDisplay.from_predictions(found, y, beliefs) for _ in range(2)
    )
    assert_array_equal(first.points, mapped.points)
    transition = shown.NoiseTransitionDisplay.from_predictions(y, y)
    assert transition.text_ is None
    legend = mapped.ax_[0, 0].get_legend().get_texts()
    assert words(legend) == [*names[:20], "and 5 more", "looks wrong"]
    for texts in (transition.ax_.get_xticklabels(), transition.ax_.get_yticklabels()):
        assert words(texts) == names.tolist()
    for text in (*legend, *texts):
        assert not text.get_parse_math()
    for display in (transition, mapped):
        display.figure_.canvas.draw()


@pytest.mark.parametrize("has_font", [True, False])
def test_class_names_of_other_scripts(has_font, monkeypatch):
    """Drawn by a font that has them; if there is none, said once, and not by glyph."""
    manager = _style.font_manager
    usual = str(manager.findfont(manager.FontProperties()))
    other = str(manager.findfont("DejaVu Serif"))
    known = {usual: {*"ab?"}, other: {*"标签"} if has_font else set()}
    monkeypatch.setattr(_style, "_characters", lambda path: known.get(str(path), set()))
    y = np.array(["a\nb", "签", "标b"])
    found = Trajectories(
        np.eye(3)[:, None, None], np.full((3, 1, 1, 3), 1 / 3), np.unique(y)
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        transition = shown.NoiseTransitionDisplay.from_predictions(y, y)
        mapped = shown.TrajectoryMapDisplay.from_predictions(found, y, np.eye(3))
        if not has_font:
            for display in (transition, mapped):
                display.figure_.canvas.draw()
    names = np.unique(y).tolist() if has_font else ["a\nb", "?b", "?"]
    legend = mapped.ax_[0, 0].get_legend().get_texts()[:3]
    for texts in (
        transition.ax_.get_xticklabels(),
        transition.ax_.get_yticklabels(),
        legend,
    ):
        assert words(texts) == names
        assert ("DejaVu Serif" in texts[0].get_fontfamily()) == has_font
    assert len(said) == (0 if has_font else 2)
    for one in said:
        assert "of the class '标b', which are shown as '?'; install" in str(one.message)


def test_transition(case):
    _, _, given, clf = case
    display = shown.NoiseTransitionDisplay.from_estimator(clf)
    labelled = given != "none"
    suggested = clf.classes_[clf.label_distributions_.argmax(axis=1)]
    counts = confusion_matrix(suggested[labelled], given[labelled])
    assert_array_equal(display.counts, counts)
    assert_allclose(display.image_.get_array(), clf.noise_transition_matrix_)
    share = counts[0, 1] / counts[0].sum()
    assert display.text_[0, 1].get_text() == f"{share:.0%}\n{counts[0, 1]}"
    assert display.ax_.get_xlabel() == "given label"
    assert words(display.ax_.get_yticklabels()) == [*clf.classes_]
    any_labels = shown.NoiseTransitionDisplay.from_predictions
    same = any_labels(given, suggested, missing_label="none")
    assert_array_equal(same.counts, counts)
    rare = any_labels(["a", "b", "rare"], ["a", "b", "a"])
    assert rare.image_.get_array()[2].mask.all()
    assert [text.get_text() for text in rare.text_[2]] == ["0", "0", "0"]
    assert_allclose(same.matrix, display.matrix)
    # Classes that are never given or never suggested.
    display = any_labels([3, 1, 1], [2, 2, 2])
    assert_array_equal(display.counts, [[0, 0, 0], [2, 0, 1], [0, 0, 0]])
    assert_allclose(display.matrix, [[1, 0, 0], [2 / 3, 0, 1 / 3], [0, 0, 1]])


def test_names_of_many_classes_and_long_ones(recwarn):
    """No positions are read as classes, and long names leave the picture its room."""
    many = np.repeat(np.arange(100, 170), 3)
    display = shown.NoiseTransitionDisplay.from_predictions(many, many)
    axes = display.ax_.get_xticks(), display.ax_.get_yticks()
    assert [len(ticks) for ticks in axes] == [0, 0]
    long = [f"{kind} of loans and {'other ' * 20}claims" for kind in ("sale", "use")]
    display = shown.NoiseTransitionDisplay.from_predictions(long * 3, long * 3)
    names = words(display.ax_.get_yticklabels())
    assert len({*names}) == 2
    assert max(map(len, names)) < 40
    display.figure_.canvas.draw()
    assert display.ax_.get_window_extent().height > 100
    assert [str(w.message) for w in recwarn.list] == []


def test_dynamics_where_there_is_little_to_draw(recwarn):
    """A class that no text is given, and embeddings of one number."""
    y, classes = np.array(["a", "b"] * 10), np.array(["a", "b", "new"])
    narrow = np.random.RandomState(0).randn(20, 1, 3, 1)
    found = Trajectories(narrow, np.full((20, 1, 3, 3), 1 / 3), classes)
    beliefs = np.tile([0.1, 0.2, 0.7], (20, 1))
    display = shown.DynamicsDisplay.from_predictions(found, y, beliefs)
    assert np.isnan(display.other).all()
    assert np.isfinite(display.own).all()
    display = shown.TrajectoryMapDisplay.from_predictions(found, y, beliefs)
    assert display.points.shape == (1, 20, 2)
    assert [str(w.message) for w in recwarn.list] == []
    wide = Trajectories(narrow[..., [0] * 4], found.probabilities, classes)
    with pytest.raises(ValueError, match="projection must give 2 columns, but gives 3"):
        shown.TrajectoryMapDisplay.from_predictions(
            wide, y, beliefs, projection=TruncatedSVD(3, random_state=0)
        )


def test_quality(case):
    _, labels, given, clf = case
    display = shown.LabelQualityDisplay.from_estimator(clf, y_true=labels)
    labelled = np.flatnonzero(given != "none")
    codes = np.searchsorted(clf.classes_, given[labelled])
    quality = clf.label_distributions_[labelled, codes]
    assert_array_equal(display.quality, quality)
    replaced = clf.transduction_[labelled] != given[labelled]
    bars = display.ax_[0].patches
    assert sum(bar.get_height() for bar in bars) == len(labelled)
    legend = words(display.ax_[0].get_legend().get_texts())
    assert f"looks wrong, replaced ({replaced.sum()})" in legend
    expected = average_precision_score(labels[labelled] != given[labelled], 1 - quality)
    assert_allclose(display.precision_recall_.average_precision, expected)


def test_quality_of_any_probabilities():
    any_labels = shown.LabelQualityDisplay.from_predictions
    found = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    display = any_labels(["a", "a", "a", "b"], found, correction_threshold=0.75)
    assert_allclose(display.quality, [0.9, 0.2, 0.3, 0.4])
    assert_array_equal(display.is_issue, [False, True, True, True])
    assert_array_equal(display.is_replaced, [False, True, False, False])
    # One class only is given, and the right one may be a third.
    right = ["a", "c", "c", "a"]
    display = any_labels(["a"] * 4, found, classes=["a", "b"], y_true=right)
    assert_array_equal(display.is_wrong, [False, True, True, False])


def test_arguments_that_do_not_fit(stored):
    for cls, params, match in (
        (shown.TrajectoryMapDisplay, {"epochs": [4]}, "positions among the 4 recorded"),
        (shown.TrajectoryMapDisplay, {"epochs": []}, "positions among the 4 recorded"),
        (shown.DynamicsDisplay, {"index": [1, 0]}, "index holds 0, a text without a"),
        (shown.DynamicsDisplay, {"index": 240}, "there are 240: index 240 is out of"),
        (shown.DynamicsDisplay, {"index": [1.5]}, "index must hold positions of texts"),
        (shown.TrajectoryMapDisplay, {"max_samples": 1}, "'max_samples' .* Got 1"),
        (shown.TrajectoryMapDisplay, {"projection": "pca"}, "'projection' parameter"),
        (shown.TrajectoryMapDisplay, {"random_state": "a"}, "'random_state' paramet"),
        (shown.LabelQualityDisplay, {"y_true": ["a"] * 3}, "y_true has 3 labels"),
    ):
        with pytest.raises(ValueError, match=match):
            cls.from_estimator(stored, **params)
    with pytest.raises(ValueError, match=r"has shape \(2, 3\); if y lacks a class"):
        shown.LabelQualityDisplay.from_predictions(["a", "b"], np.ones((2, 3)))
    for params, match in (
        (
            {"label_distributions": [[0.5, 0.5], [np.nan, 1]]},
            "has nan in row 1",
        ),
        ({"classes": ["b", "a"]}, r"sorted, and each there once, but is \['b', 'a'\]"),
        ({"classes": ["a", "a", "b"]}, "classes must be sorted, and each there once"),
        ({"correction_threshold": 75}, "'correction_threshold' parameter .* Got 75"),
    ):
        params = {"y": ["a", "b"], "label_distributions": np.eye(2)} | params
        with pytest.raises(ValueError, match=match):
            shown.LabelQualityDisplay.from_predictions(**params)
    of_two = stored.trajectories_[:2], stored.classes_[:3], np.eye(3)[:, [0] * 6]
    with pytest.raises(ValueError, match="y has 3 labels, but trajectories are of 2"):
        shown.DynamicsDisplay.from_predictions(*of_two)
    with pytest.raises(ValueError, match="'max_samples' parameter"):
        shown.TrajectoryMapDisplay.from_predictions(
            stored.trajectories_,
            [stored.classes_[1]] * 240,
            np.eye(6)[[0] * 240],
            max_samples=0,
        )
    # Labels of another type, which would all be wrong, or classes of their own.
    moved = pd.Series(["a"] * 240, index=[*range(239, -1, -1)])
    indexed = copy(stored)
    indexed._index = np.arange(240)
    with pytest.raises(ValueError, match="y_true has the index of X in another order"):
        shown.LabelQualityDisplay.from_estimator(indexed, y_true=moved)
    other = (TypeError, r"has 0 \(int\) in row 1, but labels are such as 'a'")
    with pytest.raises(other[0], match=f"y_true {other[1]}"):
        shown.LabelQualityDisplay.from_predictions(["a", "b"], np.eye(2), y_true=[1, 0])
    with pytest.raises(other[0], match=f"y_suggested {other[1]}"):
        shown.NoiseTransitionDisplay.from_predictions(["a", "b"], [1, 0])
    with pytest.raises(TypeError, match="trajectories must be Trajectories"):
        shown.DynamicsDisplay.from_predictions(["a"], ["a"], [[1]])
