"""The course as a site: pages from notebooks that were executed just now, which still step, without a server.

The site takes widgets out of the state that executed copies have stored, and mounts them itself (`site/widgets.js`),
without a widget manager: nothing is fetched, and pages work from disk. ZEPHYR_LAB_OBSERVE makes every `Case.run` an
observed one while they are executed.
"""
