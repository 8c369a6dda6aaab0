"""How a version leaves: export formats, the dataset card and loaders for training code."""
