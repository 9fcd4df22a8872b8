"""joblib's cache with checksums: most entries with a flipped bit can still be read."""

import copy
import hashlib
from contextlib import suppress
from pathlib import Path

from joblib._store_backends import FileSystemStoreBackend

from ._storage import replacing


class _CheckedStore(FileSystemStoreBackend):
    """A store of entries that are not read if they are not what was written."""

    def dump_item(self, call_id, *args, **params):
        super().dump_item(call_id, *args, **params)
        entry, digest = self._paths(call_id)
        with suppress(OSError), replacing(digest) as temporary:  # the disk may be full
            temporary.write_text(_hash_file(entry))

    def load_item(self, call_id, *args, **params):
        entry, digest = self._paths(call_id)
        # joblib logs the error and computes the entry again.
        if not digest.exists() or digest.read_text() != _hash_file(entry):
            raise ValueError(f"{entry} is not what was written.")
        return super().load_item(call_id, *args, **params)

    def get_cached_func_code(self, call_id):
        try:
            return super().get_cached_func_code(call_id)
        except UnicodeDecodeError as error:
            raise OSError("it is damaged.") from error  # as if it were missing

    def _paths(self, call_id):
        """Paths of an entry and of its checksum."""
        folder = Path(self.location, *call_id)
        return folder / "output.pkl", folder / "output.sha256"


def with_checksums(memory):
    """Return a joblib.Memory like another one that keeps a checksum of each entry."""
    store = getattr(memory, "store_backend", None)
    if type(store) is not FileSystemStoreBackend:  # no cache, or one by somebody else
        return memory
    checked = _CheckedStore()
    vars(checked).update(vars(store))
    memory = copy.copy(memory)
    memory.store_backend = checked
    return memory


def _hash_file(path):
    with open(path, "rb") as file:
        found = hashlib.sha256()
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()
