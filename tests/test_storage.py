import copy
import io
import json
import logging
import os
import pickle
import re
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock
from zipfile import ZIP_DEFLATED, ZipFile

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

import skdygen
from skdygen import DyGenClassifier, Trajectories, _bundle, _storage
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics, _engine
from skdygen.priors import TrajectoryKNNPrior, UniformPrior
from tests.conftest import make_word_texts, save_tiny_model


class Holder(_storage.StorageMixin, BaseEstimator):
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
    issues = (
        one.label_issues().drop(columns="text", errors="ignore")
        for one in (left, right)
    )
    pd.testing.assert_frame_equal(*issues)


def test_any_way_to_store_gives_the_same(fitted):
    assert_equal(copy.deepcopy(fitted), fitted)
    for dumps in (pickle.dumps, cloudpickle.dumps):
        assert_equal(pickle.loads(dumps(fitted)), fitted)
    joblib.dump(fitted, file := io.BytesIO())
    assert_equal(joblib.load(file), fitted)


def test_file(fitted, path):
    path = path.with_name("new") / path.name
    fitted.save(path)
    assert list(path.parent.iterdir()) == [path]
    path.with_name("plain").touch()
    assert path.stat().st_mode == path.with_name("plain").stat().st_mode
    loaded = skdygen.load(path)
    assert_equal(loaded, fitted)
    assert loaded.dynamics_ is loaded.pipeline_[0]  # kept once, as before
    snapshots = fitted.dynamics_.snapshots_
    assert loaded.dynamics_.snapshots_ == snapshots
    sizes = [info.file_size for info in ZipFile(path).infolist()]  # and stored once
    n_others = 2  # how all of it hangs together, and the decomposition of the view
    assert sum(s >= len(snapshots[0]) for s in sizes) == len(snapshots) + n_others


@pytest.mark.parametrize(
    "params",
    [
        {"prior": TrajectoryKNNPrior(), "memory": joblib.Memory(None)},
        {"prior": None, "denoiser": DirichletVAE(n_epochs=2)},
        {"random_state": np.random.RandomState(0), "missing_label": np.nan},
        {"missing_label": pd.NA},
        {"missing_label": pd.NaT},
        {"dynamics__estimator": MLPClassifier(hidden_layer_sizes=4)},
        {"dynamics__vectorizer": TfidfVectorizer(max_features=9)},
        with_final(FunctionTransformer(np.log1p), LogisticRegression()),
        with_final(CalibratedClassifierCV(LogisticRegression()), dtype=np.float32),
        with_final(SelectKBest(chi2, k=4), KNeighborsClassifier()),
        {"class_weight": {2: 1, 5: 2}},
        {"class_weight": {False: 1, True: 2}},
        {"class_weight": {"a": 1, "b": 2}},
    ],
)
def test_other_stages_and_labels(word_texts, path, params):
    texts, _, noisy = word_texts
    names = np.array([*params.get("class_weight", {"animal": 1, "fruit": 1})])
    names = names.astype(object if "a" in names else names.dtype)
    clf = make_fast(**params).fit(texts, names[(noisy == "fruit").astype(int)])
    clf.save(path)
    loaded = DyGenClassifier.load(path)
    assert_equal(loaded, clf)
    assert loaded.class_weight == clf.class_weight
    assert loaded.memory is loaded.pipeline_.memory is None


def test_a_home_folder(tmp_path, monkeypatch, random_trajectories):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    DyGenClassifier(IncrementalDynamics()).save("~/model.skops")
    random_trajectories.save("~/trajectories.safetensors")
    names = {"model.skops", "trajectories.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert isinstance(skdygen.load("~/model.skops"), DyGenClassifier)
    assert len(Trajectories.load("~/trajectories.safetensors")) == 40


def test_a_search_over_a_range(path):
    grid = {"logisticregression__C": range(1, 3)}
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    clf = DyGenClassifier(
        IncrementalDynamics(), final_estimator=GridSearchCV(final, grid)
    )
    clf.save(path)
    loaded = skdygen.load(path).final_estimator
    assert loaded.param_grid == {"logisticregression__C": [1, 2]}


def test_containers_and_what_comes_with_them(path, random_trajectories):
    mapped = np.memmap(path.with_name("mapped"), np.float32, "w+", shape=(40, 2, 3, 5))
    random_trajectories.embeddings = mapped
    keys = {None: 1, False: np.float32(2), 3: [np.nan], (4, "5"): {"six"}}
    nested = np.array([[keys, b"bytes"], [1, Path("folder")]], dtype=object)
    Holder(random_trajectories, keys, nested, mapped).save(path)
    loaded = skdygen.load(path, trusted=[f"{__name__}.Holder"])
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
    header = {"format": 1, "versions": {"skdygen": "9.9"}} | header
    with ZipFile(path, "a") as file:
        file.writestr("skdygen.json", json.dumps(header))


def write_members(path, members):
    """Write an archive whose checksums are all right, as somebody who knows them."""
    header = json.loads(members["skdygen.json"])
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        for name, content in members.items():
            if name != "skdygen.json":
                file.writestr(name, content)
        header["checksum"] = _storage._checksum(file, header)
        file.writestr("skdygen.json", json.dumps(header))


def read_members(path):
    with ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.mark.parametrize("write", [LanguageModelDynamics.save, write_as_a_stranger])
def test_no_folder_goes_along(path, write):
    """A cache holds pickles."""
    hidden = np.empty(1, dtype=object)
    hidden[0] = ({"deep": make_pipeline(LogisticRegression(), memory="evil")},)
    stage = IncrementalDynamics(hidden, temp_folder="evil")
    clf = make_fast(memory="evil", dynamics=stage, **with_final(memory="evil"))
    write(clf, path)
    loaded = skdygen.load(path)
    deep = loaded.dynamics.estimator[0][0]["deep"]
    for pipeline in (loaded, loaded.final_estimator, deep):
        assert pipeline.memory is None
    assert loaded.dynamics.temp_folder is None
    assert clf.memory == stage.temp_folder == hidden[0][0]["deep"].memory == "evil"
    write(LanguageModelDynamics(checkpoint_dir="evil"), path.with_name("stage"))
    assert skdygen.load(path.with_name("stage")).checkpoint_dir is None


def test_what_cannot_be_written_is_named_and_nothing_is_left(path, tiny_model):
    circle, model = [], SentenceTransformer(tiny_model)
    circle.append(circle)
    for params, match in [
        (with_final(FunctionTransformer(str.lower)), r"steps\[1\]\[1\]\.func holds a"),
        ({"dynamics": IncrementalDynamics(lambda: 0)}, r"dynamics\.estimator holds a"),
        (
            {"dynamics": LanguageModelDynamics(model)},
            r"s\.model holds .* name or folder",
        ),
        ({"class_weight": circle}, r"class_weight\[0\] refers to what it is a part of"),
        ({"class_weight": {"a": object()}}, r"class_weight\['a'\] holds a builtins"),
    ]:
        with pytest.raises(TypeError, match=r"^DyGenClassifier\..*" + match):
            make_fast(**params).save(path)
    assert list(path.parent.iterdir()) == []


def test_nothing_is_replaced_unasked_or_by_half(path, monkeypatch):
    make_fast(correction_threshold=0.5).save(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make_fast().save(path)
    for module, name in ((skops.io, "dump"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                make_fast().save(path, overwrite=True)
    assert skdygen.load(path).correction_threshold == 0.5
    assert list(path.parent.iterdir()) == [path]
    make_fast().save(path, overwrite=True)
    assert skdygen.load(path).correction_threshold == "auto"
    path.write_text("my thesis")
    for mine in (path, path.parent):
        with pytest.raises(FileExistsError, match="no saved model"):
            make_fast().save(mine, overwrite=True)
    assert path.read_text() == "my thesis"


def write_model(path):
    make_fast().save(path, overwrite=True)


def write_trajectories(path):
    Trajectories(np.zeros((6, 2, 3, 4)), np.full((6, 2, 3, 2), 0.5)).save(path)


@pytest.mark.skipif(os.name == "nt", reason="has other modes and links")
@pytest.mark.parametrize("write", [write_model, write_trajectories])
def test_links_and_modes_stay(write, tmp_path):
    (tmp_path / "there").mkdir()
    path, link = tmp_path / "there" / f"{'x' * 250}.csv", tmp_path / "link.csv"
    write(path)
    path.chmod(0o640)
    before = path.stat()
    link.symlink_to(path)
    write(link)
    assert link.is_symlink()
    assert path.stat().st_mode == before.st_mode
    assert path.stat().st_ino != before.st_ino  # another file took its place
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="has no named pipes in folders")
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OSError, match="no file that can be replaced"):
        write_trajectories(tmp_path / "pipe.csv")
    assert not (tmp_path / "pipe.csv").is_file()


def test_a_file_system_without_modes(path, monkeypatch):
    monkeypatch.setattr(Path, "chmod", Mock(side_effect=PermissionError))
    write_trajectories(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="has other modes")
def test_a_file_is_private_until_it_is_whole(path, monkeypatch):
    modes = []

    def dump(_, temporary, **params):
        modes.append(temporary.stat().st_mode & 0o077)
        raise KeyboardInterrupt

    monkeypatch.setattr(skops.io, "dump", dump)
    with pytest.raises(KeyboardInterrupt):
        write_model(path)
    assert modes == [0]
    assert list(path.parent.iterdir()) == []


def test_threads_that_write_one_file(path):
    """Each from the beginning to the end, though all have begun before one ends."""
    barrier = threading.Barrier(3, timeout=60)

    def save(number):
        with _storage.replacing(path) as temporary:
            barrier.wait()
            temporary.write_text(f"{number}" * 5)
            barrier.wait()

    Parallel(n_jobs=3, prefer="threads")(delayed(save)(i) for i in range(3))
    assert path.read_text() in ("00000", "11111", "22222")
    assert list(path.parent.iterdir()) == [path]


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
    for other, error in ((path, FileNotFoundError), (path.parent, OSError)):
        with pytest.raises(error):
            skdygen.load(other)
    LanguageModelDynamics("some/name").save(path)
    assert skdygen.load(path).model == "some/name"
    with pytest.raises(ValueError, match="LanguageModelDynamics, not a DyGenClass"):
        DyGenClassifier.load(path)
    skops.io.dump(make_fast(), path)
    with pytest.raises(ValueError, match="no saved model"):
        skdygen.load(path)
    write_as_a_stranger(make_fast(), path, format=_storage._FORMAT + 1)
    with pytest.raises(ValueError, match=r"newer skdygen, 9\.9: update"):
        skdygen.load(path)


def test_only_what_is_trusted_is_used(word_texts, path, monkeypatch):
    texts, _, noisy = word_texts
    forest = RandomForestClassifier(3, random_state=0)
    clf = make_fast(**with_final(forest, dtype=np.float32))
    clf.set_params(dynamics__vectorizer=TfidfVectorizer(preprocessor=lower))
    clf.fit(texts, noisy).save(path)
    names = ["sklearn.tree._tree.Tree", f"{__name__}.lower"]
    with pytest.raises(ValueError, match=rf"pass trusted={re.escape(str(names))}"):
        skdygen.load(path)
    assert_equal(skdygen.load(path, trusted=names), clf)
    write_as_a_stranger(make_fast(prior=Holder(), denoiser=os.system), path)
    monkeypatch.setattr(BaseEstimator, "__setstate__", None)  # nobody calls it
    with pytest.raises(ValueError, match=rf"trusted=\['.*system', '{__name__}\.Holder"):
        skdygen.load(path)


def test_another_version_of_scikit_learn_warns(word_texts, path, monkeypatch):
    clf = make_fast().fit(*word_texts[::2])
    with monkeypatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "1.6.0")
        clf.save(path)
    with pytest.warns(InconsistentVersionWarning, match=r"1\.6\.0"):
        assert_equal(skdygen.load(path), clf)


def test_a_language_model_that_is_gone_is_missed_at_once(word_texts, tmp_path):
    texts, _, noisy = word_texts
    folder, path = save_tiny_model(tmp_path), tmp_path / "model.skops"
    dynamics = LanguageModelDynamics(folder, n_epochs=1, trainable_layers=0)
    clf = make_fast(dynamics=dynamics).fit(texts, noisy)
    clf.save(path)
    skdygen.load(path)
    final = make_fast(**with_final(LogisticRegression())).set_params(dynamics=dynamics)
    final.fit(texts, noisy).save(tmp_path / "final.skops")
    shutil.move(folder, tmp_path / "elsewhere")
    for load in (skdygen.load, DyGenClassifier.load):
        for is_warm in (False, True):
            with pytest.raises(ValueError, match=r"predict: model=.* bundle=True"):
                load(path, warm=is_warm)
    loaded = DyGenClassifier.load(path, check_model=False)
    assert_array_equal(loaded.label_quality_, clf.label_quality_)
    assert_array_equal(  # it needs none
        skdygen.load(tmp_path / "final.skops").predict(texts), final.predict(texts)
    )
    save_tiny_model(tmp_path, seed=1)  # another one
    with pytest.raises(ValueError, match="is not the model that has been fine-tuned"):
        skdygen.load(path, warm=True)


@pytest.mark.long
@pytest.mark.parametrize("is_object", [False, True])
def test_a_language_model_in_the_file(is_object, word_texts, tmp_path, capfd):
    texts, _, noisy = word_texts
    folder, path = save_tiny_model(tmp_path), tmp_path / "model.skops"
    model = SentenceTransformer(folder) if is_object else folder
    dynamics = LanguageModelDynamics(model, n_epochs=1, trainable_layers=1)
    clf = make_fast(dynamics=make_pipeline(FunctionTransformer(), dynamics))
    clf.fit(texts, noisy)
    expected = clf.predict_proba(texts)
    capfd.readouterr()
    clf.save(path, bundle=True)
    assert clf.dynamics[-1].model is model
    shutil.rmtree(folder)
    again = tmp_path / "again.skops"
    for file in (path, again):  # as often as one likes
        loaded = skdygen.load(file, warm=True)
        assert loaded.dynamics_[-1]._idle_networks  # ready
        assert_array_equal(loaded.predict_proba(texts), expected)
        if file == path:
            loaded.save(again, bundle=True)
    copied = pickle.loads(pickle.dumps(loaded))
    assert_array_equal(copied.predict_proba(texts), expected)
    if is_object:
        assert_array_equal(loaded.fit(texts, noisy).predict_proba(texts), expected)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(
        ValueError, match=r"bundle=True needs a fitted .* this one has 0"
    ):
        make_fast().save(tmp_path / "other.skops", bundle=True)


def test_what_else_lies_beside_a_language_model_is_not_read(path):
    with ZipFile(path, "w") as file:
        for name in ("../evil.json", "a.py", "pytorch_model.bin", "/a.json", ".a.json"):
            file.writestr(f"language_model/{name}", "")
        assert not _bundle.has_model(file)


def test_modules_of_others_are_not_imported(word_texts, tmp_path, path):
    texts, _, noisy = word_texts
    folder = save_tiny_model(tmp_path)
    dynamics = LanguageModelDynamics(folder, n_epochs=1, random_state=0)
    dynamics.fit(texts, noisy).save(path, bundle=True)
    assert skdygen.load(path).model is not dynamics.model
    members = read_members(path)
    (tmp_path / "somebodys.py").write_text("raise SystemExit")
    modules = json.loads(members["language_model/modules.json"])
    for wrong in ("somebodys.Module", "os.path", "sentence_transformersx.Module"):
        modules[-1]["type"] = wrong
        members["language_model/modules.json"] = json.dumps(modules)
        write_members(path, members)
        with pytest.raises(ValueError, match=rf"inside .* names the module '{wrong}'"):
            skdygen.load(path)


def test_requests_for_metadata_are_kept(word_texts, path):
    """Those of what a search has found refer to what it was cloned from."""
    texts, _, noisy = word_texts
    weights = np.ones(len(texts))
    with config_context(enable_metadata_routing=True):
        linear = LogisticRegression().set_fit_request(sample_weight=True)
        by_words = make_pipeline(TfidfVectorizer(), linear)
        clf = make_fast(final_estimator=by_words).set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=False)
        search = GridSearchCV(clf, {"correction_threshold": ["auto"]}, cv=2)
        best = search.fit(texts, noisy, sample_weight=weights).best_estimator_
        best.save(path)
        loaded = skdygen.load(path)
        assert str(loaded.get_metadata_routing()) == str(best.get_metadata_routing())
        assert_array_equal(loaded.predict_proba(texts), best.predict_proba(texts))
        GridSearchCV(loaded, {}, cv=2).fit(texts, noisy, sample_weight=weights)


class Scale(modules.Normalize):
    """A module of somebody's."""


def test_a_model_that_cannot_be_read_back_is_not_put_inside(word_texts, tmp_path, path):
    texts, _, noisy = word_texts
    model = SentenceTransformer(save_tiny_model(tmp_path))
    model.append(Scale())
    params = {"n_epochs": 1, "trainable_layers": 0, "random_state": 0}
    dynamics = LanguageModelDynamics(model, **params)
    dynamics.fit(texts, noisy)
    with pytest.raises(ValueError, match=r"bundle=True: .* module '.*\.Scale', which"):
        dynamics.save(path, bundle=True)
    assert not path.exists()


def change_array(members, name, change):
    """Change an array that lies in a file."""
    array = np.load(io.BytesIO(members[name]))
    np.save(file := io.BytesIO(), change(array))
    members[name] = file.getvalue()


def test_what_has_been_changed_is_refused(word_texts, path):
    """By its checksum or, if that has been made anew, by what it answers."""
    texts, _, noisy = word_texts
    clf = make_fast(**with_final(LogisticRegression())).fit(texts, noisy)
    clf.save(path)
    members = read_members(path)
    coef = clf.final_estimator_[-1].coef_.tobytes()
    name = next(name for name, content in members.items() if content.endswith(coef))
    for change, problem in [
        (lambda coef: coef + 10, "probabilities: other numbers"),
        (lambda coef: coef[:, 1:], "ValueError: .*mismatch"),
        (lambda coef: coef.astype("S1"), "Error: "),
    ]:
        changed = dict(members)
        change_array(changed, name, change)
        with ZipFile(path, "w") as file:
            for member, content in changed.items():
                file.writestr(member, content)
        with pytest.raises(ValueError, match="is damaged: it is not what was written"):
            skdygen.load(path, check_model=False)
        write_members(path, changed)
        with pytest.raises(ValueError, match=rf"{path} does not predict .*{problem}"):
            skdygen.load(path)
        assert len(skdygen.load(path, check_model=False).classes_) == 2


def test_a_language_model_of_which_a_part_is_another(word_texts, tmp_path):
    """Words that its fingerprint does not know mean something else."""
    texts, _, noisy = word_texts
    folder, path = save_tiny_model(tmp_path), tmp_path / "model.skops"
    dynamics = LanguageModelDynamics(folder, n_epochs=1, trainable_layers=0)
    make_fast(dynamics=dynamics).fit(texts, noisy).save(path)
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    words = next(tensors[n] for n in tensors if n.endswith("word_embeddings.weight"))
    words[-12:-6] *= -10  # fruit
    save_file(tensors, weights, metadata={"format": "pt"})
    loaded = skdygen.load(path)  # which does not load it
    for ask in (loaded.predict, lambda _: skdygen.load(path, warm=True)):
        with pytest.raises(ValueError, match=rf"{path} does not predict .*other numb"):
            ask(texts)
    skdygen.load(path, check_model=False).predict(texts)
    loaded.dynamics_.fit(texts, noisy).predict(texts)


def test_another_precision_is_no_other_model(fitted, path):
    fitted.save(path)
    loaded = skdygen.load(path)
    is_half = loaded.dynamics_.precision_ == "bf16"
    loaded.dynamics_.precision_ = "fp32" if is_half else "bf16"
    assert b"SelfTest" not in pickle.dumps(loaded)  # which has the path
    loaded.save(path, overwrite=True)  # before it has been asked
    loaded = skdygen.load(path)
    loaded.dynamics_.precision_ = fitted.dynamics_.precision_
    assert_array_equal(loaded.predict(["a cat"]), fitted.predict(["a cat"]))


def test_damaged_weights_are_refused_when_they_are_loaded(fitted, path):
    fitted.save(path)
    members = read_members(path)
    name = next(name for name, content in members.items() if b"head.weight" in content)
    change_array(members, name, lambda content: content[:-200])
    write_members(path, members)
    loaded = skdygen.load(path)
    for ask in (loaded.predict, lambda _: skdygen.load(path, warm=True)):
        with pytest.raises(ValueError, match=rf"{path} does not predict .*Safetensor"):
            ask(["a cat"])


def test_no_language_model_is_loaded_unasked(fitted, path, monkeypatch):
    """A stranger may have put one wherever there is a transformer."""
    clf = copy.deepcopy(fitted)
    clf.dynamics_.views_["another"] = copy.deepcopy(fitted.dynamics_)
    final = make_pipeline(FunctionTransformer(), VotingClassifier([], voting="soft"))
    final[-1].estimators_, final[-1].classes_ = [fitted.dynamics_], fitted.classes_
    clf.save(path)
    assert "view lexical 0" in answers(path)
    assert "view another 0" not in answers(path)
    clf.final_estimator_ = final
    clf.save(path.with_name("final"))
    assert answers(path.with_name("final")) is None
    monkeypatch.setattr(_engine, "Networks", Mock(side_effect=KeyError("loaded")))
    for file in (path, path.with_name("final")):
        loaded = skdygen.load(file)
        with pytest.raises((ValueError, KeyError), match="loaded"):
            loaded.predict_proba(["a cat"])


def answers(path):
    test = json.loads(read_members(path)["skdygen.json"])["self_test"]
    return test and test["answers"]


def test_whatever_predicts_is_asked(word_texts, path):
    texts, _, labels = word_texts
    stage = IncrementalDynamics(n_epochs=1, views=[], random_state=0)
    trajectories = stage.fit_transform(texts, labels)
    prior, denoiser = TrajectoryKNNPrior(), TransitionMatrixDenoiser()
    with_prior = prior.fit_transform(trajectories, labels)
    features = stage.vectorizer_.transform(texts)
    passthrough = IncrementalDynamics(None, "passthrough", n_epochs=1)
    steps = make_pipeline(FunctionTransformer(), stage)
    last = {
        "final_estimator": make_pipeline(HashingVectorizer(), LinearSVC(random_state=0))
    }
    for clf, X, asked in [
        (stage, texts, "probabilities"),
        (prior, trajectories, "recorded prior"),
        (denoiser, with_prior, "probabilities"),
        (make_fast(dynamics="precomputed"), trajectories, "probabilities"),
        (make_fast(dynamics=passthrough), features, "probabilities"),
        (make_fast(dynamics=steps), texts, "probabilities"),
        (make_fast(**last), texts, "classes"),
    ]:
        clone(clf).save(path, overwrite=True)
        assert answers(path) is None
        clf.fit(X, labels).save(path, overwrite=True)
        assert asked in answers(path)
        skdygen.load(path).fit(X, labels)


@pytest.mark.parametrize("source", [None, np.random.RandomState(0)])
def test_nothing_but_answers_comes_of_questions(source, word_texts, tmp_path, caplog):
    texts, _, noisy = word_texts
    path, cache = tmp_path / "model.skops", tmp_path / "cache"
    caplog.set_level("INFO", "skdygen")
    drawn = DummyClassifier(strategy="stratified", random_state=source)
    clf = make_fast(memory=cache, **with_final(drawn)).fit(texts, noisy)
    before = pickle.dumps(clf), sorted(cache.rglob("*"))
    clf.save(path)
    assert (pickle.dumps(clf), sorted(cache.rglob("*"))) == before
    assert answers(path) is None  # they would be others
    assert "no self-test: ValueError('probabilities: no numbers, or" in caplog.text
    assert_array_equal(skdygen.load(path).label_quality_, clf.label_quality_)
    make_fast(random_state=0).fit(texts, noisy).save(path, overwrite=True)
    text = read_members(path)["skdygen.json"].decode()
    assert not any(text_of_a_user in text for text_of_a_user in texts)


def test_skops_is_imported_quietly(monkeypatch):
    logger, heard = logging.getLogger("transformers"), []
    level = logger.level

    def answer(name):  # as aliases of modules in transformers 5.5 are asked meanwhile
        heard.append(logger.isEnabledFor(logging.WARNING))
        return skops.io

    stand_in = ModuleType("skops")
    stand_in.__getattr__ = answer
    monkeypatch.setitem(sys.modules, "skops", stand_in)
    assert _storage._import_skops() is skops.io
    assert heard
    assert not any(heard)
    assert logger.level == level
