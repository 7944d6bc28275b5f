"""`sampath-tiny`, the model that is shipped."""
