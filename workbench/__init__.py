"""A research workbench for crowd counting: losses, models, samplers and adversarial training.

Nothing heavy is imported here; every room is imported by its own name, for instance
``from workbench.losses import build_loss``.
"""

__version__ = "0.1.0"
