"""What a fit has come to, on disk after every epoch, so that another can go on."""

import hashlib
import json
import logging
import pickle
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from .._storage import replacing
from ..utils._processes import from_all, own, same_everywhere, state

logger = logging.getLogger(__name__)

_MANIFEST, _LOCK = "checkpoint.json", "lock"
_DYNAMICS = ("embeddings", "probabilities")
_BYTES_AT_ONCE = 2**20


@dataclass
class Resumed:
    """Where an interrupted fit had come to.

    Parameters
    ----------
    epoch : int
        Its last whole epoch, from 0.
    training : dict
        As `training_state` gives it.
    snapshots : list of bytes
        Weights of the epochs that are kept.
    dynamics : list of dict of str to ndarray
        What was recorded of these.
    """

    epoch: int
    training: dict
    snapshots: list
    dynamics: list


class Checkpoint:
    """A folder that belongs to one fit, while it lasts.

    Every file is written beside and renamed, the list of those that count last, so
    that at any moment there is one whole epoch to go on from, if there ever was. As a
    context it lets go of the folder, and removes it if there is no epoch in it. Of
    several processes that fit together the main one writes and reads.

    Parameters
    ----------
    checkpoint_dir : str, Path or None
        Folder of the folders of all fits; with None nothing is written.
    key : str
        Hash of everything that the outcome of the fit depends on.

    Raises
    ------
    OSError
        If nothing can be written there.
    """

    def __init__(self, checkpoint_dir, key):
        self.folder, self._is_kept, self._manifest = None, False, {}
        if checkpoint_dir is None or not state().is_main_process:
            return
        folder = Path(checkpoint_dir).expanduser() / f"fit-{key}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / _LOCK)
            self._lock.acquire(timeout=0)
        except Timeout:
            warnings.warn(
                f"another process is at work on the same fit in {folder}; this one "
                f"keeps no checkpoint.",
                stacklevel=2,
            )
            return
        except OSError as error:
            raise _unwritable(folder, error) from error
        self.folder = folder

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.folder is None:
            return
        if "epoch" in self._manifest:
            self._lock.release()
        else:
            self.remove()

    def begin(self, facts):
        """Write down what a fit begins with, and return it.

        Parameters
        ----------
        facts : dict
            What has been drawn or measured, as JSON holds it.

        Returns
        -------
        facts : dict
            Those of the interrupted fit, if there was one.
        """
        if self.folder is not None:
            self._manifest = self._read_manifest() or {"facts": facts}
            facts = self._manifest["facts"]
            try:
                self._write_manifest(self._manifest)
            except OSError as error:
                raise _unwritable(self.folder, error) from error
        facts, self._is_kept = same_everywhere((facts, self.folder is not None))
        return facts

    def resume(self, *networks):
        """Return where an interrupted fit had come to.

        Parameters
        ----------
        *networks : nn.Module
            The networks before their training; if they were others then, nothing of
            the fit is of use.

        Returns
        -------
        resumed : Resumed or None
            None if there was none, or what it has left is damaged; that is said.
        """
        if self.folder is None:
            return same_everywhere(None)
        resumed, networks = None, _hash_weights(networks)
        if "epoch" in self._manifest:
            try:
                if self._manifest["networks"] != networks:
                    raise ValueError("the language model is another one now")
                resumed = self._read()
                logger.info(
                    "going on after epoch %d, from %s", resumed.epoch + 1, self.folder
                )
            except (OSError, ValueError, KeyError, *_DAMAGE) as error:
                self._warn_of_damage(error)
        if resumed is None:
            self._manifest = {"facts": self._manifest["facts"], "networks": networks}
        return same_everywhere(resumed)

    def write(self, epoch, get_state, snapshots, trajectories):
        """Keep what there is after an epoch.

        If that cannot be, because the disk is full, there is a warning and the fit
        goes on; what was kept before stays.

        Parameters
        ----------
        epoch : int
            Its number, from 0.
        get_state : callable
            Gives the `training_state`.
        snapshots : list of bytes
            Weights of the epochs that are kept, so far.
        trajectories : Trajectories or None
            Of which as many epochs have been recorded.
        """
        if not self._is_kept:
            return
        training = get_state()  # of which every process has a part
        if self.folder is None:
            return
        files = dict(self._manifest.get("files", {}))
        before = _training_name(self._manifest.get("epoch"))
        files.pop(before, None)
        try:
            for position, snapshot in enumerate(snapshots):
                name = _snapshot_name(position)
                if name not in files:
                    files[name] = self._put(
                        name, partial(Path.write_bytes, data=snapshot)
                    )
                name = _dynamics_name(position)
                if name not in files and trajectories is not None:
                    arrays = {
                        moment: getattr(trajectories, moment)[:, :, position].copy()
                        for moment in _DYNAMICS
                    }
                    files[name] = self._put(name, partial(save_file, arrays))
            name = _training_name(epoch)
            files[name] = self._put(name, partial(torch.save, training))
            self._write_manifest(self._manifest | {"epoch": epoch, "files": files})
            (self.folder / before).unlink(missing_ok=True)
        except (OSError, RuntimeError, SafetensorError) as error:  # by what writes
            warnings.warn(
                f"epoch {epoch + 1} could not be kept in {self.folder}, the fit goes "
                f"on without: {error}",
                stacklevel=2,
            )

    def remove(self):
        """Remove the folder: the fit is over."""
        if self.folder is not None:
            # The lock goes last: nobody is to begin in a folder that is being emptied.
            with suppress(OSError):
                for path in self.folder.iterdir():
                    if path.name != _LOCK:
                        path.unlink()
            with suppress(OSError):  # on Windows it cannot go while it is held
                (self.folder / _LOCK).unlink()
            self._lock.release()
            with suppress(OSError):
                (self.folder / _LOCK).unlink(missing_ok=True)
                self.folder.rmdir()
            self.folder = None

    def _put(self, name, write):
        """Write a file, and return its checksum."""
        with replacing(self.folder / name) as temporary:
            write(temporary)
            return _sha256(temporary)

    def _write_manifest(self, manifest):
        text = json.dumps(manifest | {"sha256": _sha256_of_json(manifest)})
        self._put(_MANIFEST, partial(Path.write_text, data=text))
        self._manifest = manifest

    def _read_manifest(self):
        path = self.folder / _MANIFEST
        if not path.exists():
            return None
        try:
            manifest = json.loads(path.read_text())
            if manifest.pop("sha256") != _sha256_of_json(manifest):
                raise ValueError(f"{path.name} is not what was written")
            return manifest
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._warn_of_damage(error)
        return None

    def _read(self):
        for name, checksum in self._manifest["files"].items():
            if _sha256(self.folder / name) != checksum:
                raise ValueError(f"{name} is not what was written")
        epoch = self._manifest["epoch"]
        snapshots, dynamics = [], []
        while _snapshot_name(len(snapshots)) in self._manifest["files"]:
            position = len(snapshots)
            snapshots.append((self.folder / _snapshot_name(position)).read_bytes())
            if _dynamics_name(position) in self._manifest["files"]:
                dynamics.append(load_file(self.folder / _dynamics_name(position)))
        training = torch.load(
            self.folder / _training_name(epoch), map_location="cpu", weights_only=True
        )
        return Resumed(epoch, training, snapshots, dynamics)

    def _warn_of_damage(self, error):
        warnings.warn(
            f"the checkpoint in {self.folder} cannot be used ({error}); the fit "
            f"starts from the beginning.",
            stacklevel=2,
        )


# What reading an altered file can raise beside errors of values and of the system.
_DAMAGE = (RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, TypeError)


def training_state(branches, optimizer, schedule, device):
    """Return everything that the rest of a training depends on.

    Parameters
    ----------
    branches : Branches
        The networks.
    optimizer : Optimizer
        Of their trained parameters.
    schedule : LRScheduler
        Of its learning rates.
    device : torch.device
        Whose random state counts besides that of the processor.

    Returns
    -------
    training : dict
        Of tensors and numbers.
    """
    random = [torch.get_rng_state()]
    if torch.device(device).type == "cuda":
        random.append(torch.cuda.get_rng_state(device))
    return {
        "weights": {
            name: parameter.detach()
            for name, parameter in branches.trained_parameters().items()
        },
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": from_all(random),
    }


def restore_training(training, branches, optimizer, schedule, device):
    """Take over what `training_state` has given."""
    with torch.no_grad():
        for name, parameter in branches.trained_parameters().items():
            parameter.copy_(training["weights"][name])
    optimizer.load_state_dict(training["optimizer"])
    schedule.load_state_dict(training["schedule"])
    random = own(training["random"])
    torch.set_rng_state(random[0])
    if torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(random[1], device)


def _sha256(path):
    """Return the checksum of a file, in hexadecimal."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BYTES_AT_ONCE):
            found.update(block)
    return found.hexdigest()


def _sha256_of_json(tree):
    """Return the checksum of what JSON can hold, in hexadecimal."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _hash_weights(networks):
    found = hashlib.sha256()
    for network in networks:
        for name, tensor in network.state_dict().items():
            found.update(name.encode())
            found.update(tensor.detach().cpu().numpy().tobytes())
    return found.hexdigest()


def _unwritable(folder, error):
    return OSError(
        f"checkpoint_dir: nothing can be written to {folder} ({error}); use another "
        f"folder, or None."
    )


def _snapshot_name(position):
    return f"snapshot{position}.safetensors"


def _dynamics_name(position):
    return f"dynamics{position}.safetensors"


def _training_name(epoch):
    return f"training{epoch}.pt"
