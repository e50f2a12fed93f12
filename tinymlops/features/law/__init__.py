"""What holds for definitions as a whole: that none of them lets the future in, and that each gives the same twice."""
