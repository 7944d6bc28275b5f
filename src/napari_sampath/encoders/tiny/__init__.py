"""`sampath-tiny` and `sampath-tiny-path`, the models shipped with the package."""
