"""Training: the VAE loop, edits against critics, the attribute classifier."""
