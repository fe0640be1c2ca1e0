"""Hand-made face features and the classical classifiers that read them."""
