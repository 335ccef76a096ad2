"""dualway: links mentions in captioned pictures to the entities of a knowledge base."""

__version__ = "0.1.0"
