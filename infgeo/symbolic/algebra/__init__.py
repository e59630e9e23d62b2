"""What is done with expressions and programs, whatever they mean."""
