"""The guards of the door, as laws."""
