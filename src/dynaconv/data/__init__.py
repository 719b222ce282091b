"""Images: where they come from, how they are augmented and served."""
