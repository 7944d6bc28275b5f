"""The subcommands of `sampath`; `training` and `export_import` hold two each."""
