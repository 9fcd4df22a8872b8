"""Files that somebody has made to do harm to whoever loads them.

Each would do so, in skops or in compiled code that trusts arrays, if nobody looked.
"""

import io
import json
import os
import socket
import sys
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import skdygen
from skdygen import DyGenClassifier, Trajectories, _vetting
from skdygen._cli import main
from skdygen._storage import is_saved_model
from skdygen.denoisers import TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import TrajectoryKNNPrior, UniformPrior
from tests.attacks import in_a_process
from tests.conftest import make_word_texts
from tests.test_storage import write_as_a_stranger

pytestmark = pytest.mark.long

TEXTS, LABELS = make_word_texts(60)
LABELS[::7] = LABELS[1]


def fit(*final, prior=None):
    """Fit a classifier of three small stages."""
    stages = IncrementalDynamics(n_epochs=2), prior or UniformPrior()
    clf = DyGenClassifier(*stages, TransitionMatrixDenoiser(), random_state=0)
    clf.set_params(final_estimator=make_pipeline(*final) if final else None)
    return clf.fit(TEXTS, LABELS)


def node(name, loader, **parts):
    """Make what skops writes of a value."""
    module, _, qualname = name.rpartition(".")
    return {"__class__": qualname, "__module__": module, "__loader__": loader} | parts


def listed(*nodes):
    return node("builtins.list", "ListNode", content=list(nodes))


def of(*values):
    """Make a tuple of what JSON can hold."""
    content = [node("builtins.str", "JsonNode", content=json.dumps(v)) for v in values]
    return node("builtins.tuple", "TupleNode", content=content)


def keyed(**nodes):
    types = [node("builtins.str", "TypeNode") for _ in nodes]
    return node("builtins.dict", "DictNode", content=nodes, key_types=listed(*types))


def write_with(path, value, **members):
    """Write a stage whose `model` is something else."""
    write_as_a_stranger(LanguageModelDynamics("a name"), path)
    with ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(content["schema.json"])
    schema["content"]["content"]["model"] = value
    content |= {"schema.json": json.dumps(schema), **members}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, member in content.items():
            archive.writestr(name, member)


def load_and_exit(path):
    """Load a model; exit with 3 if it is refused as it should be."""
    try:
        skdygen.load(path)
    except ValueError as error:
        if type(error) is ValueError and str(path) in str(error):
            sys.exit(3)
        raise


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skops"


LOADERS = {
    "FunctionNode": {}, "TypeNode": {}, "ObjectNode": {"content": keyed(a=of(1))},
    "ListNode": {"content": []}, "SetNode": {"content": []},
    "TupleNode": {"content": []}, "ConstructorFromReduceNode": {"content": of(1)},
    "DictNode": {"content": {}, "key_types": listed()},
    "LossNode": {"content": keyed(), "__reduce__": {"args": of(1)}},
    "MethodNode": {"content": {"obj": node("canary.Sings", "ObjectNode"), "func": "f"}},
    "NdArrayNode": {"type": "json", "content": [], "shape": of(0)},
    "RandomStateNode": {"content": keyed()}, "DTypeNode": {"content": of()},
    "PartialNode": {
        "content": dict.fromkeys(("func", "args", "kwds", "namespace"), of())
    },
}  # fmt: skip


@pytest.mark.parametrize("loader", LOADERS)
def test_no_module_is_imported_and_no_name_called(loader, path, monkeypatch):
    path.with_name("canary.py").write_text("class Sings: pass")
    monkeypatch.syspath_prepend(path.parent)
    write_with(path, node("canary.Sings", loader, **LOADERS[loader]))
    with pytest.raises(ValueError, match=r"trusted=\['canary\.Sings"):
        skdygen.load(path)
    assert "canary" not in sys.modules


STAGE = "skdygen.dynamics._incremental.IncrementalDynamics"
MADE = node(STAGE, "ObjectNode", content=keyed())


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (node("os.system", "FunctionNode"), r"trusted=\['os\.system'"),
        (node("builtins.eval", "TypeNode"), r"trusted=\['builtins\.eval'"),
        (
            node(STAGE, "MethodNode", content={"obj": MADE, "func": "__setattr__"}),
            "Dynamics.__setattr__",
        ),
        (
            node("operator.methodcaller", "OperatorFuncNode", attrs=of("fit")),
            r"trusted=\['operator\.methodcaller'",
        ),
        # Types that are trusted, but not to be called, or filled, with just anything.
        (node(STAGE, "ListNode", content=[]), STAGE),
        (node(STAGE, "ConstructorFromReduceNode", content=of(1)), STAGE),
        (
            node("numpy.dtype", "LossNode", content=of(3, "|"),
                 __reduce__={"args": of("i4")}),
            r"trusted=\['numpy\.dtype'",
        ),
        (
            node("scipy.sparse._csr.csr_array", "ObjectNode", content=keyed(a=of(1))),
            r"trusted=\['scipy\.sparse",
        ),
        (node("sklearn.svm._classes.SVC", "ObjectNode"), r"trusted=\['sklearn\.svm"),
    ],
)  # fmt: skip
def test_what_is_trusted_is_not_trusted_with_everything(value, match, path):
    write_with(path, value)
    with pytest.raises(ValueError, match=match):
        skdygen.load(path)


def nested(depth):
    """Write lists in each other, which Python cannot do."""
    value = of(1)
    for _ in range(depth):
        value = listed(value)
    return value


def references(depth):
    """Make lists of twice the list before, by its identity: 2**depth in all."""
    value = of(1) | {"__id__": 0}
    for number in range(depth):
        again = {"__id__": number}
        again |= node("builtins.list", "CachedNode")
        value = listed(value, again) | {"__id__": number + 1}
    return value


@pytest.mark.parametrize("value", [nested(230), references(3), references(40)])
def test_deep_and_endless_structures(value, path):
    write_with(path, value)
    assert in_a_process(load_and_exit, path, timeout=60) == 3


def array_file(array):
    np.save(file := io.BytesIO(), array)
    return file.getvalue()


def nothing_of_many(n_items):
    """Write an array of so many items of no bytes."""
    content = array_file(np.zeros(1, "V1")).replace(b"|V1", b"|V0")
    return content.replace(b"(1,), }", f"({n_items},), }}".encode())[:128]


@pytest.mark.parametrize("kind", ["member", "header", "again", "inner", "items"])
def test_a_file_that_grows_is_not_unpacked(kind, path, monkeypatch):
    monkeypatch.setattr(_vetting, "_MOST_BYTES", 2**20)
    array = {"type": "numpy", "file": "a.npy"}
    value, members = node("numpy.ndarray", "NdArrayNode", **array), {}
    if kind == "member":
        members["a.npy"] = bytes(8_000_000)
    elif kind == "header":
        value, members["skdygen.json"] = of(1), bytes(8_000_000)
    elif kind == "again":
        members["a.npy"] = array_file(np.zeros(30_000))
        value = listed(*[value] * 40)
    elif kind == "inner":
        np.savez_compressed(file := io.BytesIO(), data=np.zeros(1_000_000))
        members["a.npy"] = file.getvalue()
        array["type"] = "scipy"
        value = node("scipy.sparse._csr.csr_array", "SparseMatrixNode", **array)
    else:
        members["a.npy"] = nothing_of_many(10**15)
    write_with(path, value, **members)
    with pytest.raises(ValueError, match=r"bytes|no saved model|empty items") as caught:
        skdygen.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["{}/away.npy", "../away.npy", "a/../../away.npy"])
def test_names_of_members_are_no_paths(name, path):
    name = name.format(path.parent)
    value = node("numpy.ndarray", "NdArrayNode", type="numpy", file=name)
    write_with(path, value, **{name: array_file(np.arange(3))})
    assert skdygen.load(path).model.tolist() == [0, 1, 2]
    np.save(path.parent.parent / "away.npy", np.arange(3))
    write_with(path, value)
    with pytest.raises(ValueError, match="damaged"):
        skdygen.load(path)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def broken(**parts):
    """Make a sparse array whose parts do not fit together."""
    array = sparse.csr_array(np.eye(6))
    vars(array).update(parts)
    return array


@pytest.mark.parametrize(
    "array",
    [
        broken(indices=np.full(6, 10**8, np.int32)),
        broken(indices=np.full(6, -(10**8), np.int32)),
        broken(indptr=np.array([0, 10**8, 0, 0, 0, 0, 0], np.int32)),
        broken(indptr=np.array([0, 3, 2, 3, 4, 5, 6], np.int32)),
        broken(indices=np.full(6, np.nan)),
        sparse.dia_array(np.eye(6)), sparse.bsr_array(np.eye(6)),
    ],
)  # fmt: skip
def test_sparse_arrays_are_looked_at_in_full(array, path):
    arrays = {"format": "csr", "shape": (6, 6), "_is_array": True}
    if array.format == "csr":
        arrays |= {name: getattr(array, name) for name in ("data", "indices", "indptr")}
        np.savez(file := io.BytesIO(), **arrays)
    else:
        sparse.save_npz(file := io.BytesIO(), array)
    value = {"type": "scipy", "file": "a.npz"}
    value = node("scipy.sparse._csr.csr_array", "SparseMatrixNode", **value)
    write_with(path, value, **{"a.npz": file.getvalue()})
    with pytest.raises(ValueError, match=r"model holds a sparse array|damaged"):
        skdygen.load(path)


def change_vocabulary(clf):
    words = clf.final_estimator_[0].vocabulary_
    clf.final_estimator_[0].vocabulary_ = {w: i + 10**9 for w, i in words.items()}


def change_a_word(clf):
    words = clf.final_estimator_[0].vocabulary_
    words["cat"] = np.array([words["cat"]])


def change_neighbours(clf):
    clf.final_estimator_[1]._fit_X = clf.final_estimator_[1]._fit_X[:, :3]


def change_labels(clf):
    clf.final_estimator_[1]._y = clf.final_estimator_[1]._y[:1]


def change_prior(clf):
    for part in vars(clf.prior_).values():
        if hasattr(part, "_fit_X"):
            part._fit_X = part._fit_X[:, :0]


def change_randomness(clf):
    state = np.random.RandomState(0).get_state(legacy=False)
    state["state"]["pos"] = 10**8
    clf.random_state = np.random.RandomState(0)
    clf.random_state.set_state(state)


def change_files(clf):
    clf.final_estimator_[0].input = "filename"


def change_hashing(clf):
    clf.final_estimator_[0].n_features = 0


WORDS = CountVectorizer()
LINEAR = LogisticRegression()


@pytest.mark.parametrize(
    ("change", "final", "match"),
    [
        (change_vocabulary, (WORDS, LINEAR), "a vocabulary whose columns"),
        (change_a_word, (WORDS, LINEAR), "a vocabulary whose columns"),
        (change_neighbours, (WORDS, KNeighborsClassifier()), "neighbours of the shape"),
        (change_labels, (WORDS, KNeighborsClassifier()), "neighbours of the shape"),
        (change_prior, (), "neighbours of the shape"),
        (change_randomness, (), "random numbers from outside"),
        (change_files, (WORDS, LINEAR), "opens texts as files, input='filename'"),
        (change_hashing, (HashingVectorizer(), LINEAR), "of 0 features"),
        (
            lambda clf: None, (WORDS, SVC(random_state=0)),
            r"trusted=\['sklearn.svm._classes.SVC'\]",
        ),
        (
            lambda clf: None,
            (WORDS, GradientBoostingClassifier(n_estimators=1, random_state=0)),
            r"trusted=\['sklearn.ensemble._gb.GradientBoostingClassifier', ",
        ),
        (
            lambda clf: None, (WORDS, OneVsRestClassifier(LINEAR)),
            r"trusted=\['sklearn.multiclass.OneVsRestClassifier'\]",
        ),
    ],
)  # fmt: skip
def test_what_compiled_code_would_follow(change, final, match, path):
    clf = fit(*final, prior=TrajectoryKNNPrior())
    change(clf)
    write_as_a_stranger(clf, path)
    with pytest.raises(ValueError, match=match):
        skdygen.load(path)
    if "trusted" not in match:  # nor is it written
        with pytest.raises(TypeError, match=rf"^DyGenClassifier\..* holds .*{match}"):
            clf.save(path.with_name("other"))


def test_folders_of_a_stranger_are_not_written_to(path):
    evil = path.with_name("evil")
    clf = fit(WORDS, LINEAR)
    clf.memory = clf.pipeline_.memory = clf.final_estimator_.memory = str(evil)
    clf.dynamics_.set_params(temp_folder=str(evil), max_nbytes=0)
    write_as_a_stranger(clf, path)
    loaded = skdygen.load(path)
    loaded.predict_proba(TEXTS)
    loaded.dynamics_.transform(TEXTS)
    assert not evil.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("kind", ["pipe", "zero", "socket"])
def test_what_never_ends_is_not_waited_for(kind, path, capsys):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(path))
    for read in (skdygen.load, Trajectories.load):
        with pytest.raises(OSError, match=f"{path} is not a regular file"):
            read(path)
    assert not is_saved_model(path)
    (table := path.with_name("a.csv")).write_text("text\na cat\n")
    assert main(["predict", str(path), str(table)]) == 1
    assert "is not a regular file" in capsys.readouterr().err
