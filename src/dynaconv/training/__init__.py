"""Training: recipes, the loop, checkpoints, histories."""
