"""Embeddings by anything that gives some: callables, transformers, static models."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

import skdygen
from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics, _engine, _frozen
from skdygen.dynamics._hub import load_sentence_transformer
from tests.conftest import WORDS, make_word_texts
from tests.dynamics.conftest import LABELS, TEXTS, assert_same, make_dynamics

NEW, RIGHT = make_word_texts(30, seed=1)
KNOWN = [word for words in WORDS.values() for word in words]


def count_words(texts):
    """Count known words, as an encoder that a user brings."""
    return np.array([[text.split().count(word) for word in KNOWN] for text in texts])


class Counter:
    """The same, with a state."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, texts):
        return self.scale * count_words(texts)


def make_frozen(model, **params):
    return make_dynamics(model, **{"trainable_layers": 0, "n_epochs": 5} | params)


def make_lsa():
    return make_pipeline(TfidfVectorizer(), TruncatedSVD(6, random_state=0))


def make_static(tiny_model):
    """Make a model of sentence-transformers that has no layers."""
    tokenizer = load_sentence_transformer(tiny_model).tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(0)
        static = modules.StaticEmbedding(tokenizer._tokenizer, embedding_dim=12)
    return SentenceTransformer(modules=[static], device="cpu")


@pytest.mark.parametrize(
    "model",
    [count_words, Counter(0.5), make_lsa(), FrozenEstimator(make_lsa().fit(TEXTS))],
)
def test_callables_and_transformers(model):
    dynamics = make_frozen(model)
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    plain = make_lsa().fit(TEXTS).transform if hasattr(model, "fit") else model
    assert_allclose(recorded.views["initial"], plain(TEXTS), atol=1e-3)
    assert dynamics.score(NEW, RIGHT) > 0.9
    assert_allclose(dynamics.transform(NEW).views["initial"], plain(NEW), atol=1e-3)
    assert_same(pickle.loads(pickle.dumps(dynamics)).transform(TEXTS), recorded)
    assert_same(clone(dynamics).fit_transform(TEXTS, LABELS), recorded)
    clf = DyGenClassifier(dynamics, random_state=0)
    found = cross_val_predict(clf, NEW + TEXTS, np.append(RIGHT, LABELS), cv=2)
    assert (found[:30] == RIGHT).mean() > 0.9


def test_very_many_texts_are_embedded_in_parts(monkeypatch):
    asked = []

    def count(texts):
        asked.append(len(texts))
        return count_words(texts)

    expected = make_frozen(count_words).fit_transform(TEXTS, LABELS)
    monkeypatch.setattr(_frozen, "_EMBEDDED_AT_ONCE", 7)
    assert_same(make_frozen(count).fit_transform(TEXTS, LABELS), expected)
    assert max(asked) == 7
    assert sum(asked) == len(TEXTS) + 1  # and the text that tells models apart


def test_what_is_fitted_is_a_copy():
    model = make_lsa()
    dynamics = make_frozen(model, n_epochs=1).fit(TEXTS, LABELS)
    assert not hasattr(model[0], "vocabulary_")
    assert dynamics.encoder_[0].vocabulary_
    dynamics.set_params(model__truncatedsvd__n_components=4).fit(TEXTS, LABELS)
    assert len(dynamics.fingerprint_) == 4


def test_models_of_sentence_transformers_without_layers(tiny_model, tmp_path):
    model = make_static(tiny_model)
    model.save(str(tmp_path))
    expected = model.encode(TEXTS)
    for source in (model, tmp_path):
        dynamics = make_frozen(source, max_length=3)
        recorded = dynamics.fit_transform(TEXTS, LABELS)
        assert_allclose(recorded.views["initial"], expected, atol=2e-3)
        assert_same(copy.deepcopy(dynamics).transform(TEXTS), recorded)
        for layers in (1, "all"):
            with pytest.raises(ValueError, match=r"not begin with a transformer.*=0"):
                make_dynamics(source, trainable_layers=layers).fit(TEXTS, LABELS)
    path = tmp_path / "model.skops"
    make_frozen(model).fit(TEXTS, LABELS).save(path, bundle=True)
    loaded = skdygen.load(path, warm=True)
    assert_allclose(loaded.transform(TEXTS).views["initial"], expected, atol=2e-3)


def test_any_form_of_an_array():
    expected = make_frozen(count_words).fit_transform(TEXTS, LABELS)
    for make in (np.ndarray.tolist, pd.DataFrame, torch.tensor, list):
        found = make_frozen(lambda texts, make=make: make(count_words(texts)))
        assert_same(found.fit_transform(TEXTS, LABELS), expected)


def test_texts_that_it_is_asked_about():
    """All to fit, each once to predict, and another, of which it may know nothing."""
    calls = []

    def encode(texts):
        calls.append([*texts])
        found = count_words(texts)
        return found / found.sum(axis=1, keepdims=True)

    dynamics = make_frozen(encode, n_epochs=1)
    with np.errstate(invalid="ignore"):
        known = [text for text in TEXTS if "fox" in text]
        dynamics.fit(known, LABELS[: len(known)])
        dynamics.predict(["cat", "dog", "cat"])
        dynamics.predict(["owl"])
    (fixed, *_), *rest = calls
    assert rest == [known, [fixed], ["cat", "dog"], ["owl"]]


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda x: x[:-1], r"shape \(74, 18\) for 75 texts, but \(75, 18\) is needed"),
        (lambda x: x[:, 0], r"shape \(75,\) for 75 texts"),
        (lambda x: x[:, :0], r"shape \(\d+, 0\)"),
        (lambda x: x[0, 0], r"shape \(\)"),
        (lambda x: None, "NoneType that is no array|shape"),
        (lambda x: x.astype(str) + "?", "ndarray that is no array of numbers"),
        (
            lambda x: [row[: 18 - (i > 4)] for i, row in enumerate(x)],
            "row 5 has 17 of them, row 0 has 18",
        ),
        (sparse.csr_matrix, "sparse matrix of 18 columns.*TruncatedSVD"),
        (lambda x: np.where(x > 2, np.nan, x), "gives nan for the text 'owl owl owl'"),
        (lambda x: np.where(x > 2, 1e6, x), "gives 1000000.0 for the text 'owl"),
        (lambda x: x * 1e-4, "18 numbers for a text that differ too little"),
        (lambda x: x * 0 + 5, "variance 0, 1e-05 is needed"),
    ],
)
def test_what_is_no_embedding_is_refused_before_any_training(
    give, message, monkeypatch
):
    monkeypatch.setattr(_engine, "_train", None)
    texts = ["cat", "owl owl owl", *TEXTS[2:]]

    def encode(texts):
        found = count_words(texts)
        return found if len(texts) == 1 and "sparse" not in message else give(found)

    with pytest.raises(ValueError, match=message):
        make_frozen(encode).fit(texts, LABELS)


def test_one_number_for_a_text_is_too_few():
    with pytest.raises(ValueError, match=r"gives 1 numbers for a text .* give more"):
        make_frozen(lambda texts: count_words(texts)[:, :1]).fit(TEXTS, LABELS)


def test_another_encoder_or_width_at_prediction():
    dynamics = make_frozen(count_words, n_epochs=1).fit(TEXTS, LABELS)
    changed = copy.deepcopy(dynamics)
    for other in (lambda x: count_words(x)[:, ::-1], lambda x: count_words(x)[:, 1:]):
        changed.set_params(model=other)
        with pytest.raises(ValueError, match=r"is not the model .* set_params\(model"):
            changed.predict(TEXTS)
    width = [18]
    dynamics = make_frozen(lambda texts: count_words(texts)[:, : width[0]], n_epochs=1)
    dynamics.fit(TEXTS, LABELS).predict(TEXTS)
    width[0] = 17
    with pytest.raises(ValueError, match=r"shape \(2, 17\) .* \(2, 18\) is needed"):
        dynamics.predict(["cat", "dog", "cat"])


@pytest.mark.parametrize(
    ("model", "layers", "error", "message"),
    [
        (count_words, 3, ValueError, "no language model.*trainable_layers=0"),
        (CountVectorizer(), "all", ValueError, "no language model"),
        (CountVectorizer, 0, TypeError, r"pass CountVectorizer\(\) instead"),
        (torch.nn.Linear(1, 1), 0, TypeError, "Linear, which comes without a token"),
        (3, 0, ValueError, "'model' parameter"),
    ],
)
def test_what_is_no_encoder(model, layers, error, message, monkeypatch):
    monkeypatch.setattr(_engine, "fit", None)
    clf = DyGenClassifier(LanguageModelDynamics(model, trainable_layers=layers))
    with pytest.raises(error, match=message):
        clf.fit(TEXTS, LABELS)


def test_memory_knows_a_function_by_name_and_source(tmp_path, monkeypatch):
    fits = []
    fit = _engine.fit
    monkeypatch.setattr(
        _engine, "fit", lambda *args, **kw: fits.append(1) or fit(*args, **kw)
    )
    clf = DyGenClassifier(
        make_frozen(count_words, n_epochs=1), memory=tmp_path, random_state=0
    )
    for _ in range(2):
        clf.fit(TEXTS, LABELS)
    assert len(fits) == 1
    monkeypatch.setattr("skdygen._cache.inspect.getsource", lambda model: "other")
    clf.fit(TEXTS, LABELS)
    assert len(fits) == 2
    clf.set_params(dynamics__model=Counter(2)).fit(TEXTS, LABELS)
    assert len(fits) == 3
    clf.set_params(dynamics__model=lambda texts: count_words(texts))
    with pytest.raises(TypeError, match=r"memory=.*lambda.* a function of a module"):
        clf.fit(TEXTS, LABELS)
    assert len(fits) == 3


def test_saving(tmp_path):
    path = tmp_path / "model.skops"
    dynamics = make_frozen(count_words, n_epochs=1)
    clf = DyGenClassifier(dynamics, random_state=0).fit(TEXTS, LABELS)
    clf.save(path)
    name = f"{__name__}.count_words"
    assert skdygen._storage.read_card(path)["language model"] == [name]
    with pytest.raises(ValueError, match=f"not trusted.*{name}"):
        skdygen.load(path)
    loaded = skdygen.load(path, trusted=[name], warm=True)
    assert_array_equal(loaded.predict_proba(NEW), clf.predict_proba(NEW))
    with pytest.raises(ValueError, match=r"bundle=True needs .* this one has 0"):
        clf.save(path, overwrite=True, bundle=True)
    # One that has no name, or belongs to an object.
    for other in (lambda texts: count_words(texts), Counter(1).__call__):
        clf = DyGenClassifier(make_frozen(other, n_epochs=1), random_state=0)
        with pytest.raises(TypeError, match=r"\.model .* a function of a module"):
            clf.fit(TEXTS, LABELS).save(path, overwrite=True)
    # What scikit-learn has fitted is in the file.
    clf = DyGenClassifier(make_frozen(make_lsa(), n_epochs=1), random_state=0)
    clf.fit(TEXTS, LABELS).save(path, overwrite=True)
    loaded = skdygen.load(path, warm=True)
    assert_array_equal(loaded.predict_proba(NEW), clf.predict_proba(NEW))


def test_a_killed_fit_resumes_with_the_same_embeddings_only(tmp_path):
    class Killed(BaseException):
        pass

    def fit(model, **params):
        dynamics = make_frozen(model, checkpoint_dir=tmp_path, n_epochs=2, **params)
        return dynamics.fit(TEXTS, LABELS)

    finish = _engine._check_weights

    def kill(branches, epoch):
        if epoch == 1:
            raise Killed
        finish(branches, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_engine, "_check_weights", kill)
        with pytest.raises(Killed):
            fit(count_words)
    (kept,) = tmp_path.iterdir()
    fit(Counter(2))
    assert kept.exists()
    fit(Counter(1))  # by another name it gives the same
    assert not kept.exists()
