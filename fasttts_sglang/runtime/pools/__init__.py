"""KV pools that change their size while the server runs, under one budget for both models."""
