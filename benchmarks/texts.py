"""Many real texts with right labels, read from packages of Debian.

Nothing of them lies here. On Debian or Ubuntu, 60 MB are fetched and unpacked by

    apt-get download wordnet-base 'libreoffice-l10n-*'
    for package in *.deb; do dpkg-deb -x "$package" FOLDER; done

`glosses` are definitions of WordNet (free to use, with its notice), whose classes are
its 45 files of meanings, such as animals or verbs of motion; `messages` are what
LibreOffice shows (MPL 2.0), whose classes are the languages.
"""

import struct

import numpy as np

_GLOSSES = "usr/share/wordnet"
_MESSAGES = "usr/lib/libreoffice/program/resource"


def glosses(folder):
    """Read the definitions of WordNet.

    Parameters
    ----------
    folder : Path
        Where packages are unpacked.

    Returns
    -------
    texts : list of str of length n_samples
        Different ones, in an order drawn once and for all.
    classes : ndarray of shape (n_samples,)
        Numbers of WordNet's files, as str.
    """
    classes = {}
    for path in sorted((folder / _GLOSSES).glob("data.*")):
        for line in path.read_text().splitlines():
            if not line.startswith(" "):  # the licence
                entry, gloss = line.split(" | ", 1)
                _add(gloss.strip(), entry.split()[1], classes)
    return _shuffled(classes, folder)


def messages(folder):
    """Read the messages of LibreOffice in all its languages.

    See `glosses`. What is left in English is left out, and so are texts of several
    languages.
    """
    classes = {}
    for language in sorted((folder / _MESSAGES).glob("*")):
        for path in sorted(language.glob("LC_MESSAGES/*.mo")):
            for text in translated(path.read_bytes()):
                _add(text, language.name, classes)
    return _shuffled(classes, folder)


def translated(catalogue):
    """Yield the translations in the bytes of a .mo file, without those left as is."""
    _, _, n, *tables = struct.unpack_from("<5I", catalogue)
    places = [struct.unpack_from(f"<{2 * n}I", catalogue, table) for table in tables]
    for which in range(0, 2 * n, 2):
        original, text = (
            catalogue[start : start + length].decode()
            for length, start in (place[which : which + 2] for place in places)
        )
        originals = original.rpartition("\4")[2].split("\0")  # before: where it is
        if original:  # not the head of the file
            for form in text.split("\0"):  # such as a plural
                if form not in originals and any(map(str.isalpha, form)):
                    yield form


def _add(text, name, classes):
    """Note the class of a text; None of one that has several."""
    classes[text] = name if classes.get(text, name) == name else None


def _shuffled(classes, folder):
    """Give the texts that have one class, and these."""
    texts = sorted(text for text, name in classes.items() if name is not None)
    if not texts:
        raise ValueError(f"no such texts are in {folder}; see benchmarks/texts.py")
    order = np.random.RandomState(0).permutation(len(texts))
    texts = [texts[i] for i in order]
    return texts, np.array([classes[text] for text in texts])
