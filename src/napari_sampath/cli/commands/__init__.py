"""Subcommands of `sampath`; `training` and `export_import` define two each."""
