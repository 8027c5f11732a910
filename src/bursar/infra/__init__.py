"""Everything that touches the world (database, files, network, clock at the edge) and knows no part."""
