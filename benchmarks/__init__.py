"""esrffs against what people use today: `make bench`."""
