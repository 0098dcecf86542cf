"""Material for generated customer messages: what they say, in which language, and in whose style."""
