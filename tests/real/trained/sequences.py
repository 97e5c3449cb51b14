"""Texts for models that read no prose: reactions as SMILES, and antibodies as residues."""

from __future__ import annotations

import random

REACTIONS = 400
VARIANTS = 24  # of each antibody
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"

# Pieces of molecules that may be followed by a bond, and those that may stand after one.
LEFT = [
    "C", "CC", "CC(C)", "CC(C)(C)", "C=CC", "C#CC", "FC(F)(F)", "COCC", "CCOC(=O)CC", "N#Cc1ccccc1", "c1ccccc1",
    "Cc1ccc(Cl)cc1", "O=[N+]([O-])c1ccccc1", "c1ccncc1", "COc1cc2ncncc2cc1", "CS(=O)(=O)c1ccc(F)cc1", "c1ccc2[nH]ccc2c1",
    "C1CCN(C(=O)OC(C)(C)C)CC1", "Cn1cncc1", "CC(C)(C)OC(=O)N[C@@H](Cc1ccccc1)", "C[Si](C)(C)OCC", "Brc1sccc1",
]  # fmt: skip
RIGHT = [
    "C", "CC", "C(C)C", "C1CC1", "Cc1ccccc1", "Cc1ccc(OC)cc1", "c1ccc(F)cc1", "c1ccc(C(F)(F)F)cc1", "c1ncccn1", "c1cccc(Cl)c1",
    "CCN1CCOCC1", "[C@H](C)c1ccccc1", "C1CCN(C)CC1", "c1nc2ccccc2s1", "CC(=O)OCC", "CCO[Si](C)(C)C(C)(C)C",
    "c1ccc2c(c1)OCO2", "C/C=C/c1ccccc1", "c1c(I)cnn1C",
]  # fmt: skip
REAGENTS = [
    "CN(C)C=O", "ClCCl", "C1CCOC1", "CCO", "O", "CCN(CC)CC", "CCN(C(C)C)C(C)C", "O=C([O-])[O-].[K+].[K+]", "[H-].[Na+]", "Cl",
    "O=C(O)C(F)(F)F", "CC#N", "c1ccc(P(c2ccccc2)c2ccccc2)cc1", "CN(C)c1ccncc1", "[Na+].[OH-]", "CCOC(C)=O", "O=S(Cl)Cl",
]  # fmt: skip


def reaction(source: random.Random) -> str:
    """One step of a synthesis: reactants and reagents in any order, and the product."""
    left, right = source.choice(LEFT), source.choice(RIGHT)
    reactants, product = source.choice(
        [
            ([f"{left}C(=O)O", f"N{right}"], f"{left}C(=O)N{right}"),  # an amide of an acid
            ([f"{left}C(=O)Cl", f"N{right}"], f"{left}C(=O)N{right}"),  # and of its chloride
            ([f"{left}C(=O)O", f"O{right}"], f"{left}C(=O)O{right}"),  # an ester
            ([f"{left}C(=O)O{right}"], f"{left}C(=O)O"),  # back to the acid
            ([f"{left}CBr", f"O{right}"], f"{left}CO{right}"),  # an ether
            ([f"{left}CBr", f"N{right}"], f"{left}CN{right}"),  # an amine
            ([f"{left}C=O", f"N{right}", "[Na+].[BH4-]"], f"{left}CN{right}"),  # an amine of an aldehyde
            ([f"{left}Br", f"OB(O){right}", "[Pd]"], f"{left}-{right}"),  # Suzuki's coupling
            ([f"{left}S(=O)(=O)Cl", f"N{right}"], f"{left}S(=O)(=O)N{right}"),  # a sulfonamide
            ([f"CC(C)(C)OC(=O)N{right}"], f"N{right}"),  # a protecting group taken off
        ]
    )
    precursors = reactants + source.sample(REAGENTS, source.randrange(4))
    source.shuffle(precursors)
    return f"{'.'.join(precursors)}>>{product}"


def reactions() -> list[str]:
    """Reactions of usual length, and some with so many precursors that they are cut."""
    source = random.Random(11)
    usual = [reaction(source) for _ in range(REACTIONS)]
    crowded = [".".join(reaction(source).split(">>")[0] for _ in range(count)) + ">>CCO" for count in range(5, 25, 2)]
    return usual + crowded


# Variable regions of four antibodies that are medicines (trastuzumab, adalimumab, rituximab, pembrolizumab).
HEAVY = [
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS",
    "EVQLVESGGGLVQPGRSLRLSCAASGFTFDDYAMHWVRQAPGKGLEWVSAITWNSGHIDYADSVEGRFTISRDNAKNSLYLQMNSLRAEDTAVYYCAKVSYLSTASSLDYWGQGTLVTVSS",
    "QVQLQQPGAELVKPGASVKMSCKASGYTFTSYNMHWVKQTPGRGLEWIGAIYPGNGDTSYNQKFKGKATLTADKSSSTAYMQLSSLTSEDSAVYYCARSTYYGGDWYFNVWGAGTTVTVSA",
    "QVQLVQSGVEVKKPGASVKVSCKASGYTFTNYYMYWVRQAPGQGLEWMGGINPSNGGTNFNEKFKNRVTLTTDSSTTTAYMELKSLQFDDTAVYYCARRDYRFDMGFDYWGQGTTVTVSS",
]
LIGHT = [
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQGTKVEIK",
    "DIQMTQSPSSLSASVGDRVTITCRASQGIRNYLAWYQQKPGKAPKLLIYAASTLQSGVPSRFSGSGSGTDFTLTISSLQPEDVATYYCQRYNRAPYTFGQGTKVEIK",
    "QIVLSQSPAILSASPGEKVTMTCRASSSVSYIHWFQQKPGSSPKPWIYATSNLASGVPVRFSGSGSGTSYSLTISRVEAEDAATYYCQQWTSNPPTFGGGTKLEIK",
    "EIVLTQSPATLSLSPGERATLSCRASKGVSTSGYSYLHWYQQKPGQAPRLLIYLASYLESGVPARFSGSGSGTDFTLTISSLEPEDFAVYYCQHSRDLPLTFGGGTKVEIK",
]


def antibodies(chains: list[str]) -> list[str]:
    """The chains, variants of them with some residues exchanged as mutations do, and stretches of them."""
    source = random.Random(12)
    variants = [
        "".join(source.choice(RESIDUES) if source.random() < 0.04 else residue for residue in chain)
        for chain in chains
        for _ in range(VARIANTS)
    ]
    stretches = [chain[start : start + length] for chain in chains for start, length in ((0, 1), (20, 15), (50, 44))]
    return chains + variants + stretches
