"""One module an export."""
