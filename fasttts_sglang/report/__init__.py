"""Pictures of one search: a page for a browser, and a trace for Perfetto. Pure."""
