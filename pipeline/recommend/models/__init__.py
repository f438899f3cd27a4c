"""One module a kind of recommender, named as the configuration names it: its settings, and what it says of itself."""
