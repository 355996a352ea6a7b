"""What notebooks show while one works in them."""
