"""What an estimator answered when it was saved, asked again where it is loaded.

A checksum tells whether a file is what was written. Whether it does here what it did
there, with this language model and these versions of packages, only asking tells.
"""

import warnings
from contextlib import contextmanager

import numpy as np
from scipy.special import softmax

from ._bundle import language_models, parts_of, predicting_models

_SENTENCES = [  # for estimators that keep no words; others are asked about their own
    "My parcel has not arrived.", "Why was I charged twice, and by whom?",
    "Das Passwort geht nicht mehr.", "Une belle histoire, mais trop longue.",
    "El servicio fue excelente.", "今天天气很好。", "Call 0800 1234 at 9:30!",
]  # fmt: skip
_N_WORDS, _WORDS_PER_TEXT, _N_MADE = 40, 8, 8
_MOST_NUMBERS = 5 * 10**7  # that are made up: what an estimator says need not be true
_N_KEPT = 16  # numbers for each text and answer
# Half precision changes less than a hundredth of an answer, another model far more. And
# of most texts: ties, of neighbours for example, may be broken otherwise elsewhere.
_TOLERANCE = 0.1


def record(estimator):
    """Ask an estimator that is fitted, and nobody else's; give what JSON can hold."""
    texts = _own_words(estimator) or _SENTENCES
    stages = predicting_models(estimator)
    for stage in stages:
        stage.verbose = 0
    asked = []
    with _undisturbed():
        for _ in range(2):
            asked.append(_ask(estimator, texts))
            for number, stage in enumerate(stages):
                with stage._networks() as networks:
                    asked[-1] |= _ask_networks(stage, networks, number, texts)
    for name, answer in asked[0].items():
        is_known = np.isfinite(answer).all()
        if not (is_known and np.allclose(asked[1][name], answer, rtol=0.01, atol=0.01)):
            raise ValueError(f"{name}: no numbers, or others each time.")
    answers = {name: answer.tolist() for name, answer in asked[0].items()}
    return {"texts": texts, "answers": answers} if answers else None


class SelfTest:
    """The questions to what is in a file, whose `header` has the answers, if any."""

    def __init__(self, path, header):
        self.path, self.versions = path, header["versions"]
        self.recorded = header.get("self_test")

    def ask(self, estimator):
        """Ask all but language models; each is asked once it has been loaded."""
        if not self.recorded:
            return
        with self.refusing():
            with _undisturbed():
                self._compare(_ask(estimator, self.recorded["texts"]))
            for number, stage in enumerate(predicting_models(estimator)):
                stage._self_test = self, number

    def ask_networks(self, stage, networks, number):
        """Ask a language model that has just been loaded, in whatever thread."""
        verbose, networks.backbone.verbose = networks.backbone.verbose, 0
        texts = self.recorded["texts"]
        self._compare(_ask_networks(stage, networks, number, texts))
        networks.backbone.verbose = verbose

    @contextmanager
    def refusing(self):
        """Make one kind of error of the many that can come of a file."""
        try:
            yield
        except Exception as error:  # of many kinds, by what the file makes of it
            if isinstance(error, ValueError) and str(self.path) in str(error):
                raise
            raise ValueError(
                f"{self.path} does not predict here as it did where it was saved: "
                f"{type(error).__name__}: {error} Have the same language model and "
                f"versions of packages, {self.versions}, or save it anew; with "
                f"check_model=False it is loaded, and not asked."
            ) from error

    def _compare(self, found):
        """Raise an error if answers are not those that are recorded."""
        answers = self.recorded["answers"]  # of a version that may ask less, or more
        for name in found.keys() & answers.keys():
            if _differ(found[name], np.array(answers[name])):
                raise ValueError(f"{name}: other numbers.")


def _ask(estimator, texts):
    """Answers by name, but those for which a language model would have to be loaded."""
    answers, stages = {}, predicting_models(estimator)
    for number, stage in enumerate(stages):
        for name, view in stage.views_.items():
            if not language_models(view):
                found = stage._keep(name, view.transform(texts), len(texts))
                answers[f"view {name} {number}"] = found
    final = getattr(estimator, "final_estimator_", None)
    dynamics = getattr(estimator, "dynamics_", None)
    like = getattr(getattr(estimator, "prior_", estimator), "_like", None)
    if stages and final is None and like is not None:
        answers["posterior"] = estimator._judge(_make_trajectories(like))
    used = next(part for part in (final, dynamics, estimator) if part is not None)
    if not language_models(used):
        answers |= _answers(estimator, _make_X(estimator, dynamics, like, texts))
    return {name: _sketch(answer) for name, answer in answers.items()}


def _make_X(estimator, dynamics, like, texts):
    """Give texts, or make what else an estimator reads."""
    first = estimator if dynamics is None else dynamics
    if getattr(first, "vectorizer", None) == "passthrough":
        return _draw((_N_MADE, first.n_features_in_))
    is_later = dynamics is None and like is not None
    return _make_trajectories(like) if is_later else texts


def _answers(estimator, X):
    """What an estimator says of texts, or whatever else it reads."""
    answers = {}
    if hasattr(estimator, "predict_proba"):
        answers["probabilities"] = estimator.predict_proba(X)
    elif hasattr(estimator, "predict"):
        answers["classes"] = np.equal.outer(estimator.predict(X), estimator.classes_)
    if hasattr(estimator, "transform"):
        answers |= _arrays(estimator._transform(estimator._check_seen(X)))
    return answers


def _ask_networks(stage, networks, number, texts):
    """Answers of a language model, by name."""
    answers = _arrays(networks.replay(stage, texts))
    answers["probabilities"] = networks.predict_proba(stage, texts)
    return {f"{name} {number}": _sketch(answer) for name, answer in answers.items()}


def _arrays(trajectories):
    """Arrays of trajectories, by name."""
    return {f"recorded {name}": a for name, a in trajectories._arrays().items()}


def _own_words(estimator):
    """Texts of some of the words that an estimator keeps, none of them of a user."""
    texts = []
    for part in parts_of(estimator):
        words = sorted(w for w in getattr(part, "vocabulary_", ()) if type(w) is str)
        words = words[:: -(-len(words) // _N_WORDS) or 1]
        steps = range(0, len(words), _WORDS_PER_TEXT)
        texts += [" ".join(words[i : i + _WORDS_PER_TEXT]) for i in steps]
    return list(dict.fromkeys(texts))


def _make_trajectories(like):
    """Make up trajectories of the kind of others, always the same ones."""
    made = like._changed(lambda array: _draw((_N_MADE, *array.shape[1:])))
    for name in ("probabilities", "prior", "opinions"):
        if getattr(made, name) is not None:
            setattr(made, name, softmax(getattr(made, name), axis=-1))
    return made


def _draw(shape):
    """Draw random numbers, always the same ones; rows have a length of about 1."""
    if np.prod(shape, dtype=float) > _MOST_NUMBERS:
        raise ValueError(f"the shape {shape} is too large.")
    numbers = np.random.RandomState(0).standard_normal(shape)
    return (numbers / np.sqrt(shape[-1])).astype(np.float32)


def _sketch(answer):
    """Few numbers of each row, which keep distances between answers by and large."""
    rows = np.asarray(answer, dtype=np.float64).reshape(len(answer), -1)
    if rows.shape[1] <= _N_KEPT:
        return rows
    return rows @ _draw((rows.shape[1], _N_KEPT))


def _differ(found, expected):
    """Whether most rows of answers are others."""
    if found.shape != expected.shape:
        return True
    distances = np.linalg.norm(found - expected, axis=1)
    is_same = distances <= _TOLERANCE * np.linalg.norm(expected, axis=1)
    return is_same.mean() < 0.5  # of NaN, nothing is the same


@contextmanager
def _undisturbed():
    """Ask without a word, and without a change of numpy's random numbers."""
    state = np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)
