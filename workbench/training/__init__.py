"""Training and what belongs to it: configuration, objective, loop, evaluation, prediction."""
