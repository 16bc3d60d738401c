"""Hot loops: one function with one meaning each, in as many bodies as measurements ask for."""
