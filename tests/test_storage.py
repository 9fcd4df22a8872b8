import copy
import io
import json
import os
import pickle
from pathlib import Path
from unittest.mock import Mock
from zipfile import ZipFile

import cloudpickle
import joblib
import numpy as np
import pytest
import sklearn
import skops.io
from numpy.testing import assert_array_equal
from sentence_transformers import SentenceTransformer
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skdygen
from skdygen import DyGenClassifier, Trajectories, _storage
from skdygen._storage import load_with_metadata, save_estimator
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import TrajectoryKNNPrior, UniformPrior
from tests.conftest import make_word_texts


class Holder(BaseEstimator):
    def __init__(self, *held):
        self.held = held


def lower(text):
    return text.lower()


def make_fast(**params):
    stages = IncrementalDynamics(), UniformPrior(), TransitionMatrixDenoiser()
    return DyGenClassifier(*stages, random_state=0).set_params(**params)


def with_final(*steps, dtype=np.float64, **params):
    steps = TfidfVectorizer(dtype=dtype), *steps
    return {"final_estimator": make_pipeline(*steps, **params)}


@pytest.fixture(scope="module")
def fitted(tiny_model, word_texts):
    texts, _, noisy = word_texts
    dynamics = LanguageModelDynamics(tiny_model, n_epochs=2, learning_rate=5e-3)
    return DyGenClassifier(dynamics, random_state=0).fit(texts, noisy)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skops"


def assert_equal(left, right):
    """Compare all that users read of two fitted classifiers, to the bit."""
    texts, _ = make_word_texts(40, seed=1)
    assert type(left) is type(right)
    assert_array_equal(left.predict_proba(texts), right.predict_proba(texts))
    assert_array_equal(left.label_distributions_, right.label_distributions_)
    assert_array_equal(left.transduction_, right.transduction_, strict=True)
    assert left.label_issues().equals(right.label_issues())


def through_joblib(estimator):
    joblib.dump(estimator, file := io.BytesIO())
    return joblib.load(file)


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("copied", [copy.deepcopy, through_joblib])
def test_any_way_to_store_gives_the_same(fitted, dumps, copied):
    assert_equal(copied(pickle.loads(dumps(fitted))), fitted)


def test_file(fitted, path, random_trajectories):
    path = path.with_name("new") / path.name
    fitted.save(path)
    assert list(path.parent.iterdir()) == [path]
    plain, trajectories = path.with_name("plain"), path.with_name("trajectories")
    plain.touch()
    random_trajectories.save(trajectories)
    assert len({p.stat().st_mode for p in (path, plain, trajectories)}) == 1
    loaded = skdygen.load(path)
    assert_equal(loaded, fitted)
    assert loaded.dynamics_ is loaded.pipeline_[0]  # kept once, as before
    snapshots = fitted.dynamics_.snapshots_
    assert loaded.dynamics_.snapshots_ == snapshots
    sizes = [info.file_size for info in ZipFile(path).infolist()]  # and stored once
    assert sum(size >= len(snapshots[0]) for size in sizes) == len(snapshots) + 1


@pytest.mark.parametrize(
    "params",
    [
        {"prior": TrajectoryKNNPrior(), "memory": joblib.Memory(None)},
        {"prior": None, "denoiser": DirichletVAE(n_epochs=2)},
        {"random_state": np.random.RandomState(0), "missing_label": np.nan},
        {"dynamics__estimator": MLPClassifier(hidden_layer_sizes=4)},
        {"dynamics__vectorizer": TfidfVectorizer(max_features=9)},
        with_final(FunctionTransformer(np.log1p), LogisticRegression()),
        with_final(CalibratedClassifierCV(LogisticRegression()), dtype=np.float32),
        with_final(SelectKBest(chi2, k=4), KNeighborsClassifier()),
    ],
)
def test_other_stages(word_texts, path, params):
    texts, _, noisy = word_texts
    clf = make_fast(**params).fit(texts, noisy)
    clf.save(path)
    loaded = DyGenClassifier.load(path)
    assert_equal(loaded, clf)
    assert loaded.memory is loaded.pipeline_.memory is None


@pytest.mark.parametrize("names", [(2, 5), (False, True), ("a", "b")])
def test_other_labels(word_texts, path, names):
    texts, _, noisy = word_texts
    y = np.array(names, dtype=object if "a" in names else None)
    clf = make_fast(class_weight={names[0]: 1, names[1]: 2})
    clf.fit(texts, y[(noisy == "animal").astype(int)]).save(path)
    assert_equal(skdygen.load(path), clf)
    assert skdygen.load(path).class_weight == clf.class_weight


def test_one_stage_or_none_fitted(word_texts, path):
    texts, _, noisy = word_texts
    stage = IncrementalDynamics(random_state=0).fit(texts, noisy)
    stage.save(path)
    loaded = IncrementalDynamics.load(path)
    assert_array_equal(loaded.predict_proba(texts), stage.predict_proba(texts))
    with pytest.raises(ValueError, match="IncrementalDynamics, not a DyGenClassifier"):
        DyGenClassifier.load(path)
    LanguageModelDynamics("some/name").save(path.with_name("unfitted"))
    assert skdygen.load(path.with_name("unfitted")).model == "some/name"


def test_containers_and_what_comes_with_them(path, random_trajectories):
    mapped = np.memmap(path.with_name("mapped"), np.float32, "w+", shape=(40, 2, 3, 5))
    random_trajectories.embeddings = mapped
    keys = {None: 1, False: np.float32(2), 3: [np.nan], (4, "5"): {"six"}}
    nested = np.array([[keys, b"bytes"], [1, Path("folder")]], dtype=object)
    held = Holder(random_trajectories, keys, nested, mapped)
    save_estimator(held, path, metadata={"text": "body"})
    trusted = [f"{__name__}.Holder"]
    loaded, metadata = load_with_metadata(path, trusted)
    assert metadata == {"text": "body"}
    trajectories, found, array, plain = loaded.held
    assert type(trajectories) is Trajectories
    assert type(trajectories.embeddings) is type(plain) is np.ndarray
    for name, value in vars(random_trajectories).items():
        assert_array_equal(getattr(trajectories, name), value)
    assert repr(found) == repr(keys)
    assert array.tolist() == [[found, b"bytes"], [1, "folder"]]
    assert array[0, 0] is found
    versions = json.loads(ZipFile(path).read("skdygen.json"))["versions"]
    assert versions["skdygen"] == skdygen.__version__
    assert versions.keys() > {"Python", "scikit-learn", "numpy", "torch", "skops"}


def write_as_a_stranger(estimator, path, **header):
    """Write a file without any of the care that `save` takes."""
    skops.io.dump(estimator, path)
    header = {"format": 1, "versions": {"skdygen": "9.9"}, "metadata": {}} | header
    with ZipFile(path, "a") as file:
        file.writestr("skdygen.json", json.dumps(header))


@pytest.mark.parametrize("write", [save_estimator, write_as_a_stranger])
def test_no_folder_goes_along(path, write):
    """A cache holds pickles."""
    hidden = np.empty(1, dtype=object)
    hidden[0] = ({"deep": make_pipeline(LogisticRegression(), memory="evil")},)
    dynamics = IncrementalDynamics(hidden, temp_folder="evil")
    clf = make_fast(memory="evil", dynamics=dynamics, **with_final(memory="evil"))
    write(clf, path)
    loaded = skdygen.load(path)
    assert loaded.memory is loaded.final_estimator.memory is None
    assert loaded.dynamics.temp_folder is None
    assert loaded.dynamics.estimator[0][0]["deep"].memory is None
    assert clf.memory == dynamics.temp_folder == hidden[0][0]["deep"].memory == "evil"
    write(LanguageModelDynamics(checkpoint_dir="evil"), path.with_name("stage"))
    assert skdygen.load(path.with_name("stage")).checkpoint_dir is None


def test_what_cannot_be_written_is_named_and_nothing_is_left(path, tiny_model):
    circle = []
    circle.append(circle)
    for params, match in [
        (with_final(FunctionTransformer(str.lower)), r"steps\[1\]\[1\]\.func holds a"),
        ({"dynamics": IncrementalDynamics(lambda: 0)}, r"dynamics\.estimator holds a"),
        (
            {"dynamics": LanguageModelDynamics(SentenceTransformer(tiny_model))},
            r"dynamics\.model holds .* name or folder",
        ),
        ({"class_weight": circle}, r"class_weight\[0\] refers to what it is a part of"),
        ({"class_weight": {"a": object()}}, r"class_weight\['a'\] holds a builtins"),
    ]:
        with pytest.raises(TypeError, match=r"^DyGenClassifier\..*" + match):
            make_fast(**params).save(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("module", "name"), [(skops.io, "dump"), (os, "replace")])
def test_an_interrupted_save_leaves_what_was_there(path, monkeypatch, module, name):
    make_fast(correction_threshold=0.5).save(path)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make_fast().save(path, overwrite=True)
    assert skdygen.load(path).correction_threshold == 0.5
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_replaced_unasked(path):
    make_fast(correction_threshold=0.5).save(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make_fast().save(path)
    assert skdygen.load(path).correction_threshold == 0.5
    make_fast().save(path, overwrite=True)
    assert skdygen.load(path).correction_threshold == "auto"
    path.write_text("my thesis")
    for mine in (path, path.parent):
        with pytest.raises(FileExistsError, match="no saved model"):
            make_fast().save(mine, overwrite=True)
    assert path.read_text() == "my thesis"


def test_damaged_files_are_refused(path):
    make_fast(correction_threshold=0.5).save(path)
    content = path.read_bytes()
    n_refused = 0
    for place in np.linspace(0, len(content) - 1, 40, dtype=int):
        path.write_bytes(content[:place])
        with pytest.raises(ValueError, match="is damaged"):
            skdygen.load(path)
        flipped = bytes([content[place] ^ 255])
        path.write_bytes(content[:place] + flipped + content[place + 1 :])
        try:  # the time of a member, for example, may be another one
            assert skdygen.load(path).correction_threshold == 0.5
        except ValueError:
            n_refused += 1
    assert n_refused > 30


def test_other_files_are_refused(path):
    with pytest.raises(FileNotFoundError, match=r"model\.skops"):
        skdygen.load(path)
    with pytest.raises(IsADirectoryError):
        skdygen.load(path.parent)
    skops.io.dump(make_fast(), path)
    with pytest.raises(ValueError, match="no saved model"):
        skdygen.load(path)
    write_as_a_stranger(make_fast(), path, format=_storage._FORMAT + 1)
    with pytest.raises(ValueError, match=r"newer skdygen, 9\.9: update"):
        skdygen.load(path)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        (f"{__name__}.lower", {"dynamics__vectorizer__preprocessor": lower}),
        (
            "sklearn.tree._tree.Tree",
            with_final(RandomForestClassifier(3, random_state=0)),
        ),
    ],
)
def test_only_what_is_trusted_is_used(word_texts, path, name, params):
    texts, _, noisy = word_texts
    clf = make_fast(dynamics__vectorizer=TfidfVectorizer()).set_params(**params)
    clf.fit(texts, noisy).save(path)
    with pytest.raises(ValueError, match=rf"pass trusted=\['{name}'\]"):
        skdygen.load(path)
    assert_equal(skdygen.load(path, trusted=[name]), clf)


def test_nothing_is_made_where_something_is_not_trusted(path, monkeypatch):
    write_as_a_stranger(make_fast(prior=Holder(), denoiser=os.system), path)
    monkeypatch.setattr(BaseEstimator, "__setstate__", None)  # nobody calls it
    with pytest.raises(ValueError, match=rf"trusted=\['.*system', '{__name__}\.Holder"):
        skdygen.load(path)


def test_another_version_of_scikit_learn_warns(word_texts, path, monkeypatch):
    texts, _, noisy = word_texts
    clf = make_fast().fit(texts, noisy)
    with monkeypatch.context() as patched:
        patched.setattr(sklearn.base, "__version__", "1.6.0")
        clf.save(path)
    with pytest.warns(InconsistentVersionWarning, match=r"1\.6\.0"):
        loaded = skdygen.load(path)
    assert_equal(loaded, clf)
