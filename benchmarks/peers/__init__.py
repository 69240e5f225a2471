"""Published GAN packages, each in an environment of its own, that ganzoo is measured against."""
