"""A dozen nets and the digests of their results: ``python tests/golden.py --write`` renews golden.json.

A digest is sha256 over the bytes of the results in the order in which ``nets.run`` names them: little-endian
floats, every NaN the same. Renewing them is a change of the contract and belongs into the changelog.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from nets import Net, Results, make_net, run, with_changes

FILE = Path(__file__).with_name("golden.json")

SIZES = {"T": 7, "B": 3, "X": 5, "H": 9, "V": 6}
NETS: dict[str, dict] = {
    "vectors": SIZES,
    "vectors float64": {**SIZES, "dtype": "float64"},
    "tokens": {**SIZES, "tokens": True, "T": 40},
    "tokens float64": {**SIZES, "tokens": True, "dtype": "float64"},
    "distributions": {**SIZES, "labels": "distributions", "T": 12},
    "ragged": {**SIZES, "lengths": "ragged", "labels": "some", "B": 10},
    "ragged float64": {**SIZES, "lengths": "ragged", "labels": "distributions", "dtype": "float64"},
    "blocks of rows": {"T": 3, "B": 130, "X": 2, "H": 3, "V": 2, "lengths": "ragged"},
    "blocks of terms": {"T": 2, "B": 2, "X": 131, "H": 258, "V": 130},
    "no outputs": {**SIZES, "V": 0, "own_loss": True},
    "saturated": {**SIZES, "scale": 50.0, "own_loss": True},
    "a character model": {"T": 16, "B": 2, "X": 65, "H": 100, "V": 65, "tokens": True},
    "NaN": {**SIZES, "dtype": "float64"},
}


def golden_net(name: str) -> Net:
    net = make_net(**NETS[name], seed=99)
    if name != "NaN":
        return net
    inputs = net.inputs.copy()
    inputs[3, 1, 2] = np.nan
    return with_changes(net, inputs=inputs)


def digest(results: Results) -> str:
    sha = hashlib.sha256()
    for array in results.values():
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
        sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew golden.json with the NumPy column's results")
    arguments = parser.parse_args()
    digests = {name: digest(run(golden_net(name), "numpy")) for name in NETS}
    text = json.dumps(digests, indent=2) + "\n"
    if arguments.write:
        FILE.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
