"""From trained runs to results: predictions, ensembles, submissions, scores."""
