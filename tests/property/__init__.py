"""Properties that hold for generated inputs."""
