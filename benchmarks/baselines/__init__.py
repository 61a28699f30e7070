"""What a user can do today with stock SGLang."""
