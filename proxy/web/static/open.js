// Takes the one-time token out of the address bar, so that it stays in no history, and
// hands it over in the body of a request.
'use strict';
(() => {
	const form = document.getElementById('enter');
	const field = document.getElementById('token');
	const take = (text) => text.slice(text.indexOf('#') + 1).trim();
	form.addEventListener('submit', () => { field.value = take(field.value); });
	const token = take(location.hash);
	if (!token) return;
	history.replaceState(null, '', '/open');
	field.value = token;
	form.submit();
})();
