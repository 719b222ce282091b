"""What a run shows: figures, pictures, and the report that holds them."""
