"""Which clips exist and how they are labelled: layouts, class lists, the synthetic corpus."""
