"""Training: steps, engines, optimizers, several processes, devices."""
