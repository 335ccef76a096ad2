"""The generated world: a small, seeded knowledge base with captions and drawn pictures, to check that the parts work.

Generated pictures: shows that the parts work; says nothing about accuracy on photographs.

Frozen: what VERSION 1 generates never changes (tests pin its hash). A change of any list, share or stroke is a new
version beside it.
"""

VERSION = 1
CAVEAT = "Generated pictures: shows that the parts work; says nothing about accuracy on photographs."

__all__ = ["CAVEAT", "VERSION"]
