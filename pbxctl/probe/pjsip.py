"""PJSIP's Python binding; `pjsip.pyi` gives types to what of it is used here, and nothing more."""

# The binding ships neither types nor a list of its names.
# pyright: reportMissingTypeStubs=false, reportWildcardImportFromLibrary=false
from pjsua2.pjsua2 import *  # noqa: F403  (names as above)
