"""A trained method with all that turns one scan into a prediction: card, files, detection."""
