"""What the worker's topics should be like, what they are like, and what mends the difference."""
