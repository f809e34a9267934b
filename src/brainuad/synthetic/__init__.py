"""All synthetic content: lesions, lesion masks, noise, the phantom, painted copies of scans."""
