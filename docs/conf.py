"""The site: `make docs` builds it to out/docs. Offline: inventories of other projects are in docs/inventories.

The chapters of the theory are derivations/NN_*.py, copied to docs/theory and executed: one that does not hold ends the
build.
"""

import os
import re
import shutil
import sys
import zlib
from importlib.resources import files
from pathlib import Path

from sphinx.util.parallel import make_chunks

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import infgeo  # noqa: E402
from infgeo.explorer.page import page  # noqa: E402

project = "infgeo"
author = "infgeo developers"
copyright = author
release = infgeo.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.katex",
]
exclude_patterns = ["conf.py", "demo.py", "make_*.py", "**/__pycache__"]
suppress_warnings = ["config.cache"]  # functions below stand in the configuration

# -- Pages ------------------------------------------------------------------------------------------------------------
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
highlight_language = "python"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"


def for_the_site(app, name, source):
    """Drop the empty line that ends the last output of an example, and link chapters where the site has them."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n").replace("](../../derivations/", "](../theory/")


# -- The theory: percent scripts, executed ----------------------------------------------------------------------------
for script in (HERE / "theory").glob("[0-9][0-9]_*.py"):
    script.unlink()
for script in sorted((ROOT / "derivations").glob("[0-9][0-9]_*.py")):
    shutil.copyfile(script, HERE / "theory" / script.name)
# Kernels of the notebooks start without what a user has set up for his own.
settings = ROOT / "out" / "ipython" / "profile_default" / "ipython_kernel_config.py"
settings.parent.mkdir(parents=True, exist_ok=True)
settings.write_text("c = get_config()\nc.IPKernelApp.log_level = 40\n", encoding="utf-8")
os.environ["IPYTHONDIR"] = str(settings.parents[1])
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = False  # the traceback is shown, and its warning is an error of `make docs`
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/latex", 1)]  # a value of SymPy is mathematics


def share_chapters(app, env, names):
    """Order the pages so that the first two processes get half of the chapters each: these take the time."""
    chapters = [name for name in names if re.match(r"theory/\d|notebooks/[^i]", name)]
    others = [name for name in names if name not in chapters]
    first = chapters[::2]
    room = len(make_chunks(names, app.parallel)[0]) - len(first)
    names[:] = [*first, *others[:room], *chapters[1::2], *others[room:]]


# -- The explorer: a page of its own, beside the others ---------------------------------------------------------------
EXPLORER = ROOT / "out" / "explorer" / "explorer.html"
EXPLORER.parent.mkdir(parents=True, exist_ok=True)
EXPLORER.write_text(page(), encoding="utf-8")
html_extra_path = [str(EXPLORER)]

# -- Mathematics: KaTeX comes with its extension and writes MathML, ziamath brings a font: no network is needed --------
katex_css_path = "mathematics.css"
katex_options = 'output: "mathml", throwOnError: false'

# -- The reference, from docstrings -----------------------------------------------------------------------------------
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "numpy.typing.ArrayLike"}
nitpick_ignore = [("py:class", name) for name in ("Formula", "collections.abc.Mapping[str", "tuple[str")]  # typing
nitpicky = True  # a link that leads nowhere is a warning, but for
nitpick_ignore_regex = [
    ("py:(class|obj)", r"infgeo\..*"),  # what stands behind the public names,
    ("py:class", r"(gpytorch|sklearn)\..*"),  # bases of the adapters,
    ("py:class", r"numpy\._typing\..*"),  # and what ArrayLike is made of
]
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_display_short_literal_types = True
python_use_unqualified_type_names = True
default_role = "code"


def in_markup(lines: list[str]) -> list[str]:
    """Return the lines of a docstring in the markup of Sphinx.

    Outside code |x|, * and x_ are what they look like, a full name such as `infgeo.MLP` is a link, and what is indented
    behind an empty line is set as it stands.
    """
    result, literal, example, last = [], False, False, ""
    for line in lines:
        indented, starts = line.startswith(" "), not (result and result[-1].strip())
        if line.strip():
            example = line.lstrip().startswith(">>>") or (example and not starts)
            if indented and starts and last and not last.startswith((" ", ">>>")):
                result += [".. code-block:: text", ""]
                literal = True
            literal = literal and indented
            last = line
        if not (literal or example):
            parts = re.split(r"(`+[^`]+`+)", line)
            parts[::2] = [re.sub(r"[|*]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
            parts[1::2] = [re.sub(r"^`(infgeo\.[\w.]+)`$", r":py:obj:`\1`", part) for part in parts[1::2]]
            line = "".join(parts)
        result.append(line)
    return result


def mark_up(app, what, name, value, options, lines):
    """Rewrite a docstring before it is read."""
    lines[:] = in_markup(lines)
    if what in ("property", "attribute"):
        lines[:0] = ["..", ""]  # or what stands before a colon in the first line would be taken for a type


def tidy_signature(app, what, name, value, options, signature, returned):
    """Write ArrayLike by its name, and a default that is made anew as dots."""
    long = r"TypeAliasForwardRef\('numpy.typing.ArrayLike'\)|[\w.]*_Buffer \| .*?complex \| bytes \| str\]"
    tidied = (text and re.sub(long, "~numpy.typing.ArrayLike", text) for text in (signature, returned))
    return tuple(text and text.replace("<factory>", "...") for text in tidied)


# -- Links to other projects: only the names that are used, so that nothing is downloaded ------------------------------
def inventory(source: Path) -> str:
    """Write the inventory of a text file in the form that intersphinx reads; return its path."""
    target = ROOT / "out" / "inventories" / f"{source.stem}.inv"
    target.parent.mkdir(parents=True, exist_ok=True)
    head, body = [], []
    for line in source.read_text(encoding="utf-8").splitlines():
        (head if line.startswith("#") else body).append(line)
    compressed = zlib.compress("".join(f"{line}\n" for line in body if line).encode())
    target.write_bytes("".join(f"{line}\n" for line in head).encode() + compressed)
    return str(target)


intersphinx_mapping = {
    name: (address, inventory(HERE / "inventories" / f"{name}.txt"))
    for name, address in {
        "python": "https://docs.python.org/3/",
        "numpy": "https://numpy.org/doc/stable/",
        "sympy": "https://docs.sympy.org/latest/",
        "torch": "https://docs.pytorch.org/docs/stable/",
    }.items()
}

# -- The look: a theme for long chapters with mathematics; its fonts, styles and search come with it -------------------
html_theme = "sphinx_book_theme"
html_title = "infgeo"
html_static_path = ["static", str(files("ziamath") / "fonts")]
html_css_files = ["site.css"]
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the search is in the side bar
}
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it is fetched, which browsers refuse to a page that is a file


def setup(app):
    """Connect what is above."""
    app.connect("source-read", for_the_site)
    app.connect("env-before-read-docs", share_chapters)
    app.connect("autodoc-process-docstring", mark_up, priority=100)
    app.connect("autodoc-process-signature", tidy_signature)
