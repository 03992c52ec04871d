"""How the pages are built: `make docs`. Warnings are errors."""

from airflow_provider_apiusage import __version__

project = "airflow-provider-apiusage"
author = "the airflow-provider-apiusage authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = False

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "substitution"]
suppress_warnings = []

autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_show_sphinx = False
