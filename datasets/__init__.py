CATALOGUE: dict[str, tuple[str, str]] = {"norman-sim": ("gene_sim:NORMAN_SIM", "sim")}
