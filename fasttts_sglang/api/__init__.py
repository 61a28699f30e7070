"""What clients send and get, as plain dicts. No HTTP, no SGLang."""
