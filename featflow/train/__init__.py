"""Training: recipes, data, losses, the loop."""
