"""What the user wrote, made into nouns."""
