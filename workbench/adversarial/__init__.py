"""Attacks, margins, locality-aware adversarial training, defences and what robustness they leave."""

from workbench.adversarial.attacks import fgsm, pgd
from workbench.adversarial.margins import margins
from workbench.adversarial.tasks import CLASSIFICATION, Task, counting

__all__ = ["CLASSIFICATION", "Task", "counting", "fgsm", "margins", "pgd"]
