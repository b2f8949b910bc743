"""A stand-in for the three functions of robustbench that torchattacks' own test calls: no download, seconds to run."""
