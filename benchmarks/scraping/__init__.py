"""What it costs a server to be scraped."""
