"""Shapes are checked at every call in the second run of `make test`: the hook must stand before the first import."""

import os

from hypothesis import settings

if os.environ.get("WORKBENCH_TYPECHECK") == "1":
    from jaxtyping import install_import_hook

    install_import_hook("workbench", "typechecker.check")

# The same examples at every run: a failure that comes and goes tells nobody anything.
settings.register_profile("workbench", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("workbench")
