"""What the server adds to SGLang's app: /fasttts/*, and searches on OpenAI's routes."""
