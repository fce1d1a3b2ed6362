"""The course as a site: pages from notebooks that were executed just now, which still step, without a server.

The site takes widgets out of the state that executed copies have stored, and mounts them itself (`site/widgets.js`),
without a widget manager: nothing is fetched, and pages work from disk. ZEPHYR_LAB_OBSERVE makes every `Case.run` an
observed one while they are executed.

What a page can do beyond the notebook is in scripts beside its data: `schedules.js` with all schedules of a small case
(`schedules.py`), `lattice.js` (`lattice.py`), `progress.js`, `search.js`. A page opened from disk may load scripts and
nothing else, so data are scripts, too. `figures` puts a figure's SVG into the page, in the page's colours. `kept` says
what need not be executed again.
"""
