"""Read the signs in a picture: decode, detect, orient, recognise, match."""
