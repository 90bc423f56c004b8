"""Training of the adapter: recipe, batches that a seed makes again, objective, and a loop that resumes."""
