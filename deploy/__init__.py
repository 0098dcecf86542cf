"""Ways to run Limelight; ``deploy.local`` runs all of it on one machine."""
