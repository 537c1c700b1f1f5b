"""What `benchmarks/read.py` and `benchmarks/featurize.py` measure earmark against, and on what."""
