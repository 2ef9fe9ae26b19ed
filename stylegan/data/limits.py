"""How large an image, its file and a container may be: nothing larger is read, whatever its header says."""

MAX_PIXELS = 100_000_000  # of an image: a photograph of 12,000 x 8,000; a small file can say that it has far more
MAX_PIXELS_HEAVY = MAX_PIXELS // 4  # of JPEG 2000 and WebP, whose decoders take 20 bytes for each, others about 4
MAX_CHANNELS = 1024  # of an .npy array: each is resized alone
MAX_FILE_BYTES = 3 * MAX_PIXELS  # of an image file or an entry of a zip, unpacked: the largest image as plain RGB
MAX_CONTAINER_BYTES = (
    600_000_000  # of a dataset in a single file, unpacked: EMNIST, the largest of them, has 547 million
)
MAX_MEMBER_BYTES = 100_000_000  # of a file inside a .tar.gz: a batch of CIFAR-10 has 31 million
MAX_INDEX_BYTES = 2**26  # of dataset.json, or MAX_INDEX_RATIO times the bytes that it takes in the zip
MAX_INDEX_RATIO = 32  # what deflate makes of a long list of equal labels
MAX_TEXT_BYTES = 4_000_000  # of a PPM whose numbers are text: a megabyte takes about a second
MAX_SCANS = 100  # of a JPEG: progressive ones have about ten, and each takes as long as a whole image
