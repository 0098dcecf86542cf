"""What executes a round."""
