// Keeps an open page current: parts that changed are put in the place of the old ones,
// and charts are drawn. Nothing here decides what is shown; the server has made it.
'use strict';
(() => {
	const view = document.body.dataset.view;
	const byId = (id) => document.getElementById(id);

	// Copy buttons.
	document.addEventListener('click', async (event) => {
		const button = event.target.closest('[data-copy]');
		if (!button) return;
		const text = byId(button.dataset.copy).textContent;
		const label = button.firstChild;
		try {
			await navigator.clipboard.writeText(text);
			label.textContent = 'Copied';
		} catch {
			const range = document.createRange();
			range.selectNodeContents(byId(button.dataset.copy));
			getSelection().removeAllRanges();
			getSelection().addRange(range);
			label.textContent = 'Selected: copy it with Ctrl-C';
		}
		setTimeout(() => { label.textContent = 'Copy'; }, 4000);
	});

	// A part is replaced only if it changed, and keeps the focus where it was.
	const replace = (name, html) => {
		const place = byId('part-' + name);
		if (!place) return;
		const made = new DOMParser().parseFromString(html, 'text/html');
		const same = document.createElement('div');
		same.append(...made.body.childNodes);
		if (same.innerHTML === place.innerHTML) return;
		const focused = place.contains(document.activeElement) ? document.activeElement : null;
		place.replaceChildren(...same.childNodes);
		if (focused) {
			const again = focused.id && byId(focused.id);
			(again || byId('main')).focus();
		}
	};

	const stale = byId('stale');
	let heard = new Date();
	const source = new EventSource('/live?view=' + encodeURIComponent(view));
	source.addEventListener('part', (event) => {
		heard = new Date();
		stale.hidden = true;
		const part = JSON.parse(event.data);
		replace(part.name, part.html);
	});
	source.addEventListener('open', () => { stale.hidden = true; document.body.dataset.live = 'yes'; });
	source.addEventListener('error', () => {
		byId('stale-since').textContent = heard.toLocaleTimeString();
		stale.hidden = false;
		delete document.body.dataset.live;
	});
	addEventListener('pagehide', () => source.close());

	// Charts.
	let latest = null;
	let charts = [];
	const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
	const mean = (list) => list.length ? list.reduce((a, b) => a + b, 0) / list.length : 0;
	const axes = (unit, below) => {
		const look = { stroke: colour('--text'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line'), width: 1 } };
		return [{ ...look, ...below }, { ...look, label: unit, size: 60 }];
	};
	// The time of day, and the day where it begins, as the rest of the page writes them.
	const clock = (_, seconds) => seconds.map((s, i) => {
		const at = new Date(s * 1000), two = (n) => String(n).padStart(2, '0');
		const time = two(at.getHours()) + ':' + two(at.getMinutes()) + (at.getSeconds() ? ':' + two(at.getSeconds()) : '');
		const day = at.getDate() + ' ' + ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'][at.getMonth()];
		return i === 0 || new Date(seconds[i - 1] * 1000).getDate() !== at.getDate() ? time + '\n' + day : time;
	});
	const draw = () => {
		if (!latest) return;
		for (const c of charts) c.destroy();
		charts = [];
		const place = byId('plot-slots');
		if (!place) return;
		const width = Math.max(280, place.clientWidth), height = 240;
		const line = (label, name, dash) => ({ label, stroke: colour(name), width: 2, dash, points: { show: false } });
		charts.push(new uPlot({
			width, height, axes: axes('packets a second', { values: clock, space: 80 }), cursor: { show: false }, legend: { live: false },
			scales: { y: { range: (_, lo, hi) => [0, Math.max(1, hi * 1.1)] } },
			series: [{}, line('for mail', '--mail'), line('to look for mail', '--reads', [8, 4]), line('cover', '--cover', [2, 3])],
		}, [latest.at || [], latest.mail || [], latest.reads || [], latest.cover || []], place));
		const recent = (list) => mean((list || []).slice(-12)).toFixed(2);
		byId('slots-now').textContent = latest.at
			? 'In the last minute, packets a second: ' + recent(latest.mail) + ' for mail, ' + recent(latest.reads) + ' to look for mail, ' + recent(latest.cover) + ' for cover.'
			: 'The first figures are here in some seconds.';
		const bars = latest.delays || [];
		const all = bars.reduce((a, b) => a + b, 0);
		if (!all) {
			byId('delays-now').textContent = 'No answer has come yet.';
			return;
		}
		charts.push(new uPlot({
			width, height, axes: axes('answers'), cursor: { show: false }, legend: { show: false },
			scales: { x: { time: false }, y: { range: (_, lo, hi) => [0, Math.max(1, hi * 1.1)] } },
			series: [{}, { label: 'answers', stroke: colour('--mail'), fill: colour('--mail'), points: { show: false }, paths: uPlot.paths.bars({ size: [0.9, 60] }) }],
		}, [bars.map((_, i) => (i + 0.5) * latest.width), bars], byId('plot-delays')));
		let below = 0, middle = 0;
		while (middle < bars.length && below + bars[middle] < all / 2) below += bars[middle++];
		byId('delays-now').textContent = all + ' answers, half of them within ' + ((middle + 1) * latest.width).toFixed(2) +
			' seconds. The last bar holds all that took longer than ' + ((bars.length - 1) * latest.width).toFixed(2) + ' seconds.';
	};
	source.addEventListener('plot', (event) => { latest = JSON.parse(event.data); draw(); });
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
	addEventListener('resize', draw);
})();
