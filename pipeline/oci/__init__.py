"""OCI nouns under the names of their specifications. Pure; imports errors, formats."""
