"""Models that replace the shipped ones in tests: small, fast, or with known answers."""
