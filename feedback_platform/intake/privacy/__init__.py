"""Personal data at the door: pseudonyms for ids, masks for texts, counts of both."""
