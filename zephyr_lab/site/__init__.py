"""The course as a site: pages from notebooks that were executed just now, which still step, without a server."""
