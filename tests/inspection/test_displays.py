"""The pictures show what they say they show."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score, confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdygen import DyGenClassifier, Trajectories
from skdygen.dynamics import IncrementalDynamics
from skdygen.inspection import (
    DynamicsDisplay,
    LabelQualityDisplay,
    NoiseTransitionDisplay,
    TrajectoryMapDisplay,
)
from skdygen.inspection._labels import moment_names

DISPLAYS = [
    (DynamicsDisplay, True),
    (TrajectoryMapDisplay, True),
    (NoiseTransitionDisplay, False),
    (LabelQualityDisplay, False),
]


def draw(cls, reads_texts, case, **params):
    texts, _, _, clf = case
    return cls.from_estimator(*([clf, texts] if reads_texts else [clf]), **params)


@pytest.mark.parametrize(("cls", "reads_texts"), DISPLAYS)
def test_conventions(case, cls, reads_texts):
    """scikit-learn's: figure_, ax_, drawing again, on axes of one's own."""
    display = draw(cls, reads_texts, case)
    axes = np.asarray(display.ax_, dtype=object).ravel()
    assert all(ax.figure is display.figure_ for ax in axes)
    assert all(ax.has_data() for ax in axes)
    assert display.plot() is display
    assert display.figure_ is not axes[0].figure

    figure = Figure()
    own = figure.subplots(1, len(axes), squeeze=False).ravel()
    n_open = len(plt.get_fignums())
    again = draw(cls, reads_texts, case, ax=own[0] if len(own) == 1 else own)
    assert again.figure_ is figure
    assert len(plt.get_fignums()) == n_open
    with pytest.raises(ValueError, match=f"ax must hold {len(axes)} axes, but holds 7"):
        draw(cls, reads_texts, case, ax=Figure().subplots(1, 7))
    with pytest.raises(NotFittedError):
        draw(cls, reads_texts, (*case[:3], DyGenClassifier()))


def test_dynamics_are_distances_to_centroids(case, recorded):
    texts, _, given, clf = case
    issues = clf.label_issues()
    worst = issues["index"][0]
    display = DynamicsDisplay.from_estimator(clf, recorded, index=worst)
    assert display.moments == ["before", *(f"epoch {i}" for i in (1, 2, 3, 4))]

    # The last epoch, computed anew.
    at = np.asarray(recorded.embeddings[:, :, -1], dtype=float)

    def distance(rows, classes):
        centers = np.array([at[given == c].mean(axis=0) for c in classes])
        return np.linalg.norm(at[rows] - centers, axis=2).mean(axis=1)

    labelled = np.flatnonzero(given != "none")
    own = distance(labelled, given[labelled])
    unit = np.median(own)
    assert_allclose(display.own[labelled, -1], own / unit, rtol=1e-4)
    other = distance(issues["index"], issues["suggested"])
    assert_allclose(display.other[issues["index"], -1], other / unit, rtol=1e-4)
    assert np.isnan(display.own[given == "none"]).all()

    # Medians of both panels, then the single text.
    is_issue = np.isin(np.arange(len(texts)), issues["index"])
    right, wrong = labelled[~is_issue[labelled]], issues["index"]
    drawn = [line.get_ydata() for line in display.lines_]
    expected = [
        *(np.median(d[right], axis=0) for d in (display.own, display.other)),
        *(np.median(d[wrong], axis=0) for d in (display.own, display.other)),
        *(d[worst] for d in (display.own, display.other)),
    ]
    for found, wanted in zip(drawn, expected, strict=True):
        assert_allclose(found, wanted)
    assert f"({len(right)})" in display.ax_[0].get_title()
    assert f"({len(wrong)})" in display.ax_[1].get_title()
    assert [text.get_text() for text in display.ax_[1].texts] == [str(worst)] * 2
    # Texts whose labels look wrong are nearer to the suggested class.
    assert drawn[3][-1] < drawn[2][-1]

    same = DynamicsDisplay.from_predictions(
        recorded, given, clf.label_distributions_, missing_label="none"
    )
    assert_array_equal(same.own, display.own)
    assert_array_equal(same.other, display.other)


def test_dynamics_where_nothing_looks_wrong(case):
    texts, _, given, clf = case
    certain = (given[:, None] == clf.classes_) * 0.9 + 0.1 / len(clf.classes_)
    trajectories = clf.dynamics_.transform(texts)
    display = DynamicsDisplay.from_predictions(
        trajectories, given, certain, missing_label="none"
    )
    assert display.ax_[1].get_title().endswith("(0)")
    assert not display.ax_[1].lines


def test_epochs_of_a_composed_first_stage(case):
    texts, _, _, clf = case
    inner = IncrementalDynamics(n_epochs=2, random_state=0)
    composed = make_pipeline(FunctionTransformer(), inner)
    labels = clf.transduction_
    composed = DyGenClassifier(composed, random_state=0).fit(texts, labels)
    trajectories = composed.dynamics_.transform(texts)
    assert moment_names(composed, trajectories) == ["epoch 1", "epoch 2"]
    composed.dynamics_[-1].trajectory_epochs_ = [1, 4]  # as a language model says
    assert moment_names(composed, trajectories) == ["epoch 2", "epoch 5"]


def test_map(case, recorded):
    _, _, _, clf = case
    display = TrajectoryMapDisplay.from_estimator(
        clf, recorded, epochs=[0, "initial", -1], max_samples=100
    )
    assert display.ax_.shape == (2, 3)
    assert [ax.get_title() for ax in display.ax_[1]] == [
        f"suggested labels, {name}" for name in ("epoch 1", "before", "epoch 4")
    ]
    assert display.points.shape == (3, 100, 2)
    assert len(np.unique(display.index)) == 100
    suggested = clf.classes_[clf.label_distributions_.argmax(axis=1)]
    assert_array_equal(clf.classes_[display.suggested], suggested[display.index])
    is_issue = np.isin(display.index, clf.label_issues()["index"])
    assert_array_equal(display.is_issue, is_issue)
    *_, rings = display.ax_[0, 0].collections
    assert_allclose(rings.get_offsets(), display.points[0, is_issue])
    (legend,) = [ax.get_legend() for ax in display.ax_.ravel() if ax.get_legend()]
    entries = [text.get_text() for text in legend.get_texts()]
    assert entries == [*clf.classes_, "no label", "looks wrong"]


def test_map_of_wide_embeddings_leaves_the_random_state_alone():
    rng = np.random.RandomState(0)
    wide = Trajectories(
        rng.randn(40, 2, 1, 300), np.full((40, 2, 1, 2), 0.5), np.array(["a", "b"])
    )
    y, beliefs = wide.classes[rng.randint(2, size=40)], np.full((40, 2), 0.5)
    before = np.random.get_state()
    first, second = (
        TrajectoryMapDisplay.from_predictions(wide, y, beliefs, epochs=[0])
        for _ in range(2)
    )
    assert_array_equal(first.points, second.points)
    for state, same in zip(np.random.get_state(), before, strict=True):
        assert_array_equal(state, same)


def test_class_names_are_shown_as_they_are():
    names = np.array(["$50-$100", "A&B $x_$", "_other", r"a\b {c"])
    y = np.tile(names, 5)
    transition = NoiseTransitionDisplay.from_predictions(y, y)
    rng = np.random.RandomState(0)
    trajectories = Trajectories(
        rng.randn(20, 1, 1, 4), np.full((20, 1, 1, 4), 0.25), np.unique(names)
    )
    beliefs = rng.dirichlet(np.ones(4), size=20)
    mapped = TrajectoryMapDisplay.from_predictions(trajectories, y, beliefs, epochs=[0])
    legend = mapped.ax_[0, 0].get_legend().get_texts()
    for display, texts in (
        (transition, transition.ax_.get_xticklabels()),
        (transition, transition.ax_.get_yticklabels()),
        (mapped, legend[:4]),
    ):
        assert [text.get_text() for text in texts] == sorted(names)
        assert not any(text.get_parse_math() for text in texts)
        display.figure_.canvas.draw()


def test_map_by_another_projection(case, recorded):
    _, _, given, clf = case
    svd = TruncatedSVD(2, random_state=0)
    display = TrajectoryMapDisplay.from_predictions(
        recorded, given, clf.label_distributions_, missing_label="none",
        projection=svd, epochs=[1], max_samples=None,
    )  # fmt: skip
    flat = np.asarray(recorded.embeddings[:, :, 1], dtype=np.float32)
    assert_allclose(display.points[0], svd.fit_transform(flat.reshape(240, -1)))


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        ([4], "epochs holds 4; it takes 'initial' and positions among the 4 recorded"),
        (["last"], "epochs holds 'last'"),
        ([], "epochs holds no moment"),
    ],
)
def test_epochs_that_were_not_recorded(case, epochs, message):
    texts, _, _, clf = case
    with pytest.raises(ValueError, match=message):
        TrajectoryMapDisplay.from_estimator(clf, texts, epochs=epochs)


def test_transition(case):
    _, _, given, clf = case
    display = NoiseTransitionDisplay.from_estimator(clf)
    labelled = given != "none"
    suggested = clf.classes_[clf.label_distributions_.argmax(axis=1)]
    counts = confusion_matrix(suggested[labelled], given[labelled])
    assert_array_equal(display.counts, counts)
    assert_allclose(display.matrix, clf.noise_transition_matrix_)
    assert_allclose(display.image_.get_array(), clf.noise_transition_matrix_)
    share = counts[0, 1] / counts[0].sum()
    assert display.text_[0, 1].get_text() == f"{share:.0%}\n{counts[0, 1]}"
    assert display.ax_.get_xlabel() == "given label"
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == [*clf.classes_]
    same = NoiseTransitionDisplay.from_predictions(
        given, suggested, missing_label="none"
    )
    assert_array_equal(same.counts, counts)
    assert_allclose(same.matrix, display.matrix)


def test_transition_of_classes_that_are_never_given_or_never_suggested():
    display = NoiseTransitionDisplay.from_predictions([3, 1, 1], [2, 2, 2])
    assert_array_equal(display.classes, [1, 2, 3])
    assert_array_equal(display.counts, [[0, 0, 0], [2, 0, 1], [0, 0, 0]])
    assert_allclose(display.matrix, [[1, 0, 0], [2 / 3, 0, 1 / 3], [0, 0, 1]])


def test_transition_of_many_classes():
    labels = np.repeat(np.arange(100), 3)
    display = NoiseTransitionDisplay.from_predictions(labels, labels)
    assert display.text_ is None
    assert_array_equal(display.matrix, np.eye(100))


def test_quality(case):
    _, labels, given, clf = case
    display = LabelQualityDisplay.from_estimator(clf, y_true=labels)
    labelled = np.flatnonzero(given != "none")
    codes = np.searchsorted(clf.classes_, given[labelled])
    quality = clf.label_distributions_[labelled, codes]
    assert_array_equal(display.quality, quality)
    replaced = clf.transduction_[labelled] != given[labelled]
    assert replaced.any()
    assert display.threshold == quality[replaced].max()
    counted = sum(bar.get_height() for bar in display.ax_[0].patches)
    assert counted == len(labelled)
    legend = [text.get_text() for text in display.ax_[0].get_legend().get_texts()]
    assert f"looks wrong, replaced ({replaced.sum()})" in legend
    wrong = labels[labelled] != given[labelled]
    expected = average_precision_score(wrong, 1 - quality)
    assert_allclose(display.precision_recall_.average_precision, expected)


def test_quality_of_any_probabilities():
    found = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    display = LabelQualityDisplay.from_predictions(
        ["a", "a", "a", "b"], found, correction_threshold=0.75
    )
    assert_allclose(display.quality, [0.9, 0.2, 0.3, 0.4])
    assert_array_equal(display.is_issue, [False, True, True, True])
    assert_array_equal(display.is_replaced, [False, True, False, False])
    assert display.threshold == 0.2
    assert not hasattr(display, "precision_recall_")
    # One class only is given, and the right one may be a third.
    display = LabelQualityDisplay.from_predictions(
        ["a"] * 4, found, classes=["a", "b"], y_true=["a", "c", "c", "a"]
    )
    assert_array_equal(display.is_wrong, [False, True, True, False])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda t, clf: DynamicsDisplay.from_estimator(clf, t[:5]),
            ValueError,
            "X has 5 texts, but the classifier was fitted on 240",
        ),
        (
            lambda t, clf: DynamicsDisplay.from_estimator(
                clf, clf.dynamics_.transform(t[:5])
            ),
            ValueError,
            "X has 5 trajectories, but the classifier was fitted on 240",
        ),
        (
            lambda t, clf: DynamicsDisplay.from_estimator(clf, t, index=[1, 240]),
            ValueError,
            "index holds 240, but there are 240 texts, counted from 0",
        ),
        (
            lambda t, clf: DynamicsDisplay.from_estimator(clf, t, index=[1.5]),
            TypeError,
            "index must hold positions",
        ),
        (
            lambda t, clf: DynamicsDisplay.from_estimator(clf, t, index=[12]),
            ValueError,
            "index holds 12, a text without a label",
        ),
        (
            lambda t, clf: LabelQualityDisplay.from_estimator(clf, y_true=["a"] * 3),
            ValueError,
            "y_true has 3 labels",
        ),
        (
            lambda t, clf: LabelQualityDisplay.from_predictions(
                ["a", "b"], [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
            ),
            ValueError,
            r"has shape \(2, 3\); name the classes of the columns with classes",
        ),
        (
            lambda t, clf: DynamicsDisplay.from_predictions(t, ["a"] * 240, [[1, 0]]),
            TypeError,
            "trajectories must be Trajectories",
        ),
    ],
)
def test_errors(case, call, error, message):
    texts, _, _, clf = case
    with pytest.raises(error, match=message):
        call(texts, clf)
