"""Files of models with one byte changed, and with other content and right checksums."""

import io
import json
import sys
from collections import Counter
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import skdygen
from skdygen import DyGenClassifier, Trajectories
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import TrajectoryKNNPrior, UniformPrior
from tests.attacks import cases, in_a_process
from tests.conftest import make_word_texts
from tests.test_storage import write_members

pytestmark = pytest.mark.long

TEXTS, LABELS = make_word_texts(60)
LABELS[::7] = LABELS[1]
NEW_TEXTS = make_word_texts(20, seed=1)[0]
# What must not happen while a file is read or a model predicts.
FORBIDDEN = {
    "os.exec", "os.fork", "os.mkdir", "os.posix_spawn", "os.remove", "os.rename",
    "os.system", "shutil.rmtree", "socket.connect", "subprocess.Popen",
}  # fmt: skip
ODD = (MemoryError, NotImplementedError, RecursionError, SystemError)


@pytest.fixture(scope="module")
def models(tiny_model, tmp_path_factory):
    """Give files of three models whose parts are of all kinds."""
    stage = IncrementalDynamics(n_epochs=3)
    final = make_pipeline(TfidfVectorizer(), KNeighborsClassifier(n_neighbors=3))
    sgd = make_pipeline(TfidfVectorizer(), SGDClassifier(loss="log_loss"))
    lm = LanguageModelDynamics(tiny_model, n_epochs=1, trainable_layers=0)
    fits = [
        DyGenClassifier(stage, TrajectoryKNNPrior(), DirichletVAE(n_epochs=2)),
        DyGenClassifier(stage, UniformPrior(), final_estimator=final),
        DyGenClassifier(stage, UniformPrior(), final_estimator=sgd),
        DyGenClassifier(lm, class_weight="balanced"),
    ]
    folder = tmp_path_factory.mktemp("models")
    for number, clf in enumerate(fits):
        clf.set_params(random_state=0).fit(TEXTS, LABELS).save(folder / str(number))
    return [folder / str(number) for number in range(len(fits))]


def change_byte(content, rng):
    """Change one byte of a file."""
    place = rng.randint(len(content))
    other = bytes([content[place] ^ rng.randint(1, 256)])
    return content[:place] + other + content[place + 1 :]


def change_everything(content, rng):
    """Write the archive anew, with something else in it, and all checksums of that."""
    archive = ZipFile(io.BytesIO(content))
    members = {name: archive.read(name) for name in archive.namelist()}
    arrays = sorted(name for name in members if name.endswith((".npy", ".npz")))
    if rng.rand() < 0.5:
        schema = json.loads(members["schema.json"])
        for _ in range(rng.randint(1, 4)):
            change_schema(schema, rng)
        members["schema.json"] = json.dumps(schema).encode()
    elif rng.rand() < 0.1:  # one member instead of another, or none
        one, other = rng.choice(sorted(members), 2)
        members[one] = members.pop(other)
    else:
        name = rng.choice(arrays)
        change = change_array if name.endswith(".npy") else change_sparse
        members[name] = change(members[name], rng)
    file = io.BytesIO()
    try:
        write_members(file, members)
    except (KeyError, ValueError):  # the header is gone
        write_members(file, members | {"skdygen.json": b"{}"})
    return file.getvalue()


def change_content(content, rng):
    """Do the same, with the checksums of zip, but as one who knows of no others."""
    changed = ZipFile(io.BytesIO(change_everything(content, rng)))
    members = {name: changed.read(name) for name in changed.namelist()}
    members["skdygen.json"] = ZipFile(io.BytesIO(content)).read("skdygen.json")
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


def parts_of(part):
    """List all places in a schema, as the container and the key in it."""
    places, todo = [], [part]
    while todo:
        container = todo.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in keys:
            places.append((container, key))
            if isinstance(container[key], (dict, list)):
                todo.append(container[key])
    return places


def change_schema(schema, rng):
    """Change one place: another name, number or part, from elsewhere or from afar."""
    places = parts_of(schema)
    kind = rng.choice(["__class__", "__loader__", "__id__", "file", "content", "any"])
    chosen = [p for p in places if kind in ("any", p[1])]
    container, key = chosen[rng.randint(len(chosen))]
    far = ["os", "system", "__setattr__", "methodcaller", "operator", "dtype", "numpy"]
    far += ["", None, -1, 10**9, 1e400, [], {}, "[1]", '{"a": 1}', "NaN", '"cat"']
    action = rng.randint(4)
    if action == 0:
        other, name = chosen[rng.randint(len(chosen))]
        container[key] = json.loads(json.dumps(other[name]))
    elif action == 1:
        container[key] = far[rng.randint(len(far))]
    elif action == 2:
        del container[key]
    elif isinstance(container, dict):
        container[f"{key}_"] = container.pop(key)
    else:
        container.append(container[key])


def change_array(member, rng):
    """Change numbers, shape or type of an array, or the file that it is in."""
    if rng.rand() < 0.1:
        return change_byte(member, rng)
    array = np.load(io.BytesIO(member))
    action = rng.randint(6)
    if action == 0 and array.ndim:
        array = array[: rng.randint(len(array) + 1)]
    elif action == 1:
        array = array.T
    elif action == 2:
        array = np.concatenate([array.ravel()] * rng.randint(2, 50))
    elif action == 3:
        array = array.reshape(array.shape + (1,) * rng.randint(1, 4))
    elif action == 4:
        types = ["S1", "U3", "V0", "f2", "i1", "u8", "c8", "M8[s]", "?", "V8", ">f8"]
        with np.errstate(all="ignore"):
            array = np.zeros(array.shape, types[rng.randint(len(types))])
    elif array.size and array.dtype.kind in "iuf":
        numbers = [0, -1, 1, 10**4, -(10**4), 2**31 - 1, -(2**31)]
        numbers += [np.nan, np.inf] * (array.dtype.kind == "f")
        with np.errstate(all="ignore"):
            number = np.array(numbers[rng.randint(len(numbers))]).astype(array.dtype)
        array.flat[rng.randint(array.size)] = number
    np.save(file := io.BytesIO(), array)
    return file.getvalue()


def change_sparse(member, rng):
    """Change one of the arrays that a sparse one is made of."""
    arrays = dict(np.load(io.BytesIO(member)))
    name = rng.choice(sorted(arrays))
    np.save(file := io.BytesIO(), arrays[name])
    arrays[name] = np.load(io.BytesIO(change_array(file.getvalue(), rng)))
    np.savez(file := io.BytesIO(), **arrays)
    return file.getvalue()


def find_outcome(path, expected):
    """Say what comes of a file."""
    try:
        clf = skdygen.load(path)
    except Exception as error:
        is_ours = type(error) is ValueError and str(path) in str(error)
        return "refused" if is_ours else f"ODD {error!r}"
    try:
        found = clf.predict_proba(NEW_TEXTS)
    except Exception as error:
        if type(error) is ValueError and str(path) in str(error):
            return "refused when it predicts"  # its language model has been loaded
        odd = "ODD " * isinstance(error, ODD)
        return f"{odd}{type(error).__name__} in predict_proba"
    return "the same" if np.array_equal(found, expected) else "other numbers"


def attack(change, paths, numbers, folder):
    """Change and read files, and write what came of each."""
    contents = [path.read_bytes() for path in paths]
    expected = [skdygen.load(path).predict_proba(NEW_TEXTS) for path in paths]
    seen = []
    sys.addaudithook(lambda event, args: event in FORBIDDEN and seen.append(event))
    with open(folder / "outcomes", "w") as file:
        for number in numbers:
            rng, which = np.random.RandomState(number), number % len(paths)
            path = folder / "changed"
            path.write_bytes(change(contents[which], rng))
            outcome = find_outcome(path, expected[which])
            print(outcome, *seen, file=file, flush=True)


@pytest.mark.parametrize("change", [change_byte, change_content, change_everything])
def test_files_that_were_changed(change, models, tmp_path):
    numbers = cases(1000)
    code = in_a_process(attack, change, models, numbers, tmp_path)
    outcomes = (tmp_path / "outcomes").read_text().splitlines()
    assert code == 0, f"case {len(outcomes)} ended the process with {code}"
    found = dict(zip(numbers, outcomes, strict=True))
    print(Counter(outcomes))
    allowed = {"refused", "the same"}
    if change is change_everything:  # a few numbers that no question is about
        allowed |= {"refused when it predicts", "other numbers"}
        assert outcomes.count("other numbers") <= 0.02 * len(outcomes)
    assert not {n: o for n, o in found.items() if o not in allowed}


def test_trajectories_with_one_byte_changed(random_trajectories, tmp_path):
    expected, path = random_trajectories, tmp_path / "trajectories"
    expected.save(path)
    content = path.read_bytes()
    refused = {}
    for number in cases(1000):
        path.write_bytes(change_byte(content, np.random.RandomState(number)))
        try:
            found = Trajectories.load(path)
        except ValueError as error:
            refused[number] = str(error)
        else:
            for name in ("embeddings", "probabilities", "classes"):
                one, other = getattr(found, name), getattr(expected, name)
                assert_array_equal(one, other, err_msg=f"case {number}")
    assert not {
        n: message for n, message in refused.items() if str(path) not in message
    }
    print(f"{len(refused)} refused")
