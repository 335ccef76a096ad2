"""The knowledge base: records, representations and revisions in one folder (`store`), built from files (`files`)."""
