"""The papers' models and figures, by name."""
