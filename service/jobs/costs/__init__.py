"""What jobs cost: pure rules over what earlier runs took."""
