"""Candidate sources: which entities a mention may mean, from the mention alone (paper, section 5.1.3)."""
