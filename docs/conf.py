"""How Sphinx builds the pages and the reference: ``sphinx-build -W docs build/docs``."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

import rnncore

project = "rnncore"
version = release = rnncore.__version__
author = "the rnncore authors"
html_theme = "furo"
html_show_copyright = False
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3  # links such as arithmetic.md#2-products, as GitHub makes them

autodoc_mock_imports = [  # what rnncore.jax and rnncore.torch need, and the pages do not
    "jax",
    "torch",
    "rnncore._jax.primitives",
    "rnncore.torch.autograd",
    "rnncore.torch.operators",
]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
autodoc_type_aliases = {  # shown by their names
    name: name for name in ("Array", "Arrays", "Indices", "Inputs", "Labels", "States", "Sequences", "ArrayOrList")
} | {"npt.ArrayLike": "ArrayLike", "npt.DTypeLike": "DTypeLike"}
add_module_names = False
toc_object_entries_show_parents = "hide"


def as_equations(app: Any, doctree: Any) -> None:
    """Make each displayed formula an equation of its own, in which LaTeX allows its number."""
    for node in doctree.findall(nodes.math_block):
        node["no-wrap"] = True
        node.children = [nodes.Text(rf"\begin{{equation*}}{node.astext().strip()}\end{{equation*}}")]


def as_downloads(app: Any, doctree: Any) -> None:
    """Make links to pages outside this folder links to their files."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        page = Path(app.srcdir, node["reftarget"] + ".md").resolve()
        if node.get("refdomain") == "doc" and page.is_file() and Path(app.srcdir) not in page.parents:
            file = addnodes.download_reference("", "", *node.children, refdoc=node["refdoc"])
            file["reftarget"] = "/" + node["reftarget"] + ".md"
            node.replace_self(file)


def short_signature(app: Any, kind: str, name: str, *rest: Any) -> tuple[str, str | None] | None:
    """Show aliases of types by their names alone."""
    arguments, returns = rest[-2:]
    if arguments is None:  # no function
        return None
    short = [re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text or "") for text in (arguments, returns)]
    return short[0], short[1] or None


def setup(app: Any) -> None:
    """Connect what is above, before Sphinx collects the files to copy."""
    app.connect("autodoc-process-signature", short_signature)
    app.connect("doctree-read", as_equations)
    app.connect("doctree-read", as_downloads, priority=100)
