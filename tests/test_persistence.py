import copy
import hashlib
import json
import pickle
import re
import warnings
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pytest
import sklearn
import skops.io
from numpy.testing import assert_array_equal
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdygen import DyGenClassifier, _persistence
from skdygen.denoisers import TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import TrajectoryKNNPrior
from tests.conftest import make_word_texts


class OwnVectorizer(TfidfVectorizer):
    pass


@pytest.fixture(scope="module")
def fitted(tiny_model, word_texts):
    """Fine-tune a tiny model."""
    texts, _, noisy = word_texts
    dynamics = LanguageModelDynamics(tiny_model, n_epochs=2, learning_rate=5e-3)
    return DyGenClassifier(dynamics, random_state=0).fit(texts, noisy)


def make_fast(**params):
    return DyGenClassifier(IncrementalDynamics(), random_state=0).set_params(**params)


def assert_equal(left, right):
    """Compare all that users read of two fitted classifiers, to the bit."""
    texts, _ = make_word_texts(40, seed=1)
    assert type(left) is type(right)
    assert_array_equal(left.predict_proba(texts), right.predict_proba(texts))
    assert_array_equal(left.predict(texts), right.predict(texts))
    assert_array_equal(left.label_distributions_, right.label_distributions_)
    assert_array_equal(left.transduction_, right.transduction_)
    assert left.transduction_.dtype == right.transduction_.dtype
    assert left.label_issues().equals(right.label_issues())


def through_skops(estimator):
    data = skops.io.dumps(estimator)
    found = skops.io.get_untrusted_types(data=data)
    assert found
    assert all(name.startswith("skdygen.") for name in found)
    return skops.io.loads(data, trusted=found)


@pytest.mark.parametrize(
    "round_trip",
    [
        lambda e: pickle.loads(pickle.dumps(e)),
        lambda e: cloudpickle.loads(cloudpickle.dumps(e)),
        copy.deepcopy,
        through_skops,
    ],
)
def test_any_way_to_store_gives_the_same(fitted, round_trip):
    assert_equal(round_trip(fitted), fitted)


def test_joblib(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    assert_equal(joblib.load(tmp_path / "model.joblib"), fitted)


def test_folder(fitted, tmp_path):
    fitted.save(tmp_path / "some" / "model")
    names = {path.name for path in (tmp_path / "some" / "model").iterdir()}
    assert names == {"model.json", "arrays.safetensors"}
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["model"]
    loaded = DyGenClassifier.load(tmp_path / "some" / "model")
    assert_equal(loaded, fitted)
    assert loaded.dynamics_ is loaded.pipeline_[0]  # kept once, as before


@pytest.mark.parametrize(
    "params",
    [
        {"prior": TrajectoryKNNPrior()},
        {"denoiser": TransitionMatrixDenoiser(), "prior__n_neighbors": 4},
        {
            "final_estimator": make_pipeline(TfidfVectorizer(), LogisticRegression()),
            "random_state": np.random.RandomState(0),
        },
        {
            "final_estimator": make_pipeline(
                TfidfVectorizer(dtype=np.float32), KNeighborsClassifier()
            ),
            "missing_label": np.nan,
        },
        {"dynamics__estimator": MultinomialNB()},
        {"dynamics__vectorizer": TfidfVectorizer(ngram_range=(1, 2))},
    ],
)
@pytest.mark.parametrize("names", [("animal", "fruit"), (2, 5), (False, True)])
def test_folder_of_other_stages_and_labels(word_texts, tmp_path, params, names):
    texts, _, noisy = word_texts
    y = np.where(noisy == "animal", *names)
    clf = make_fast(**params).fit(texts, y)
    clf.save(tmp_path / "model")
    assert_equal(DyGenClassifier.load(tmp_path / "model"), clf)


def test_folder_of_one_stage_or_of_none_fitted(word_texts, tmp_path):
    texts, _, noisy = word_texts
    stage = IncrementalDynamics(random_state=0).fit(texts, noisy)
    stage.save(tmp_path / "stage")
    loaded = IncrementalDynamics.load(tmp_path / "stage")
    assert_array_equal(loaded.predict_proba(texts), stage.predict_proba(texts))
    with pytest.raises(ValueError, match="IncrementalDynamics, not a DyGenClassifier"):
        DyGenClassifier.load(tmp_path / "stage")
    make_fast(memory=Path("/nowhere")).save(tmp_path / "unfitted")
    assert DyGenClassifier.load(tmp_path / "unfitted").memory is None


def test_no_cache_is_read_that_a_folder_names(tmp_path):
    """It would hold pickles."""
    make_fast(final_estimator=make_pipeline(TfidfVectorizer(), LogisticRegression()))
    final = make_pipeline(TfidfVectorizer(), LogisticRegression(), memory="cache")
    make_fast(memory="cache", final_estimator=final).save(tmp_path / "model")
    tree = (tmp_path / "model" / "model.json").read_text()
    assert '"cache"' not in tree

    def name_a_cache(content):
        content["estimator"]["state"]["memory"] = "cache"

    change_tree(tmp_path / "model", name_a_cache)
    loaded = DyGenClassifier.load(tmp_path / "model")
    assert loaded.memory is None
    assert loaded.final_estimator.memory is None


def test_a_memory_object_is_left_out(word_texts, tmp_path):
    texts, _, noisy = word_texts
    memory = joblib.Memory(tmp_path / "cache", verbose=0)
    clf = make_fast(memory=memory).fit(texts, noisy)
    clf.save(tmp_path / "model")
    loaded = DyGenClassifier.load(tmp_path / "model")
    assert loaded.memory is None
    assert_array_equal(loaded.predict_proba(texts), clf.predict_proba(texts))


def test_what_cannot_be_written_is_named_and_nothing_is_left(tmp_path):
    final = make_pipeline(
        FunctionTransformer(str.lower), TfidfVectorizer(), LogisticRegression()
    )
    clf = make_fast(final_estimator=final)
    place = r"DyGenClassifier\.final_estimator\.steps\[0\]\[1\]\.func holds a .*skops"
    with pytest.raises(TypeError, match=place):
        clf.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_what_was_there(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    make_fast(correction_threshold=0.5).save(folder)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_persistence, "write_safetensors", fail)
    with pytest.raises(OSError, match="No space left"):
        make_fast().save(folder, overwrite=True)
    assert DyGenClassifier.load(folder).correction_threshold == 0.5
    assert list(tmp_path.iterdir()) == [folder]


def test_nothing_is_replaced_unasked(tmp_path):
    folder = tmp_path / "model"
    make_fast(correction_threshold=0.5).save(folder)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make_fast().save(folder)
    assert DyGenClassifier.load(folder).correction_threshold == 0.5
    make_fast(correction_threshold=0.7).save(folder, overwrite=True)
    assert DyGenClassifier.load(folder).correction_threshold == 0.7
    assert list(tmp_path.iterdir()) == [folder]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="no saved model"):
        make_fast().save(other, overwrite=True)
    assert (other / "thesis.tex").exists()
    (other / "model.json").write_text('{"format": "layers-model"}')  # of somebody else
    with pytest.raises(FileExistsError, match="no saved model"):
        make_fast().save(other, overwrite=True)
    assert len(list(other.iterdir())) == 2


def test_ctrl_c_while_a_model_is_replaced(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    make_fast(correction_threshold=0.5).save(folder)
    replace = Path.replace

    def interrupted(self, target):
        if self.name.endswith(".part"):
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_fast().save(folder, overwrite=True)
    assert DyGenClassifier.load(folder).correction_threshold == 0.5
    assert list(tmp_path.iterdir()) == [folder]


def change_tree(folder, change):
    """Edit what is saved, checksum included, as somebody who means harm would."""
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    canonical = json.dumps(content["estimator"], sort_keys=True)
    content["sha256_of_estimator"] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.update(format_version=99), "newer skdygen .*update"),
        (lambda c: c.update(format="other"), "holds no model"),
        (lambda c: c["estimator"].update({"class": "os.system"}), "no estimator of"),
        (
            lambda c: c["estimator"].update({"class": "sklearn.base.clone"}),
            "no estimator",
        ),
        (
            lambda c: c["estimator"].update({"class": "sklearn.base.Nothing"}),
            "not to be found",
        ),
        (
            lambda c: c["estimator"]["state"].update(
                memory={"type": "loss", "class": "subprocess.Popen", "args": []}
            ),
            "names the loss subprocess.Popen",
        ),
        (
            lambda c: c["estimator"]["state"].update(
                memory={"type": "sparse", "class": "load_npz", "parts": [0, 1]}
            ),
            "names the class load_npz",
        ),
    ],
)
def test_folders_that_are_refused(tmp_path, change, match):
    make_fast().save(tmp_path / "model")
    change_tree(tmp_path / "model", change)
    with pytest.raises(ValueError, match=match):
        DyGenClassifier.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
@pytest.mark.parametrize("kind", ["cut", "changed", "missing"])
def test_damaged_folders_are_refused(word_texts, tmp_path, name, kind):
    texts, _, noisy = word_texts
    folder = tmp_path / "model"
    make_fast().fit(texts, noisy).save(folder)
    data = bytearray((folder / name).read_bytes())
    if kind == "missing":
        (folder / name).unlink()
    elif kind == "cut":
        (folder / name).write_bytes(data[: len(data) // 2])
    else:
        position = data.rindex(b"0.") if name == "model.json" else len(data) // 2
        data[position] ^= 1
        (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged|cannot be read"):
        DyGenClassifier.load(folder)


def test_other_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        DyGenClassifier.load(tmp_path / "model")
    with pytest.raises(ValueError, match="holds no model"):
        DyGenClassifier.load(tmp_path)


def test_classes_of_others_are_made_only_if_trusted(word_texts, tmp_path):
    texts, _, noisy = word_texts
    clf = make_fast(dynamics__vectorizer=OwnVectorizer()).fit(texts, noisy)
    clf.save(tmp_path / "model")
    name = f"{__name__}.OwnVectorizer"
    with pytest.raises(ValueError, match=rf"pass trusted=\['{name}'\]"):
        DyGenClassifier.load(tmp_path / "model")
    loaded = DyGenClassifier.load(tmp_path / "model", trusted=[name])
    assert_equal(loaded, clf)


@pytest.mark.parametrize("version", ["99.0.1", "2.0.dev0"])
def test_a_newer_scikit_learn_is_said(word_texts, tmp_path, monkeypatch, version):
    texts, _, noisy = word_texts
    with monkeypatch.context() as patched:
        patched.setattr(sklearn, "__version__", version)
        clf = make_fast().fit(texts, noisy)
        clf.save(tmp_path / "model")
        pickled = pickle.dumps(clf)
    message = f"with scikit-learn {re.escape(version)}, .*update scikit-learn"
    with pytest.raises(ValueError, match=message):
        DyGenClassifier.load(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        pickle.loads(pickled)


def test_another_version_of_scikit_learn_warns(word_texts, tmp_path):
    texts, _, noisy = word_texts
    clf = make_fast().fit(texts, noisy)
    clf.save(tmp_path / "model")

    def make_old(content):
        now = f'"_sklearn_version": "{sklearn.__version__}"'
        text = json.dumps(content["estimator"])
        assert now in text
        content["estimator"] = json.loads(
            text.replace(now, '"_sklearn_version": "1.6.0"')
        )

    change_tree(tmp_path / "model", make_old)
    with pytest.warns(InconsistentVersionWarning, match=r"1\.6\.0"):
        loaded = DyGenClassifier.load(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        assert_equal(loaded, clf)
