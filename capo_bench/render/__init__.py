"""How numbers, maps, pages and figures look, wherever they are shown."""
