"""Stage `render`: generator, archive, numbers and training log -> the pictures in reports/ and reports/index.html."""
