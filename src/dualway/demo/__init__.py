"""The demo: files, links, a trained model, figures and a report; on the generated world or on one's own data."""
