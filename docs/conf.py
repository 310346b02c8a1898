"""Settings of Sphinx: ``make docs`` builds the site in docs/build/html."""

import re
from pathlib import Path

import skdeepad

project = "skdeepad"
author = "The skdeepad developers"
version = release = skdeepad.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",  # reads docstrings as scikit-learn writes them
    "myst_parser",  # reads Markdown, in which the pages are read in a clone as well
    "sphinx_gallery.gen_gallery",  # runs the examples and shows their pictures
    "sphinx_copybutton",
]
exclude_patterns = ["build"]
templates_path = ["templates"]

# The public names are those of each module's __all__, wherever they are defined.
autosummary_ignore_module_all = False
autosummary_imported_members = True
numpydoc_show_class_members = False
autodoc_typehints = "none"  # the text has the types
# Docstrings that are scikit-learn's own refer to its guide and glossary.
suppress_warnings = ["ref.ref", "ref.term"]

myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "show_memory": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "skdeepad"
html_theme_options = {"header_links_before_dropdown": 6, "show_prev_next": False}
html_sidebars = {"*": []}  # of pages with nothing below them
html_show_sourcelink = False

ROOT = Path(__file__).parents[1]
PAGES = {"examples": "examples/index.rst", "CONTRIBUTING.md": "contributing.md"}
PAGES |= {
    f"examples/{path.name}": f"examples/{path.stem}.rst"
    for path in (ROOT / "examples").glob("plot_*.py")
}


def link(match):
    """A link of README.md's, as it is to be in docs/index.md."""
    text, target = match.groups()
    if target in PAGES:
        return f"[{text}]({PAGES[target]})"
    # A file is copied to the site; a folder is named, and has no page.
    return f"[{text}](../{target})" if (ROOT / target).is_file() else text


def link_detectors(text):
    """Let the names of detectors lead to their pages."""
    names = "|".join(name for name in skdeepad.__all__ if name[0].isupper())
    return re.sub(rf"(?<!`)`({names})`(?!`)", r"{py:class}`~skdeepad.\1`", text)


def set_links(app, relative_path, parent_docname, content):
    """Let the links of README.md, which docs/index.md includes, go somewhere."""
    elsewhere = r"(?<!!)\[([^\]]+)\]\((?!docs/|http|#)([^)]+)\)"
    content[0] = link_detectors(re.sub(elsewhere, link, content[0]))


def set_links_of_page(app, docname, content):
    """The same for the pages, whose links to examples go to files."""
    for target, page in PAGES.items():
        content[0] = content[0].replace(f"](../{target})", f"]({page})")
    if app.env.doc2path(docname).suffix == ".md":
        content[0] = link_detectors(content[0])


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", set_links_of_page)
    app.connect("include-read", set_links)
