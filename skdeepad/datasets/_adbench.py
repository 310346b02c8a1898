"""The 47 tabular data sets of ADBench, found or downloaded and verified."""

import hashlib

import numpy as np
from sklearn.utils import Bunch

from skdeepad.datasets._files import fetch_file

URL = (
    "https://raw.githubusercontent.com/Minqi824/ADBench/main/adbench/datasets/"
    "Classical/{}.npz"
)

# Git blob ids of the files at commit 3dac822 of Minqi824/ADBench (BSD-2-Clause).
BLOB_IDS = {
    "1_ALOI": "1bfa7aba7b338c8b854572ff86c1b402102e3dc7",
    "2_annthyroid": "56a1893bd25852ce6ae6f7a69f71eac4ad0b7cc4",
    "3_backdoor": "37a78da210e0adad9dc31a55ab741e11a3892a1d",
    "4_breastw": "86c03336d103c5de6d7c51869e46abe3e4cb359a",
    "5_campaign": "85b2116c39a8faaa171edd325619b3d4645ab762",
    "6_cardio": "30f9e14ea169b1a97146e1d86863280b1191de36",
    "7_Cardiotocography": "01e4975721a6fcf52f4d969020da65ab9bd6b850",
    "8_celeba": "12f4400453c1941fbd39c4bbd493ce04dcc9a5b1",
    "9_census": "8707b01b13fda641a7b5a17b2168254757f16980",
    "10_cover": "478003ba7bfab18a0012fa4fa8c5c47522630315",
    "11_donors": "85057706d6f834a8bda268f3521151ca262f5c9b",
    "12_fault": "4a6e7bf6fd753f4719dad820732a2e131a7ac9cf",
    "13_fraud": "143e1103134efa628e9996385620bb8a995b7914",
    "14_glass": "06728933b15381d0f325575be4f766bfcd53ed9d",
    "15_Hepatitis": "9a7b470d407c0dd7676d12c82aa7dcf657908482",
    "16_http": "b4f500242fea22052ad10d1f1bb99b84f17be897",
    "17_InternetAds": "68794e573dacebc3c532d2c7ac25d20de3f614dd",
    "18_Ionosphere": "56b8a9c4cf0273c16bbf73640d7c78fe5b79a8d3",
    "19_landsat": "6ea2033dc529e6a770b2391eda78d702dc296ec5",
    "20_letter": "2e65f8354dd379bcd7ea72c6d36e16fec3119870",
    "21_Lymphography": "eaab3363b01470da6cf92f102e1a6398b757a5af",
    "22_magic.gamma": "9ad81750da92ac69578b994c3d40ed0349e021f8",
    "23_mammography": "d2d4ab6275617e8583613607b5099b8d1c4f1e53",
    "24_mnist": "0789fd94518864ed04bcd5da0af2b2e98d049f76",
    "25_musk": "85d60287b921f3cb79050373e1cd54acf51dad0e",
    "26_optdigits": "aa8d646047fe185406fcf039b54ff8c85c02732c",
    "27_PageBlocks": "83fba845f67ba43c88c81b108323e0c9723d93f1",
    "28_pendigits": "df9446304fd3bcc39244b2ea4ebc69804626432f",
    "29_Pima": "ffb0774c3b6a02c769b0102cc674c2f248625810",
    "30_satellite": "cdb252e0dcfefc7354e4dae8a279ae431c1786cb",
    "31_satimage-2": "2b45ae3ccf00d67d0f0360405a25240b2220cfd6",
    "32_shuttle": "d36c90e857b321b9da659ba35620ea8d73e371a9",
    "33_skin": "110a118c2e1d0211875b33adf506ac3d8a93c1f2",
    "34_smtp": "b71adf3279a0bef20672f84a7e67a7b8c1b0f9c3",
    "35_SpamBase": "2d51e888cc8e024fffb0405031b6ac6108d3d5c7",
    "36_speech": "fc359ca4c5066c35a0330867a92f0b8511292f07",
    "37_Stamps": "622fd1deaff2a6ff08a8e01de59a4feb14bf4c66",
    "38_thyroid": "bbd5bae673019978903eb044402e5bbc64a0194d",
    "39_vertebral": "10be320bfe9d23d96ac58f1a1c2c7922098d5d27",
    "40_vowels": "a44f4140b53752f62ed1e8a4e6284f699e8f9ba1",
    "41_Waveform": "1f30da71f0e427b603cb600889e3125f08718acc",
    "42_WBC": "351ef3e6c0cc86105e3a1cc6095de44235adf8a4",
    "43_WDBC": "3d15d48cfb386646bcd7c2449868aa1a5222840a",
    "44_Wilt": "e1353a1658dca23ba1d4f27403818b34207f8edf",
    "45_wine": "78a2a5cb7e0e0a1d274ddeb3e4278f874f85cfc1",
    "46_WPBC": "589b3a5b3e4ed8b521e55d0a430b0716fc21c7d4",
    "47_yeast": "2e41ff3a2d32c2760cd4917b08456b4e28fc9db9",
}


def list_adbench():
    """Names of the ADBench data sets, in ADBench's order.

    Returns
    -------
    names : list of str

    Examples
    --------
    >>> from skdeepad.datasets import list_adbench
    >>> list_adbench()[5]
    '6_cardio'
    """
    return list(BLOB_IDS)


def fetch_adbench(name, *, data_home=None, download_if_missing=True, return_X_y=False):
    """Load one ADBench data set.

    Parameters
    ----------
    name : str
        A name of :func:`list_adbench`, with or without its number: "6_cardio"
        or "cardio". Capitals do not matter.
    data_home : path-like, default=None
        Folder of the data, see :func:`get_data_home`; the file is
        ``adbench/6_cardio.npz`` in it.
    download_if_missing : bool, default=True
        Download the file if it is not there.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        ``data`` (n, n_features) float64, ``target`` (n,) int with +1 for normal
        rows and -1 for anomalies, ``name``.

    Raises
    ------
    ValueError
        When the name is not known, or the file is not the published one.
    OSError
        When the file is missing and can not be downloaded.
    """
    full = full_names(BLOB_IDS).get(str(name).lower())
    if full is None:
        raise ValueError(
            f"{name!r} is no ADBench data set: use one of {list(BLOB_IDS)}."
        )
    path = fetch_file(
        f"adbench/{full}.npz",
        URL.format(full),
        BLOB_IDS[full],
        git_blob_id,
        data_home=data_home,
        download_if_missing=download_if_missing,
    )
    # ADBench stores plain arrays; nothing in the file may run code.
    with np.load(path, allow_pickle=False) as arrays:
        X = arrays["X"].astype(np.float64)
        y = np.where(arrays["y"].ravel() == 1, -1, 1)
    return (X, y) if return_X_y else Bunch(data=X, target=y, name=full)


def full_names(names):
    """The names of data sets by these, and by what follows their number, lower case."""
    by_name = {full.lower(): full for full in names}
    return by_name | {full.split("_", 1)[-1].lower(): full for full in names}


def git_blob_id(content):
    """Git's SHA-1 of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
