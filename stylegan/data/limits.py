"""How large an image, its file and a container may be: nothing larger is read, whatever its header says."""

MAX_PIXELS = 100_000_000  # of an image: a photograph of 12,000 x 8,000; a small file can say that it has far more
MAX_FILE_BYTES = 3 * MAX_PIXELS  # of an image file or an entry of a zip, unpacked: the largest image as plain RGB
MAX_CONTAINER_BYTES = (
    600_000_000  # of a dataset in a single file, unpacked: EMNIST, the largest of them, has 547 million
)
MAX_MEMBER_BYTES = 100_000_000  # of a file inside a .tar.gz: a batch of CIFAR-10 has 31 million
MAX_INDEX_BYTES = 2**26  # of dataset.json, or MAX_INDEX_RATIO times the bytes that it takes in the zip
MAX_INDEX_RATIO = 32  # what deflate makes of a long list of equal labels
MAX_SCANS = 100  # of a JPEG: progressive ones have about ten, and each takes as long as a whole image
