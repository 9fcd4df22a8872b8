"""Sphinx configuration.

Nothing is fetched while building: there is no intersphinx, and the examples use texts
that are made at run time or lie beside them, and the offline copy of the default model.
"""

import os
from collections import defaultdict
from importlib.metadata import version as installed_version

from docutils import nodes
from sphinx.util.nodes import make_refnode
from sphinx_gallery.sorting import ExplicitOrder

os.environ["HF_HUB_OFFLINE"] = "1"  # for the examples

project = "skdygen"
author = copyright = "The skdygen developers"
version = release = installed_version("skdygen")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "code", "examples"]

autosummary_generate = True
autodoc_typehints = "none"  # docstrings have them, in words
numpydoc_show_class_members = False

myst_enable_extensions = ["dollarmath", "substitution"]
myst_substitutions = {"version": version}
myst_heading_anchors = 3

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "parallel": True,  # as many at once as sphinx -j says
    "within_subsection_order": ExplicitOrder(
        [
            "plot_find_wrong_labels.py",
            "plot_verified.py",
            "plot_ranking.py",
            "plot_dynamics.py",
            "plot_noise_transitions.py",
            "plot_noise_rates.py",
            "plot_rules.py",
            "plot_reviews_rules.py",
            "plot_annotators.py",
            "plot_reviews_rater.py",
            "plot_language_models.py",
            "plot_search.py",
            "plot_fast_prediction.py",
            "plot_pipeline.py",
            "plot_own_stage.py",
        ]
    ),
    "doc_module": ("skdygen",),
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"skdygen": None},
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skdygen {version}"
toc_object_entries_show_parents = "hide"  # the list beside a page is narrow
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {"index": [], "start": [], "search": []}
html_theme_options = {
    "logo": {"text": project},  # on a phone there is no room for the version
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
}

# Where the pages are, here, that files outside docs/ link to.
_PAGES = {"README.md": "start.md", "CHANGELOG.md": "changelog.md", "docs/": ""}


def _link_from_here(app, path, docname, source):
    """Adapt the links of a file that a page includes."""
    for there, here in _PAGES.items():
        source[0] = source[0].replace(f"]({there}", f"]({here}")


def _link_names(app, doctree, docname):
    """Make links of names in code or docstrings, where they mean one object."""
    found = defaultdict(set)
    for name, entry in app.env.domains["py"].objects.items():
        if not entry.aliased and entry.objtype not in ("module", "attribute"):
            for known in (name, name.removeprefix("skdygen."), name.split(".")[-1]):
                found[known].add((name, entry.docname, entry.node_id))
    kinds = (nodes.literal, nodes.title_reference)
    for node in [node for kind in kinds for node in doctree.findall(kind)]:
        objects = found.get(node.astext().removesuffix("()"), ())
        if len(objects) != 1 or isinstance(node.parent, (nodes.reference, nodes.title)):
            continue
        ((name, page, anchor),) = objects
        if page != docname:
            link = make_refnode(
                app.builder, docname, page, anchor, node.deepcopy(), name
            )
            node.replace_self(link)


def setup(app):
    """Connect the functions above."""
    app.connect("include-read", _link_from_here)
    app.connect("doctree-resolved", _link_names)
