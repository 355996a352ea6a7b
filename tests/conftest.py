"""Shapes are checked at every call in the second run of `make test`: the hook must stand before the first import."""

import os

if os.environ.get("WORKBENCH_TYPECHECK") == "1":
    from jaxtyping import install_import_hook

    install_import_hook("workbench", "typechecker.check")
