"""Success in worlds that the model was not trained in."""
