"""Published GAN packages, each in its own environment, that ganzoo is measured against."""
