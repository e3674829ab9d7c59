"""Networks and their losses: Gaussian, FaceVAE, priors, classifier, critics."""
