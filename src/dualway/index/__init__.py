"""A knowledge base with what follows it: the index of its names, the vectors of its texts, its gallery."""
