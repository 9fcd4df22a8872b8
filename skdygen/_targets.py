"""Texts and labels, checked and encoded once; weights, for whoever takes them."""

import numbers
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn import config_context, get_config
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import has_fit_parameter

from ._annotators import Annotators
from ._sklearn_compat import check_sample_weight
from ._votes import Votes, encode_votes


@dataclass(frozen=True)
class Targets:
    """What a fit knows of the labels; made once, and handed on from stage to stage.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The classes, sorted, as users write them.
    codes : ndarray of shape (n_samples,) and dtype int64
        Position of each given label in `classes`; -1 where there is none, or where its
        weight is 0.
    weights : ndarray of shape (n_samples,)
        How much each label counts; 0 where there is none, 1 if no weights were given.
    verified : ndarray of shape (n_samples,) and dtype int64
        Position of each verified label in `classes`; -1 where nobody has looked.
    probabilities : ndarray of shape (n_samples,)
        With what probability each verified text was drawn; NaN where none is verified.
    votes : Votes or None
        Single votes, if they say more than `codes`, with codes into `classes`.
    believed : ndarray of shape (n_samples, n_classes) or None
        What the votes come to together with the texts, for priors to learn from.
    evidence : ndarray of shape (n_samples, n_classes) or None
        What the votes on each text say of its true class, up to a constant: log
        p(votes | y). Both are None until annotators are known.
    """

    classes: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    verified: np.ndarray
    probabilities: np.ndarray
    votes: Votes | None = None
    believed: np.ndarray | None = None
    evidence: np.ndarray | None = None

    @classmethod
    def unverified(cls, classes, codes, weights, votes=None):
        """Make targets of which nobody has verified any."""
        unknown = np.full(len(codes), np.nan)
        return cls(classes, codes, weights, np.full(len(codes), -1), unknown, votes)

    @property
    def labelled(self):
        """Positions of the texts with a given label, (n_labelled,)."""
        return np.flatnonzero(self.codes >= 0)

    @property
    def checked(self):
        """Positions of the texts with a verified label, (n_checked,)."""
        return np.flatnonzero(self.verified >= 0)

    @property
    def voted(self):
        """Whether each text has a vote, (n_samples,) of bool."""
        return np.bincount(self.votes.rows, minlength=len(self.codes)) > 0

    @property
    def distributions(self):
        """What is to be learnt of each text, (n_samples, n_classes); 0 of none."""
        if self.believed is not None:
            return self.believed
        n_classes = len(self.classes)
        known = np.eye(n_classes + 1)[self.codes][:, :-1]
        if self.votes is not None:
            shares = self.votes.shares(n_classes)
            known = np.where(self.voted[:, None], shares, known)
        return known

    def given_as(self, code):
        """Positions of the texts that are given a class."""
        return np.flatnonzero(self.codes == code)

    def ask_annotators(self, distributions):
        """Return the same with what votes say, by what the texts say on their own."""
        found = Annotators().fit(self.votes, distributions, self.verified)
        believed = np.where(
            self.voted[:, None], found.distributions, self.distributions
        )
        return replace(self, believed=believed, evidence=found.evidence)

    def as_believed(self):
        """Return the same with the class that is believed in the place of the given."""
        codes = np.where(self.codes < 0, -1, self.believed.argmax(axis=1))
        return replace(self, codes=codes)

    def as_given(self):
        """Return the same without what is verified, and without its own classes.

        So the first stage, which learns the labels as given, stays as it is when labels
        are verified later.
        """
        is_new = np.isin(np.arange(len(self.classes)), self.verified)
        is_new[self.codes[self.labelled]] = False
        if self.votes is not None:
            is_new[self.votes.codes] = False
        moved = np.append(np.cumsum(~is_new) - 1, -1)  # -1 stays
        return Targets.unverified(
            self.classes[~is_new],
            moved[self.codes],
            self.weights,
            self.votes and self.votes.recode(moved),
        )

    def verify(self, verified, missing_label=None):
        """Return the same with more verified labels; errors of `encode_verified`."""
        n_samples = len(self.codes)
        classes, found, drawn = encode_verified(
            verified, self.classes, n_samples, missing_label
        )
        moved = np.append(np.searchsorted(classes, self.classes), -1)  # -1 stays
        is_new = found >= 0
        # Where nobody has said how they were drawn, all were as likely.
        unsaid = is_new & np.isnan(drawn)
        drawn = np.where(unsaid, unsaid.sum() / n_samples, drawn)
        drawn[~is_new] = np.nan
        return Targets(
            classes,
            moved[self.codes],
            self.weights,
            np.where(is_new, found, moved[self.verified]),
            _join_draws(np.where(is_new, np.nan, self.probabilities), drawn),
            self.votes and self.votes.recode(moved),
        )


def _join_draws(*draws):
    """Probabilities of being in any of several draws, (n_samples,); NaN if in none.

    A text is as likely to be in all of them together as in its own, times how much
    more there are; what is taken in any case has the probability 1 all the same.
    """
    sizes = [(draw < 1).sum() for draw in draws]
    joined = np.full(len(draws[0]), np.nan)
    for draw, size in zip(draws, sizes, strict=True):
        more = draw * sum(sizes) / max(size, 1)
        more = np.minimum(more, np.nextafter(1, 0))
        joined = np.where(np.isnan(draw), joined, np.where(draw < 1, more, draw))
    return joined


def make_targets(
    y, sample_weight=None, verified=None, votes=None, vote_confidence=None, *,
    missing_label=None, classes=None, n_samples=None,
):  # fmt: skip
    """Check and encode labels and weights; arguments and errors of `encode_labels`.

    A ValueError is also raised if there is not one weight for each sample, a weight is
    negative or not finite, or labels of fewer than two classes have a positive weight.
    Errors of verified labels are those of `encode_verified`, of votes `encode_votes`.
    """
    if votes is not None:
        classes, codes, votes = _encode_with_votes(
            y, votes, vote_confidence, missing_label, classes, n_samples
        )
    elif vote_confidence is not None:
        raise ValueError("vote_confidence is passed without votes; pass both.")
    else:
        classes, codes = encode_labels(
            y, missing_label=missing_label, classes=classes, n_samples=n_samples
        )
    targets = _weigh(classes, codes, sample_weight)
    if votes is not None:
        # A label of weight 0 takes the votes on its text with it.
        is_kept = ~((codes >= 0) & (targets.codes < 0))[votes.rows]
        votes = votes.keep(is_kept) if is_kept.any() else None
        targets = replace(targets, votes=votes)
    return targets if verified is None else targets.verify(verified, missing_label)


def _encode_with_votes(y, votes, confidence, missing_label, classes, n_samples):
    """Classes of labels and votes, codes of labels or majorities, and `Votes` or None.

    None if they are the labels once more.
    """
    found, votes = encode_votes(
        votes, missing_label=missing_label, n_samples=n_samples, confidence=confidence
    )
    if y is not None:
        classes, codes = encode_labels(
            y, missing_label=missing_label, classes=classes, n_samples=n_samples
        )
    joined = found
    if classes is not None:
        first = np.argmin(votes.codes)
        name = _show(votes.names, votes.annotators[first])
        where = f"row {votes.rows[first]} of column {name}"
        joined = _join_classes(classes, found, "votes", where)
    votes = votes.recode(np.searchsorted(joined, found))
    majority = votes.majority(len(joined))
    if y is None:
        codes, chosen = majority, np.unique(majority[votes.rows])
        if len(chosen) < 2:
            raise ValueError(
                f"votes has one class only that a majority chose, "
                f"{_show(joined, chosen[0])}; a classifier needs at least two classes."
            )
    else:
        codes = np.append(np.searchsorted(joined, classes), -1)[codes]
        codes = np.where(codes < 0, majority, codes)
    is_same = len(votes.names) == 1 and votes.confidence is None
    is_same = is_same and np.array_equal(codes, majority)
    return joined, codes, None if is_same else votes


def _weigh(classes, codes, sample_weight):
    """Make targets of encoded labels and weights."""
    if sample_weight is None:
        return Targets.unverified(classes, codes, (codes >= 0).astype(np.float64))
    weights = check_sample_weight(
        sample_weight, codes, dtype=np.float64, ensure_non_negative=True
    )
    counts = (codes >= 0) & (weights > 0)
    n_classes = len(np.unique(codes[counts]))
    if n_classes < 2:
        raise ValueError(
            f"sample_weight is positive for labels of {n_classes} class(es) only; a "
            f"classifier needs at least two classes."
        )
    codes, weights = np.where(counts, codes, -1), np.where(counts, weights, 0.0)
    return Targets.unverified(classes, codes, weights)


def check_texts(X, *, name="X"):
    """Validate texts; give a list of str.

    They may be in a list, tuple, 1-d array, Series or one-column frame or array. A
    TypeError names the first row that is no string, or says that `X` is no ordered
    collection; a ValueError that it is a bare string, is empty, has several columns, or
    has a text that is no valid Unicode.
    """
    if isinstance(X, (str, bytes)):
        raise ValueError(
            f"{name} is a single string, but a collection of texts is expected; "
            f"for one text, pass [text]."
        )
    if not hasattr(X, "__len__") or isinstance(X, (dict, set, frozenset)):
        raise TypeError(
            f"{name} is a {type(X).__name__}, but an ordered collection of texts is "
            f"expected: a list, a 1-d array, a Series or a one-column frame."
        )
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 1:
        if len(shape) != 2 or shape[1] != 1:
            raise ValueError(
                f"{name} has shape {tuple(shape)}, but one text per row is expected; "
                f"select the column that holds the texts."
            )
        X = np.asarray(X)[:, 0]
    texts = _to_list(X)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"{name} must hold strings, but row {row} is {text!r} "
                f"({type(text).__name__}); drop the row, or put a text there "
                f"(an empty string is allowed)."
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} has a text that is no valid Unicode in row {row}: "
                f"{error.reason}; repair it with "
                f"text.encode(errors='replace').decode()."
            ) from error
    if not texts:
        raise ValueError(f"{name} is empty: at least one text is needed.")
    return texts


def encode_labels(
    y, *, missing_label=None, classes=None, n_samples=None, min_classes=2, name="y"
):
    """Turn labels into classes, sorted, and codes; -1 where there is no label.

    Labels are strings, integers, booleans, or floats with integral values. With
    `missing_label` None every row must have one; NaN stands for all null values (None,
    NaN, `pandas.NA`, `pandas.NaT`). `classes` None takes those that are found, at
    least `min_classes`.

    A TypeError says that labels are of several types; a ValueError that `y` is not
    one-dimensional or of length `n_samples`, lacks labels that `missing_label` does not
    announce, is continuous, has too few classes, or one that is not in `classes`.
    """
    values = _label_column(y, name)
    if n_samples is not None and len(values) != n_samples:
        raise ValueError(
            f"X has {n_samples} texts but {name} has {len(values)} labels; "
            f"pass one label per text."
        )
    is_missing = _find_missing(values, missing_label, name)
    given, rows = values[~is_missing], np.flatnonzero(~is_missing)
    if given.dtype == object:
        given = _unify_objects(given, rows, name)
    if len(given):
        _check_discrete(given, name)
    found = np.unique(given)
    _check_n_classes(found, min_classes, is_missing, missing_label, name)
    classes = found if classes is None else classes
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[rows] = _positions(given, classes, rows, name)
    return classes, codes


def name_codes(codes, classes, missing_label=None):
    """Labels of codes as users write them, (n_samples,); `missing_label` for -1."""
    if (codes >= 0).all():
        return classes[codes]
    labels = classes[codes].astype(object)
    labels[codes < 0] = missing_label
    is_alike = isinstance(missing_label, type(labels[np.argmax(codes)]))
    return np.array(labels.tolist()) if is_alike else labels


def encode_verified(verified, classes, n_samples, missing_label=None):
    """Turn verified labels into classes, more than those given if need be, and codes.

    They come as one value for each text, missing where nobody has looked (null, or
    `missing_label`); as a dict or Series from positions to labels; or as a frame with
    the columns "index" and "verified", such as `labels_to_check` gives, which may have
    a "probability", too. These come third, (n_samples,), NaN where they are not known.
    A TypeError says that labels are not of the type of the given ones; a ValueError
    that a position is no text's, or is there twice, or that a probability is none.
    """
    rows, labels = _verified_pairs(verified, n_samples)
    drawn = np.full(n_samples, np.nan)
    if isinstance(verified, pd.DataFrame) and "probability" in verified:
        drawn[rows] = verified["probability"].to_numpy(dtype=float)
        wrong = np.flatnonzero((drawn <= 0) | (drawn > 1))
        if len(wrong):
            raise ValueError(
                f"verified has the probability {drawn[wrong[0]]} for text {wrong[0]}; "
                f"it must be above 0 and at most 1, or missing."
            )
    is_missing = np.asarray(pd.isna(labels), dtype=bool)
    if missing_label is not None and not pd.isna(missing_label):
        is_missing |= np.array([label == missing_label for label in labels], dtype=bool)
    rows, labels = rows[~is_missing], labels[~is_missing]
    codes = np.full(n_samples, -1, dtype=np.int64)
    if not len(rows):
        return classes, codes, drawn
    labels = _unify_objects(labels, rows, "verified")
    if labels.dtype.kind == "f" and classes.dtype.kind in "iu":  # NaN made them so
        _check_discrete(labels, "verified")
        labels = labels.astype(classes.dtype)
    classes = _join_classes(classes, labels, "verified", f"row {rows[0]}")
    codes[rows] = np.searchsorted(classes, labels)
    return classes, codes, drawn


def _join_classes(classes, labels, name, where):
    """Union of classes and of labels of the same type; numbers are alike."""
    kinds = {classes.dtype.kind, labels.dtype.kind}
    if len(kinds) > 1 and not kinds <= {"i", "u", "f"}:
        raise TypeError(
            f"{name} has {_show(labels)} ({type(labels[0].item()).__name__}) in "
            f"{where}, but labels are such as {_show(classes)} "
            f"({type(classes[:1].tolist()[0]).__name__}); use the same type."
        )
    joined = np.union1d(classes, labels)
    return classes if len(joined) == len(classes) else joined


def _verified_pairs(verified, n_samples):
    """Positions and labels, as objects, of whatever holds verified labels."""
    if isinstance(verified, pd.DataFrame) and {"index", "verified"} <= set(verified):
        rows, labels = verified["index"].tolist(), verified["verified"]
    elif isinstance(verified, dict):
        rows, labels = list(verified), list(verified.values())
    elif isinstance(verified, pd.Series) and len(verified) != n_samples:
        rows, labels = verified.index.tolist(), verified
    else:
        labels = _label_column(verified, "verified")
        if len(labels) != n_samples:
            raise ValueError(
                f"verified has {len(labels)} rows, but there are {n_samples} texts; "
                f"pass one row per text, missing where nobody has looked, or a dict "
                f"from positions to labels."
            )
        return np.arange(n_samples), labels.astype(object)
    seen = set()
    for row in rows:
        if not isinstance(row, numbers.Integral) or not 0 <= row < n_samples:
            raise ValueError(
                f"verified has a label for text {row!r}, but there are {n_samples} "
                f"texts, counted from 0."
            )
        if row in seen:
            raise ValueError(f"verified has two labels for text {row}; keep one.")
        seen.add(row)
    column = np.empty(len(rows), dtype=object)
    column[:] = _to_list(labels)
    return np.array(rows, dtype=np.int64), column


def _show(labels, position=0):
    """Write a label the way users write it, not as a numpy scalar."""
    return repr(labels[position : position + 1].tolist()[0])


def _to_list(X):
    """Make a list of a container, by its own method if it has one."""
    for method in ("tolist", "to_pylist", "to_list"):
        if hasattr(X, method):
            return getattr(X, method)()
    return list(X)


def _label_column(y, name):
    """Return `y` as a 1-d array that keeps the labels' own types."""
    if y is None:
        raise ValueError(
            f"This estimator requires {name} to be passed, but the target {name} is "
            f"None: pass one label per text."
        )
    if hasattr(y, "__array__") and not hasattr(y, "__len__"):
        y = np.asarray(y)
    is_ordered = hasattr(y, "__len__") and not isinstance(y, (dict, set, frozenset))
    if isinstance(y, (str, bytes)) or not is_ordered:
        raise ValueError(
            f"{name} is a {type(y).__name__}, but one label per text is expected."
        )
    if getattr(y, "shape", None) is None:
        column = np.empty(len(y), dtype=object)
        for row, label in enumerate(_to_list(y)):  # lists would be taken for columns
            column[row] = label
        return column
    column = np.asarray(y)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column_or_1d(column, warn=True)
    if column.ndim != 1:
        raise ValueError(
            f"{name} has shape {column.shape}, but one label per text is expected; "
            f"select the column that holds the labels."
        )
    return column if column.dtype.kind in "biufU" else column.astype(object)


def _find_missing(values, missing_label, name):
    """Tell which rows have no label, (n_samples,) of bool."""
    is_null = np.asarray(pd.isna(values), dtype=bool)
    if missing_label is not None and pd.isna(missing_label):
        return is_null
    if is_null.any():
        row = int(np.argmax(is_null))
        raise ValueError(
            f"{name} has no label in row {row} ({_show(values, row)}); drop such rows, "
            f"or pass missing_label=np.nan to keep their texts without a label."
        )
    if missing_label is None:
        return is_null
    return np.array([value == missing_label for value in values], dtype=bool)


def _unify_objects(given, rows, name):
    """Give labels held as objects the type they share."""
    kinds = (str, (bool, np.bool_), numbers.Integral, numbers.Real)
    for kind in kinds:
        if len(given) and isinstance(given[0], kind):
            break
    else:
        kind = object
    for row, label in zip(rows, given, strict=True):
        is_bool_among_others = isinstance(label, (bool, np.bool_)) and kind != kinds[1]
        if kind is object or not isinstance(label, kind) or is_bool_among_others:
            raise TypeError(
                f"{name} mixes types or holds a type that is no label: row {row} is "
                f"{label!r} ({type(label).__name__}), row {rows[0]} is {_show(given)} "
                f"({type(given[0]).__name__}); use strings, integers or booleans, "
                f"one type throughout."
            )
    return np.array(given.tolist())


def _check_discrete(given, name):
    """Raise an error if labels are numbers that stand for no classes."""
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise ValueError(
            f"{name} contains infinity, but classes are expected: strings, integers or "
            f"booleans."
        )
    try:
        check_classification_targets(given)
    except ValueError as error:
        raise ValueError(
            f"{name} holds continuous values such as {_show(given)}, but classes are "
            f"expected: strings, integers or booleans."
        ) from error


def _check_n_classes(classes, min_classes, is_missing, missing_label, name):
    """Raise an error if there are too few classes to learn from."""
    if len(classes) >= min_classes:
        return
    found = f"one class only, {_show(classes)}" if len(classes) else "no label at all"
    hint = ""
    if is_missing.any():
        hint = (
            f"; {int(is_missing.sum())} rows equal missing_label={missing_label!r} "
            f"and count as unlabelled"
        )
    raise ValueError(
        f"{name} has {found}{hint}; "
        + ("a classifier needs at least two classes.", "pass labels.")[min_classes < 2]
    )


def _positions(given, classes, rows, name):
    """Position of each label in the classes, (n_labelled,)."""
    codes = np.searchsorted(classes, given).clip(max=len(classes) - 1)
    unknown = classes[codes] != given
    if unknown.any():
        first = int(np.argmax(unknown))
        raise ValueError(
            f"{name} has the label {_show(given, first)} in row {rows[first]}, which "
            f"is not among the classes {classes.tolist()} seen before."
        )
    return codes


def fit_weighted(estimator, X, y, weights, *, method="fit", on_request=False):
    """Call a method that fits, with weights (None: all alike) if it takes any."""
    fit = getattr(estimator, method)
    if weights is None:
        return fit(X, y)
    # Where metadata routing is enabled, what users have requested decides instead.
    if on_request and get_config()["enable_metadata_routing"]:
        asks = get_routing_for_object(estimator).consumes("fit", ["sample_weight"])
        return fit(X, y, **dict.fromkeys(asks, weights))
    with config_context(enable_metadata_routing=False):
        params = dict.fromkeys(_weight_parameters(estimator), weights)
        return fit(X, y, **params)


def _weight_parameters(estimator, prefix=""):
    """Names under which `fit` takes weights; of a pipeline, those of its steps."""
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            yield from _weight_parameters(step, f"{prefix}{name}__")
    elif has_fit_parameter(estimator, "sample_weight"):
        yield f"{prefix}sample_weight"
