"""What a latent code says of the variables that generated the data."""
