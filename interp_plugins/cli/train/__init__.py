"""The commands `interp-plugins train ...`: train a network on clean and attacked images, and judge what came out."""
