"""What preflight tells about the data: gathered while rows stream by, told as JSON and HTML."""
