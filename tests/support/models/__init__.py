"""Models that tests use in place of the shipped ones: small, quick, or with known answers."""
