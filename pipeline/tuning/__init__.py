"""A search for settings of the recommender."""
