"""`sampath serve`: features of tiles over HTTP, for machines without a fast device (extra `server`)."""
