"""K-fold training on stored features: folds, datasets, networks, the loop, checkpoints."""
