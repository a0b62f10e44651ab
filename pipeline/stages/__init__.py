"""One verb each: pure code composed with the host. Imports every tier but tasks."""
