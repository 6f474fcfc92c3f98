"""OFFLINE: data sets, training of generator and extractor, the database."""
