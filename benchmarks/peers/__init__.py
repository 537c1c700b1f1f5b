"""What `benchmarks/read.py` measures this reader against: the files, and the ways to read them."""
