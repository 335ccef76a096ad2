"""Where knowledge bases come from: dumps, RDF, web services and their markup, read into entities and texts."""
