"""Features: from texts, pictures and regions to the arrays that a model reads."""
